"""All containers: which there are, which one a word means, in what state each is, and what is left of the dead.

`settle` is where the truth is found: whoever owns a container holds its lock. A container without an owner and
without an exit status lost its owner (SIGKILL, power cut): its process is made sure to be gone, and then it is
removed (--rm) or counts as exited with an unknown status.
"""

from __future__ import annotations

import os
import time

from . import containers, records
from .errors import HyrunError, InUse, InvalidArgument, NotFound
from .locks import lock
from .staging import sweep
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_HEX: Final = frozenset("0123456789abcdef")
#: How long `rm -f` waits for a container's owner to notice that it has been killed, in seconds.
PATIENCE: Final = 10.0


class Record:
    """One container as the disk has it. ``status`` is ``created``, ``running`` or ``exited``.

    ``exit_status`` is as wait(2) has it (negative: a signal), None when unknown or not ended. Times are
    nanoseconds since 1970, 0 when unknown.
    """

    __slots__ = ("config", "created", "directory", "exit_status", "finished", "id", "name", "pid", "started", "status")

    def __init__(self, identifier: str, directory: str, config: dict[str, Any]) -> None:
        self.id = identifier
        self.directory = directory
        self.config = config
        self.name: str = config["Name"]
        created = config.get("Created")
        self.created = created if isinstance(created, int) else 0
        self.status = "created"
        self.exit_status: int | None = None
        self.pid = 0
        self.started = 0
        self.finished = 0

    @property
    def exit_code(self) -> int:
        """The exit status as a shell has it: 128 + n for signal n; 0 while it runs; 255 when nobody knows it."""
        if self.status != "exited":
            return 0
        if self.exit_status is None:
            return 255
        return self.exit_status if self.exit_status >= 0 else 128 - self.exit_status


def list_all(store: Store) -> list[Record]:
    """Return all containers, newest first, after mending what dead owners left."""
    sweep(store)
    _free_names_of_nobody(store)
    _forget_pauses_of_nobody(store)
    found = []
    for identifier in os.listdir(store.path("containers")):
        record = settle(store, identifier)
        if record is not None:
            found.append(record)
    return sorted(found, key=lambda record: (record.created, record.id), reverse=True)


def find(store: Store, word: str) -> Record:
    """Return the container that ``word`` means: a full id, a name, or the unique beginning of an id (docker's order).

    Raises NotFound, and InvalidArgument naming the matches when there are several.
    """
    matches = [word] if len(word) == 64 and _HEX.issuperset(word) else []
    if not matches:
        try:
            matches = [_named(store, word)] if "/" not in word and word not in ("", ".", "..") else []
        except (OSError, ValueError):
            matches = []
    if not matches and word and _HEX.issuperset(word):
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
    directory = store.path("containers", identifier)
    try:
        lock = containers.try_lock(directory)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        config = records.read(f"{directory}/config.json")
        if config is None or not isinstance(config.get("Name"), str):
            if lock is None:
                return None  # being made
            if not _has_content(directory):
                # Its maker died before it was a container: nobody else knows it.
                containers.discard(store, identifier, _name_of(store, identifier), [])
                return None
            # The record was lost, in a power cut say; what the container wrote must not be lost with it.
            config = {"Name": _name_of(store, identifier)}
        record = Record(identifier, directory, config)
        state = records.read(containers.state_path(store, identifier)) or {}
        ended = records.read(f"{directory}/exit.json")
        if lock is None:
            alive = _alive(state)
            record.status = "running" if alive else "created" if not state else "exited"
            record.pid = state.get("pid", 0) if alive else 0
            record.started = state.get("started", 0)
            return record
        _forget_pause(store, identifier)
        if ended is None:
            _make_sure_it_is_gone(state)
            if config.get("AutoRemove"):
                containers.discard(store, identifier, record.name, config.get("Anonymous") or [])
                return None
            started = state.get("started", 0)
            containers.write_exit(directory, None, started)
            ended = {"status": None, "started": started, "finished": time.time_ns()}
        record.status = "exited"
        record.exit_status = ended.get("status")
        record.finished = ended.get("finished", 0)
        record.started = ended.get("started", 0)
        return record
    finally:
        if lock is not None:
            os.close(lock)


def remove(store: Store, record: Record, *, force: bool = False, volumes: bool = False) -> None:
    """Remove a container, with its anonymous volumes if ``volumes``. A running one is killed first if ``force``.

    Raises InUse for a running one without ``force``, and when it does not end.
    """
    if record.status == "running" and not force:
        raise InUse(
            f"container {record.name} ({record.id[:12]}) is running: end it first, or use hyrun rm -f {record.name}"
        )
    sweep(store)
    lock = _wait_for_lock(store, record, kill_it=force)
    if lock is None:
        return
    try:
        _forget_pause(store, record.id)
        containers.discard(store, record.id, record.name, (record.config.get("Anonymous") or []) if volumes else [])
    finally:
        os.close(lock)


def kill(store: Store, record: Record, signal: int) -> None:
    """Send a signal to a container's pid 1 through a pidfd, after making sure that it is still that process."""
    import signal as signals

    state = records.read(containers.state_path(store, record.id)) or {}
    descriptor = _open(state)
    if descriptor is None:
        return
    try:
        signals.pidfd_send_signal(descriptor, signal)
        # It meets the signal only when it goes on; docker's kill ends a pause as well.
        _forget_pause(store, record.id)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def free_name(store: Store, name: str) -> bool:
    """Return whether a name that was taken is free now, because what held it turned out to be dead."""
    try:
        target = os.readlink(store.path("names", name))
    except FileNotFoundError:
        return True
    identifier = containers.id_of_link(target)
    record = settle(store, identifier)
    if record is not None and record.name == name:
        return False
    if record is None:
        _free_name_of_nobody(store, name, target)
    return not os.path.lexists(store.path("names", name))


def _free_name_of_nobody(store: Store, name: str, target: str) -> None:
    with lock(store, "name", name):
        # Still the same link, and still nobody's: a claim is made with the container's directory there.
        link = store.path("names", name)
        try:
            if os.readlink(link) == target and not os.path.isdir(
                store.path("containers", containers.id_of_link(target))
            ):
                os.unlink(link)
        except FileNotFoundError:
            pass


def _free_names_of_nobody(store: Store) -> None:
    """Free the names of containers whose remover died between the two."""
    identifiers = frozenset(os.listdir(store.path("containers")))
    for name in os.listdir(store.path("names")):
        try:
            target = os.readlink(store.path("names", name))
        except FileNotFoundError:
            continue
        if containers.id_of_link(target) not in identifiers:
            _free_name_of_nobody(store, name, target)


def _forget_pause(store: Store, identifier: str) -> None:
    """End the pause of a container that is to end, or clean up after that of one that has."""
    if os.path.lexists(f"{store.run}/{identifier}.paused"):
        from . import pause

        pause.forget(store, identifier)


def _forget_pauses_of_nobody(store: Store) -> None:
    """Clean up after containers that ended, and were removed, while they were paused."""
    for name in os.listdir(store.run):
        identifier, dot, suffix = name.partition(".")
        if not dot or not suffix.startswith("paused") or os.path.isdir(store.path("containers", identifier)):
            continue
        if suffix == "paused":
            _forget_pause(store, identifier)
        else:
            os.unlink(f"{store.run}/{name}")  # of a pause that was killed


def _has_content(directory: str) -> bool:
    try:
        return bool(os.listdir(f"{directory}/upper"))
    except FileNotFoundError:
        return False


def _named(store: Store, name: str) -> str:
    return containers.id_of_link(os.readlink(store.path("names", name)))


def _name_of(store: Store, identifier: str) -> str:
    for name in os.listdir(store.path("names")):
        try:
            if _named(store, name) == identifier:
                return name
        except OSError:
            continue
    return ""


def _open(state: dict[str, Any]) -> int | None:
    """Return a pidfd of the process that a state describes; None when that process is gone."""
    pid = state.get("pid")
    if not isinstance(pid, int) or pid <= 0 or state.get("boot") != containers.boot_id():
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    # The start time is read after the pidfd is held: were it another process, it would differ.
    if containers.start_time(pid) != state.get("start"):
        os.close(descriptor)
        return None
    return descriptor


def _alive(state: dict[str, Any]) -> bool:
    descriptor = _open(state)
    if descriptor is None:
        return False
    try:
        return not _ended(descriptor, 0)
    finally:
        os.close(descriptor)


def _ended(descriptor: int, seconds: float) -> bool:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _make_sure_it_is_gone(state: dict[str, Any]) -> None:
    """A container whose owner died is dying too (its parent-death signal); see to it before its files go."""
    import signal

    descriptor = _open(state)
    if descriptor is None:
        return
    try:
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return
        if not _ended(descriptor, PATIENCE):
            raise HyrunError(f"process {state.get('pid')} does not end: it is stuck in the kernel; try again later")
    finally:
        os.close(descriptor)


def _wait_for_lock(store: Store, record: Record, *, kill_it: bool) -> int | None:
    """Return the lock once the owner has let go of it; None when the container has been removed meanwhile.

    ``kill_it`` every time: its pid may be written down only now.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            lock = containers.try_lock(record.directory)
        except FileNotFoundError:
            return None
        if lock is not None:
            return lock
        if kill_it:
            kill(store, record, 9)
        if time.monotonic() > end:
            raise InUse(f"container {record.name} ({record.id[:12]}) does not end: try again")
        time.sleep(0.005)
