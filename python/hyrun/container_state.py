"""Who runs a container, and how it ended: ``<run>/<id>.json`` and ``<root>/containers/<id>/exit.json``.

A process is never known by its pid alone: pid, start time and boot id together say which one is meant.
"""

from __future__ import annotations

import os
import time

from . import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .store import Store


def state_path(store: Store, identifier: str) -> str:
    """Return where the run-time state of a container is: on the run directory, which does not outlive a boot."""
    return f"{store.run}/{identifier}.json"


def new_path(store: Store, identifier: str) -> str:
    """Return where the state of a kept container is written before it takes the place of the one that is there."""
    return f"{state_path(store, identifier)}.new"


def write_state(store: Store, identifier: str, pid: int, started: int, *, monitor: int = 0) -> None:
    """Write down which process is the container's pid 1: pid, start time and boot id together say that (proc(5)).

    ``monitor`` is the pid of its parent when that is not the process that owns it.
    """
    more = f',"monitor":{monitor},"monitor_start":{start_time(monitor)}' if monitor else ""
    text = f'{{"pid":{pid},"start":{start_time(pid)},"boot":"{boot_id()}","started":{started}{more}}}'
    path = state_path(store, identifier)
    # Another one may be there when a policy starts the container again: replaced whole. Otherwise it is new and on
    # tmpfs, and no reader takes it for more than the lock says.
    target = new_path(store, identifier) if monitor else path
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    if monitor:
        os.rename(target, path)


def write_exit(directory: str, status: int | None, started: int) -> None:
    """Write down the exit status as wait(2) has it, negative for a signal; None when nobody knows it."""
    ended = {"status": status, "started": started, "finished": time.time_ns()}
    records.write(f"{directory}/exit.json", ended, sync=False)


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (proc(5), field 22); 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # The command's name is in parentheses and may hold anything: count from its end.
            return int(file.read(4096).rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


_boot_id = ""


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    global _boot_id
    if not _boot_id:
        with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
            _boot_id = file.read().strip().decode()
    return _boot_id
