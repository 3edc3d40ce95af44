"""The processes of a running container, from outside: those in its pid 1's pid namespace, or in one below that.

Nothing here trusts a number: pid 1 is held by a pidfd after its start time and boot id were compared with what is
written down, and its namespaces by descriptors, so that neither can become another one's meanwhile. A process of the
container is told by its namespace every time that something is done to it.
"""

from __future__ import annotations

import os
import select
from fcntl import ioctl

from . import container_state, records
from .errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .container_list import Record
    from .store import Store

#: ioctl_nsfs(2): the namespace above a pid namespace.
_NS_GET_PARENT: Final = 0xB702
#: Pid namespaces nest this deep (pid_namespaces(7)).
_DEPTH: Final = 32


class Processes:
    """A running container: its pid 1 and everything that runs in it. A context manager."""

    __slots__ = ("_namespace", "_own", "_pidfd", "pid")

    def __init__(self, pid: int, pidfd: int, namespace: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        # Open as long as this object is, so that its inode number cannot be another namespace's.
        self._namespace = namespace
        self._own = (_identity("/proc/self/ns/pid"), _identity(namespace))

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._namespace)
        os.close(self._pidfd)

    def alive(self) -> bool:
        """Return whether pid 1 has not ended: so long, `/proc/<pid>` is its."""
        return not _ended(self._pidfd)

    def open(self, name: str, flags: int) -> int | None:
        """Open something of `/proc/<pid>`, for instance ``root``; None when pid 1 has ended meanwhile."""
        try:
            descriptor = os.open(f"/proc/{self.pid}/{name}", flags | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            return None
        if not self.alive():
            os.close(descriptor)
            return None
        return descriptor

    def pids(self) -> list[int]:
        """Return the pids, as the host counts them, in ascending order; zombies are left out."""
        return sorted(
            pid for name in os.listdir("/proc") if name.isdecimal() and self.holds(pid := int(name)) and _lives(pid)
        )

    def holds(self, pid: int) -> bool:
        """Return whether a pid is a process of this container now. Hold its pidfd for "now" to last."""
        host, own = self._own
        try:
            identity = _identity(f"/proc/{pid}/ns/pid")
            return identity == own or (identity != host and self._is_below(pid))
        except OSError:
            return False

    def _is_below(self, pid: int) -> bool:
        descriptor = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            for _ in range(_DEPTH):
                if _identity(descriptor) == self._own[1]:
                    return True
                # EPERM above the caller's own namespace.
                parent = ioctl(descriptor, _NS_GET_PARENT)
                os.close(descriptor)
                descriptor = parent
            return False
        finally:
            os.close(descriptor)


def find(store: Store, identifier: str) -> Processes | None:
    """Return the processes of a container by its id; None when it does not run."""
    state = records.read(container_state.state_path(store, identifier)) or {}
    pid = state.get("pid")
    if not isinstance(pid, int) or pid <= 0 or state.get("boot") != container_state.boot_id():
        return None
    pidfd = namespace = -1
    try:
        pidfd = os.pidfd_open(pid)
        namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        # With the pidfd held: were it another process, its start time would differ.
        if container_state.start_time(pid) == state.get("start") and not _ended(pidfd):
            found = Processes(pid, pidfd, namespace)
            pidfd = namespace = -1
            return found
    except (FileNotFoundError, ProcessLookupError):
        pass
    finally:
        for descriptor in (pidfd, namespace):
            if descriptor >= 0:
                os.close(descriptor)
    return None


def of(store: Store, record: Record) -> Processes:
    """Return the processes of a container; Conflict when it does not run."""
    found = find(store, record.id)
    if found is None:
        raise Conflict(f"container {record.name} ({record.id[:12]}) is not running: hyrun ps lists those that are")
    return found


def status_of(pid: int) -> list[str] | None:
    """Return the fields of `/proc/<pid>/stat` from field 3 (the state) on, and before them the name; None when gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name is in parentheses and may hold anything: they are counted from outside.
    head, _, tail = text.rpartition(b")")
    return [head.partition(b"(")[2].decode(errors="replace"), *tail.decode().split()]


def _lives(pid: int) -> bool:
    status = status_of(pid)
    return status is not None and status[1] not in "ZXx"


def _identity(path: str | int) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
