"""What running containers use, as docker's `stats` shows it, summed over their processes: hyrun makes no control group.

CPU time is what the processes, and the children they have waited for, have used (proc_pid_stat(5)). Memory is the
proportional set size: pages that several processes share are divided among them, and the page cache is not counted;
where the kernel does not say it (smaps_rollup), the resident set. The limit is the machine's memory. Disk I/O is what
reached the block layer (proc_pid_io(5)).
"""

from __future__ import annotations

import os
import time

from . import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from .container_list import Record
    from .store import Store

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Sample:
    """One look at a container. CPU time in seconds, all else in bytes; ``pids`` counts threads, as docker's does."""

    __slots__ = ("cpu", "memory", "moment", "pids", "read", "received", "sent", "written")

    def __init__(self) -> None:
        self.moment = time.monotonic()
        self.cpu = 0.0
        self.memory = self.received = self.sent = self.read = self.written = self.pids = 0


def sample(store: Store, record: Record) -> Sample:
    """Look at a container; one that does not run uses nothing."""
    result = Sample()
    found = processes.find(store, record.id)
    if found is None:
        return result
    with found:
        for pid in found.pids():
            try:
                _add(result, pid)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
        network = found.open("net/dev", os.O_RDONLY)
        if network is not None:
            own = os.stat("/proc/self/ns/net").st_ino
            with open(network) as file:
                # With the host's network, the traffic is not the container's (docker shows nothing, too).
                if found.alive() and os.stat(f"/proc/{found.pid}/ns/net").st_ino != own:
                    _add_network(result, file.read())
    return result


def row(record: Record, word: str, before: Sample, now: Sample, *, no_trunc: bool = False) -> dict[str, Any]:
    """Return docker's fields for one container. ``word`` is how it was asked for."""
    from .units import short_id, size

    seconds = now.moment - before.moment
    # A process that ends takes its time along until its parent has waited for it.
    cpu = max(now.cpu - before.cpu, 0.0) / seconds * 100 if seconds > 0 else 0.0
    limit = memory_limit() if now.pids else 0
    return {
        "BlockIO": f"{size(now.read)} / {size(now.written)}",
        "CPUPerc": f"{cpu:.2f}%",
        "Container": word,
        "ID": record.id if no_trunc else short_id(record.id),
        "MemPerc": f"{100 * now.memory / limit if limit else 0:.2f}%",
        "MemUsage": f"{binary_size(now.memory)} / {binary_size(limit)}",
        "Name": record.name,
        "NetIO": f"{size(now.received)} / {size(now.sent)}",
        "PIDs": str(now.pids),
    }


def binary_size(n: float) -> str:
    """Return a number of bytes with four digits and a binary unit, as docker's go-units has it: ``1.938GiB``."""
    number, unit = float(n), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.4g}{_UNITS[unit]}"


def memory_limit() -> int:
    """Return the machine's memory in bytes (proc_meminfo(5), MemTotal)."""
    with open("/proc/meminfo") as file:
        return _kilobytes(file.read(), "MemTotal:")


def _add(result: Sample, pid: int) -> None:
    status = processes.status_of(pid)
    if status is None:
        return
    # Fields 14 to 17: utime, stime, cutime, cstime; field 20: the number of threads.
    result.cpu += sum(int(ticks) for ticks in status[12:16]) / _TICKS
    result.pids += int(status[18])
    result.memory += _memory(pid)
    try:
        with open(f"/proc/{pid}/io") as file:
            fields = dict(line.split(": ") for line in file.read().splitlines())
    except PermissionError:
        return
    result.read += int(fields["read_bytes"])
    result.written += int(fields["write_bytes"])


def _memory(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return _kilobytes(file.read(), "Pss:")
    except (FileNotFoundError, PermissionError):
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE


def _kilobytes(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def _add_network(result: Sample, text: str) -> None:
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            fields = numbers.split()
            result.received += int(fields[0])
            result.sent += int(fields[8])
