"""Stopping a command before one of its system calls, by strace's fault injection."""

import re

from e2e.command import COMMAND, PATIENCE, Hyrun
from support.points import spread

#: What changes something outside of the process (openat only when it makes a file), or comes before such a change.
CALLS = (
    "mkdir,mkdirat,symlink,symlinkat,rename,renameat,renameat2,unlink,unlinkat,rmdir,clone,clone3,flock,openat,"
    "pidfd_send_signal"
)
#: At how many of them a command is killed, spread evenly.
POINTS = 25


def points(
    hyrun: Hyrun, arguments: tuple[str, ...], limit: int = POINTS, *, code: int = 0, calls: str = CALLS
) -> list[tuple[str, int]]:
    """Return (system call, its how manyeth) for the calls that a command makes once it has met the store."""
    assert _traced(hyrun, ["-e", f"trace={calls}"], arguments) == code
    counts: dict[str, int] = {}
    found = []
    met = False
    for line in (hyrun.cwd / "log").read_text().splitlines():
        if (match := re.match(r"(\w+)\(", line)) is None:
            continue
        name = match[1]
        counts[name] = counts.get(name, 0) + 1
        met = met or str(hyrun.root) in line
        if met and (name != "openat" or "O_CREAT" in line):
            found.append((name, counts[name]))
    assert len(found) > 5, found
    return spread(found, limit)


def kill(hyrun: Hyrun, point: tuple[str, int], arguments: tuple[str, ...]) -> None:
    """Run a command that is killed (-9) before that system call."""
    name, count = point
    _traced(hyrun, ["-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={count}"], arguments)


def _traced(hyrun: Hyrun, flags: list[str], arguments: tuple[str, ...]) -> int:
    process = hyrun.start(*arguments, command=("strace", "-o", str(hyrun.cwd / "log"), *flags, *COMMAND))
    process.communicate(timeout=PATIENCE)
    return process.returncode
