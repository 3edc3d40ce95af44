"""Pausing a container: all its processes stand still in a control group that is made for it and goes with the pause.

`run` makes no control group, because that would cost every start; so one is made here, by the first who needs it.
``<run>/<id>.paused`` says that a container is paused, and where. It is there before the first process is stopped and
until the last one goes on: whatever is killed in between, the next `unpause`, or the next command that finds the
container ended, has what it needs to clean up. It is also the lock: who changes anything holds its ``flock``.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from fcntl import LOCK_EX, flock

from . import processes, records
from ._core import format_json
from .cgroups import PATIENCE, Freezer, places
from .errors import Conflict, HyrunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .container_list import Record
    from .processes import Processes
    from .store import Store


def path(store: Store, identifier: str) -> str:
    """Return the file that says that a container is paused."""
    return f"{store.run}/{identifier}.paused"


def is_paused(store: Store, identifier: str) -> bool:
    """Return whether a container is paused; say so only of one that runs."""
    return os.path.exists(path(store, identifier))


def pause(store: Store, record: Record, *, version: int | None = None) -> None:
    """Stop all processes of a container; when this returns they stand still.

    ``version`` insists on a version of control groups. Conflict when it does not run or is paused already,
    HyrunError when a process does not stop. After an error it runs as before.
    """
    with processes.of(store, record) as found:
        home, freezers = places(found.pid, f"hyrun-{record.id[:12]}", version=version)
        for number, freezer in enumerate(freezers, 1):
            lock = _claim(store, record, freezer, home)
            try:
                _stop(found, freezer)
                if found.alive():
                    return
                raise Conflict(f"container {record.name} ({record.id[:12]}) is not running: it has just ended")
            except BaseException as error:
                _release(store, record.id, freezer, home)
                # One place may be read-only, somebody else's or a threaded group, and the next one good.
                if isinstance(error, OSError) and not isinstance(error, HyrunError):
                    if number < len(freezers):
                        continue
                    raise HyrunError(
                        f"control group {freezer.directory}: {error.strerror}: pausing needs one that can be written"
                    ) from None
                raise
            finally:
                os.close(lock)


def unpause(store: Store, record: Record) -> None:
    """Let a paused container go on; Conflict when it is not paused."""
    found = processes.find(store, record.id)
    if found is not None:
        with found:
            if forget(store, record.id):
                return
    raise Conflict(f"container {record.name} ({record.id[:12]}) is not paused: hyrun ps shows the state")


@contextmanager
def paused(store: Store, record: Record) -> Iterator[None]:
    """Hold a container still meanwhile; one that does not run, or is paused anyway, is left as it is."""
    try:
        pause(store, record)
    except Conflict:
        yield
        return
    try:
        yield
    finally:
        forget(store, record.id)


def thaw_for_signal(store: Store, record: Record) -> None:
    """Let a container that was sent a signal go on to meet it (docker: a kill ends the pause); no error if it runs."""
    forget(store, record.id)


def forget(store: Store, identifier: str) -> bool:
    """Clean up after the pause of a container, whether its processes live or not; False when there was none.

    The processes that there are go on, in the control group they came from.
    """
    where = path(store, identifier)
    while True:
        try:
            descriptor = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            flock(descriptor, LOCK_EX)
            try:
                if not os.path.samestat(os.fstat(descriptor), os.stat(where)):
                    continue
            except FileNotFoundError:
                continue
            freezer, home = _read(where)
            if freezer is not None:
                _release(store, identifier, freezer, home)
            else:
                os.unlink(where)
            return True
        finally:
            os.close(descriptor)


def _stop(found: Processes, freezer: Freezer) -> None:
    """Bring all processes into the group, which is frozen first: what has come in forks no more."""
    freezer.make()
    freezer.freeze()
    end = time.monotonic() + PATIENCE
    # Once more when all stand still: a child that was forked while one looked may have been missed.
    while outside := set(found.pids()) - freezer.pids():
        for pid in outside:
            _add(found, freezer, pid)
        freezer.wait_until_frozen()
        if time.monotonic() > end:
            raise HyrunError("the container makes new processes faster than they can be stopped: try again")


def _add(found: Processes, freezer: Freezer, pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Only now that it is held does the number mean what was looked at.
        if found.holds(pid):
            freezer.add(pid)
    finally:
        os.close(descriptor)


def _claim(store: Store, record: Record, freezer: Freezer, home: str) -> int:
    """Write the file, whole and for one caller only; return the descriptor that holds its lock."""
    where = path(store, record.id)
    value = {"cgroup": freezer.directory, "version": freezer.version, "home": home}
    stage = f"{where}.{os.urandom(6).hex()}"
    descriptor = os.open(stage, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, format_json(value))
        flock(descriptor, LOCK_EX)
        os.link(stage, where)
        return descriptor
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, FileExistsError):
            raise Conflict(f"container {record.name} ({record.id[:12]}) is already paused: see hyrun unpause") from None
        raise
    finally:
        os.unlink(stage)


def _release(store: Store, identifier: str, freezer: Freezer, home: str) -> None:
    """Thaw, move everything back, remove the group and then the file. Its lock is held."""
    try:
        freezer.thaw()
    except FileNotFoundError:
        pass  # it was never made, or is gone with the boot
    freezer.remove(home)
    os.unlink(path(store, identifier))


def _read(where: str) -> tuple[Freezer | None, str]:
    value = records.read(where) or {}
    directory, version, home = value.get("cgroup"), value.get("version"), value.get("home")
    if not isinstance(directory, str) or version not in (1, 2) or not isinstance(home, str):
        return None, ""
    return Freezer(directory, version), home
