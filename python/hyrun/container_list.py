"""All containers: which there are, which one a word means, in what state each is, and what is left of the dead.

`settle` is where the truth is found: whoever owns a container holds its lock. A container without an owner and
without an exit status lost its owner (SIGKILL, power cut): its process is made sure to be gone, and then it is
removed (--rm) or counts as exited with an unknown status. Who only looks holds the lock shared, so that two who look
at once do not take each other for owners.
"""

from __future__ import annotations

import os
import time
from errno import EDQUOT, ENOSPC
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock

from . import container_directory, container_record, container_state, events, pauses, pidfds, records
from .container_names import free_name as free_name
from .container_names import free_names, name_of, target
from .container_record import Record as Record
from .errors import HyrunError, InUse, InvalidArgument, NotFound
from .staging import sweep
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_HEX: Final = frozenset("0123456789abcdef")
#: How long `rm -f` waits for a container's owner to notice that it has been killed, in seconds.
PATIENCE: Final = 10.0
#: How often one looks again while somebody else is looking, or mending, at the same moment (a millisecond each).
_TRIES: Final = 100


def list_all(store: Store) -> list[Record]:
    """Return all containers, newest first, after mending what dead owners left."""
    sweep(store)
    pauses.forget_those_of_nobody(store)
    found = []
    for identifier in os.listdir(store.path("containers")):
        record = settle(store, identifier)
        if record is not None:
            found.append(record)
    free_names(store, found)
    return sorted(found, key=lambda record: (record.created, record.id), reverse=True)


def find(store: Store, word: str) -> Record:
    """Return the container that ``word`` means: a full id, a name, or the unique beginning of an id (docker's order).

    Raises NotFound, and InvalidArgument naming the matches when there are several.
    """
    if not word:
        raise NotFound("a container's name is empty here: hyrun ps -a lists what there is")
    matches = [word] if container_directory.is_id(word) else []
    if not matches:
        # `inspect` shows a name with a slash before it, and scripts hand that on.
        name = word.removeprefix("/")
        try:
            matches = [target(store, name)] if "/" not in name and name not in ("", ".", "..") else []
        except (OSError, ValueError):
            matches = []
    if not matches and _HEX.issuperset(word):
        matches = sorted(name for name in os.listdir(store.path("containers")) if name.startswith(word))
    if len(matches) > 1:
        listed = ", ".join(match[:12] for match in matches)
        raise InvalidArgument(f"container {word} is ambiguous: {listed}: write more digits")
    record = settle(store, matches[0]) if matches else None
    if record is None:
        raise NotFound(f"no such container: {word}: hyrun ps -a lists what there is")
    return record


def settle(store: Store, identifier: str) -> Record | None:
    """Return one container in its true state; None when there is none, or when what was left of it is gone now."""
    if not container_directory.is_id(identifier):
        return None  # what somebody else has put there is not ours to mend
    directory = store.path("containers", identifier)
    record = None
    for _ in range(_TRIES):
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            owned = not _try(descriptor, LOCK_SH)
            record = container_record.read(store, identifier, owned=owned)
            if not owned and record is not None and record.status:
                pauses.forget(store, identifier)  # it ended while it was paused
            if owned or (record is not None and record.status):
                return record
            # Looked at once more with the lock: another one may have mended it, or started it.
            if _try(descriptor, LOCK_EX) and os.path.isdir(directory):
                return _mend(store, identifier, directory)
        finally:
            os.close(descriptor)
        time.sleep(0.001)
    if record is not None:
        record.status = "exited"
    return record


def _try(descriptor: int, operation: int) -> bool:
    """Take the lock of a container's directory unless another one has it."""
    try:
        flock(descriptor, operation | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _mend(store: Store, identifier: str, directory: str) -> Record | None:
    """Bring a container that nobody owns into a state that it can be in. Its lock is held."""
    record = container_record.read(store, identifier, owned=False)
    if record is None:
        if not _has_content(directory):
            # Its maker died before it was a container: nobody else knows it.
            container_directory.discard(store, identifier, name_of(store, identifier), [])
            return None
        # The record was lost, in a power cut say; what the container wrote must not be lost with it.
        record = container_record.read(store, identifier, owned=False, config={"Name": name_of(store, identifier)})
        assert record is not None
    if record.status:
        return record
    _make_sure_it_is_gone(records.read(container_state.state_path(store, identifier)) or {})
    pauses.forget(store, identifier)
    if record.config.get("AutoRemove"):
        discard(store, record, volumes=True)
        return None
    if not record.finished:
        try:
            container_state.write_exit(directory, None, record.started)
        except OSError as error:
            # It is written down by who looks when there is space again; until then it is just as unknown.
            if error.errno not in (ENOSPC, EDQUOT):
                raise
        record.finished = time.time_ns()
    record.status = "exited"
    return record


def discard(store: Store, record: Record, *, volumes: bool) -> None:
    """Remove a container whose lock is held, and with ``volumes`` its anonymous ones."""
    pauses.forget(store, record.id)
    # The second one is of a starter that was killed before its rename.
    for path in (f"{store.run}/{record.id}.sock", container_state.new_path(store, record.id)):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
    anonymous = (record.config.get("Anonymous") or []) if volumes else []
    container_directory.discard(store, record.id, record.name, anonymous)
    events.of_container(store, "destroy", record)


def remove(store: Store, record: Record, *, force: bool = False, volumes: bool = False) -> None:
    """Remove a container, with its anonymous volumes if ``volumes``. One that is active is killed first if ``force``.

    Raises InUse for such a one without ``force``, and when it does not end.
    """
    if record.active and not force:
        what = {"running": "end it", "paused": "unpause and end it", "restarting": "stop it"}[record.status]
        raise InUse(
            f"container {record.name} ({record.id[:12]}) is {record.status}: {what} first, "
            f"or use hyrun rm -f {record.name}"
        )
    sweep(store)
    if force:
        from .stopping import end

        end(store, record)
    descriptor = _wait_for_lock(record)
    if descriptor is None:
        return
    try:
        discard(store, record, volumes=volumes)
    finally:
        os.close(descriptor)


def try_to_own(record: Record) -> int | None:
    """Return the lock of a container that nobody else owns; None for one that has an owner, or is gone."""
    try:
        descriptor = container_directory.try_lock(record.directory)
    except FileNotFoundError:
        return None
    if descriptor is not None and not os.path.isdir(record.directory):
        os.close(descriptor)  # removed between the two
        return None
    return descriptor


def _has_content(directory: str) -> bool:
    try:
        return bool(os.listdir(f"{directory}/upper"))
    except FileNotFoundError:
        return False


def _make_sure_it_is_gone(state: dict[str, Any]) -> None:
    """A container whose owner died is dying too (its parent-death signal); see to it before its files go."""
    descriptor = pidfds.open_container(state)
    if descriptor is None:
        return
    try:
        if pidfds.send(descriptor, 9) and not pidfds.ended(descriptor, PATIENCE):
            raise HyrunError(f"process {state.get('pid')} does not end: it is stuck in the kernel; try again later")
    finally:
        os.close(descriptor)


def _wait_for_lock(record: Record) -> int | None:
    """Return the lock once its holder has let go of it; None when the container has been removed meanwhile."""
    end = time.monotonic() + PATIENCE
    while (descriptor := try_to_own(record)) is None:
        if not os.path.isdir(record.directory):
            return None
        if time.monotonic() > end:
            raise InUse(f"container {record.name} ({record.id[:12]}) does not end: try again")
        time.sleep(0.005)
    return descriptor
