"""`hyrun wait`: until a container has ended, without looking again and again, and with which status."""

from __future__ import annotations

import os
import time
from fcntl import LOCK_NB, LOCK_SH, LOCK_UN, flock

from . import container_state, pidfds, records
from .container_record import Record
from .errors import NotFound
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How often it is looked whether the end of a process has been written down, in seconds: its monitor is about to.
_MOMENT = 0.002


def wait(store: Store, record: Record) -> int:
    """Return the exit status of a container as a shell has it, once it does not run (docker: ``not-running``).

    One with a restart policy has ended when it will not be started again. 255 when nobody knows the status; NotFound
    when the container was removed before anybody could read it.
    """
    if not record.active:
        return record.exit_code
    state = records.read(container_state.state_path(store, record.id)) or {}
    process = pidfds.open_container(state)
    try:
        directory = os.open(record.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        directory = -1
    try:
        status = None
        if process is not None:
            pidfds.ended(process, None)
            status = _of_zombie(record.pid)
        if directory >= 0:
            if record.policy == "no":
                # Where no pidfd tells it (before Linux 6.15) only its monitor does, and with --rm removes it then:
                # whoever waits for the lock comes too late.
                untold = process is not None and status is None and pidfds.exit_status(process) is None
                while (ended := _ended(directory)) is None and untold and _is_owned(directory):
                    time.sleep(_MOMENT)
                if ended is not None:
                    return _code(ended.get("status"))
            # The owner lets go of it when all is written down, or all is removed.
            flock(directory, LOCK_SH)
            flock(directory, LOCK_UN)
            if (ended := _ended(directory)) is not None:
                return _code(ended.get("status"))
        if record.policy != "no":
            status = None  # it was started again since
        elif process is not None and (told := pidfds.exit_status(process)) is not None:
            status = told
    finally:
        for descriptor in (process, directory):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
    if status is None:
        if os.path.isdir(record.directory):
            return 255  # its owner was killed before it could write it down
        raise NotFound(f"container {record.name} was removed: its exit status is not known any more")
    return _code(status)


def _is_owned(directory: int) -> bool:
    try:
        flock(directory, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return True
    flock(directory, LOCK_UN)
    return False


def _code(status: object) -> int:
    if not isinstance(status, int):
        return 255
    return status if status >= 0 else 128 - status


def _ended(directory: int) -> dict[str, Any] | None:
    """Return what exit.json says below an open directory, wherever that is by now; None before the end."""
    found = records.read(f"/proc/self/fd/{directory}/exit.json")
    return None if found is None or found.get("finished") == 0 else found


def _of_zombie(pid: int) -> int | None:
    """Return the status of a process that has ended while its owner has not waited for it (proc(5), field 52)."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        return os.waitstatus_to_exitcode(int(fields[49])) if fields[0] == b"Z" else None
    except (OSError, IndexError, ValueError):
        return None
