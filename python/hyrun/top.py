"""The processes of a container as docker's `top` shows them: from the host's side, with the host's user names.

Nothing of the image is executed: the table is made of /proc, and with options of ps(1) by the host's own /usr/bin/ps.
"""

from __future__ import annotations

import os
import subprocess
import time

from . import processes
from .errors import HyrunError, InvalidArgument, NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from .container_list import Record
    from .store import Store

TITLES: Final = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
_PS: Final = "/usr/bin/ps"
#: Bytes of a command line that are shown.
_COMMAND: Final = 1 << 16
#: Major numbers of pseudo terminals (kernel, admin-guide/devices.txt).
_PTS: Final = range(136, 144)


def top(store: Store, record: Record, options: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Return the titles and one row for each process. Conflict when the container does not run."""
    with processes.of(store, record) as found:
        pids = found.pids()
        if options:
            return _by_ps(pids, options)
        rows = [row for pid in pids if found.holds(pid) and (row := _row(pid)) is not None]
    return list(TITLES), rows


def _row(pid: int) -> list[str] | None:
    status = processes.status_of(pid)
    if status is None:
        return None
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            # The effective one. The owner of /proc/<pid> is root for a process that is not dumpable.
            uid = int(file.read().partition(b"\nUid:")[2].split()[1])
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            words = file.read(_COMMAND).rstrip(b"\0").split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Numbered from field 3 of proc_pid_stat(5).
    parent, terminal, user, system, start = status[2], int(status[5]), int(status[12]), int(status[13]), int(status[20])
    ticks = os.sysconf("SC_CLK_TCK")
    with open("/proc/uptime") as uptime:
        elapsed = float(uptime.read().split()[0]) - start / ticks
    used = (user + system) / ticks
    command = b" ".join(words).decode(errors="replace") or f"[{status[0]}]"
    return [
        _user(uid),
        str(pid),
        parent,
        str(min(int(100 * used / max(elapsed, 1)), 99)),
        _started(time.time() - elapsed),
        _terminal(terminal),
        f"{int(used) // 3600:02d}:{int(used) // 60 % 60:02d}:{int(used) % 60:02d}",
        command,
    ]


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _started(moment: float) -> str:
    """The time of today, the day of this year, or the year (ps(1), STIME)."""
    then, now = time.localtime(moment), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%b%d" if then.tm_year == now.tm_year else "%Y", then)


def _terminal(number: int) -> str:
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    if major in _PTS:
        return f"pts/{minor + (major - _PTS.start << 20)}"
    return "?" if not number else f"{major}:{minor}"


def _by_ps(pids: list[int], options: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Run the host's ps and keep the rows of these processes (docker does the same)."""
    if not os.path.exists(_PS):
        raise NotSupported(f"options of ps need {_PS} on this machine: install procps, or leave the options out")
    # -q takes only these; some options (f, for instance) cannot be combined with it.
    listed = ",".join(map(str, pids))
    result = _run([_PS, f"-q{listed}", *options])
    if result.returncode:
        result = _run([_PS, *options])
    # It fails as well when it has selected nothing, which is no mistake.
    if result.returncode and result.stderr:
        raise InvalidArgument(f"ps {' '.join(options)}: {result.stderr.strip().splitlines()[0]}")
    lines = result.stdout.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise HyrunError(f"ps {' '.join(options)}: its output has no column PID: add it, for instance with -o pid")
    column, wanted = titles.index("PID"), {str(pid) for pid in pids}
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return titles, [row for row in rows if len(row) > column and row[column] in wanted]


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(
            arguments,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise HyrunError(f"{_PS}: {error.strerror}") from None
