"""Ending containers: `stop` asks and then kills, `kill` sends one signal, `end` is what `rm -f` does first.

A person's wish is written down first (``stopped``), so that no restart policy brings the container back. Signals go
through a pidfd, after making sure that it is still that process. A container has ended when its owner has let go of
its lock: then its exit status is recorded, or, with --rm, it is gone.
"""

from __future__ import annotations

import os
import select
import time
from fcntl import LOCK_NB, LOCK_SH, LOCK_UN, flock
from signal import SIGKILL, SIGTERM

from . import container_state, events, pauses, pidfds, records, signal_names
from .container_record import Record
from .errors import HyrunError, InUse
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

#: Seconds between the stop signal and SIGKILL, as docker's.
GRACE: Final = 10
#: How long the end of a container that has been killed may take, in seconds.
PATIENCE: Final = 10.0
#: How long a monitor may take from writing down how its container ended to its own end; then it is waiting to start
#: the container once more, and is ended.
_BACK_OFF: Final = 0.2
_TICK: Final = 0.005


def stop(
    store: Store, found: Sequence[Record], *, signal: int | None = None, timeout: int | None = None
) -> list[HyrunError | None]:
    """End containers; return for each what went wrong, or None. Their times of grace pass at the same time.

    ``signal`` None: the container's own stop signal, else SIGTERM. ``timeout`` in seconds until SIGKILL; None: the
    container's own, else 10; negative: never. One that does not run is left as it is, which is no error.
    """
    endings: list[_Ending | None] = []
    for record in found:
        seconds = _grace(record) if timeout is None else timeout
        ending = _Ending(store, record, signal or stop_signal(record), None if seconds < 0 else seconds)
        if ending.is_free():
            ending.close()
            endings.append(None)
            continue
        mark(record)
        endings.append(ending)
    errors = _end([ending for ending in endings if ending is not None])
    results = []
    for record, done in zip(found, endings, strict=True):
        error = None if done is None else errors.get(done)
        results.append(error)
        if done is not None and error is None:
            events.of_container(store, "stop", record)
    return results


def end(store: Store, record: Record) -> None:
    """Kill a container, whatever its state, and wait until nobody owns it. Raises InUse when it does not end."""
    mark(record)
    ending = _Ending(store, record, SIGKILL, 0)
    for error in _end([ending]).values():
        descriptor = pidfds.open_container(records.read(container_state.state_path(store, record.id)) or {})
        if descriptor is not None:
            over = pidfds.ended(descriptor)
            os.close(descriptor)
            if not over:
                raise error
        # It has ended, and only its monitor is held up, stopped for instance: nobody will ask for the status.
        end_monitor(store, record)


def kill(store: Store, record: Record, number: int) -> None:
    """Send a signal to a container's pid 1. InUse when it is not running (docker's words).

    SIGKILL and the stop signal are a wish that it ends; any other may mean anything to the application, and leaves
    the restart policy in force.
    """
    if not record.active:
        raise InUse(f"cannot kill container {record.name}: it is not running (hyrun ps -a shows its state)")
    wish = number in (SIGKILL, stop_signal(record))
    if wish:
        mark(record)
    if record.status == "restarting":
        if wish:
            end_monitor(store, record)
        return
    if not send(store, record, number):
        raise InUse(f"cannot kill container {record.name}: it has just ended")
    if wish:
        # Frozen processes meet it only when they go on.
        pauses.forget(store, record.id)


def send(store: Store, record: Record, number: int) -> bool:
    """Send a signal to a container's pid 1 if it is still that process; return whether there was one."""
    descriptor = pidfds.open_container(records.read(container_state.state_path(store, record.id)) or {})
    if descriptor is None:
        return False
    try:
        sent = pidfds.send(descriptor, number)
    finally:
        os.close(descriptor)
    if sent:
        events.of_container(store, "kill", record, signal=str(int(number)))
    return sent


def end_monitor(store: Store, record: Record) -> None:
    """End the owner of a container that waits to be started again."""
    descriptor = pidfds.open_monitor(records.read(container_state.state_path(store, record.id)) or {})
    if descriptor is None:
        return
    try:
        pidfds.send(descriptor, SIGKILL)
    finally:
        os.close(descriptor)


def stop_signal(record: Record) -> int:
    """Return the signal that asks a container to end: its own or its image's, else SIGTERM."""
    text = record.config.get("StopSignal")
    try:
        return signal_names.parse(text) if isinstance(text, str) and text else SIGTERM
    except HyrunError:
        return SIGTERM  # an image may say anything


def mark(record: Record) -> None:
    """Write down that a person wants the container to end: no restart policy applies any more."""
    try:
        descriptor = os.open(
            f"{record.directory}/stopped", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except FileNotFoundError:
        return  # removed meanwhile
    os.close(descriptor)


def _grace(record: Record) -> int:
    seconds = record.config.get("StopTimeout")
    return seconds if isinstance(seconds, int) else GRACE


def _end(endings: Sequence[_Ending]) -> dict[_Ending, HyrunError]:
    """Bring all of them to their end at the same time; return what went wrong."""
    errors: dict[_Ending, HyrunError] = {}
    pending = list(endings)
    try:
        while pending:
            for ending in tuple(pending):
                try:
                    over = ending.step()
                except HyrunError as error:
                    errors[ending] = error
                    over = True
                if over:
                    ending.close()
                    pending.remove(ending)
            if pending:
                poll = select.poll()
                for ending in pending:
                    if ending.pidfd is not None:
                        poll.register(ending.pidfd, select.POLLIN)
                waits = [wait for wait in (ending.wait() for ending in pending) if wait is not None]
                poll.poll(max(0.0, min(waits)) * 1000 if waits else None)
    finally:
        for ending in pending:
            ending.close()
    return errors


class _Ending:
    """One container on its way to its end, a step at a time."""

    def __init__(self, store: Store, record: Record, signal: int, grace: float | None) -> None:
        self.pidfd: int | None = None
        # Held from here on: with --rm the owner moves it away before it has removed it and lets go.
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._directory: int | None = os.open(record.directory, flags)
        except FileNotFoundError:
            self._directory = None
        self._store = store
        self._record = record
        self._signal = signal
        self._deadline = None if grace is None else time.monotonic() + grace
        self._sent = 0
        self._killed = 0.0
        self._gone = 0.0

    def step(self) -> bool:
        """Do what is to be done now; return whether nobody owns the container any more. InUse when it does not end."""
        if self.is_free():
            return True
        now = time.monotonic()
        if self.pidfd is None:
            # Also one that was started again just before the wish was written down.
            self.pidfd = pidfds.open_container(self._state())
            self._sent = 0
        if self.pidfd is not None and pidfds.ended(self.pidfd):
            os.close(self.pidfd)
            self.pidfd = None
        if self.pidfd is not None:
            self._gone = 0.0
            self._ask(now)
            return False
        self._gone = self._gone or now
        if now - self._gone > _BACK_OFF and self._waits_to_start():
            end_monitor(self._store, self._record)
        if now - self._gone > PATIENCE:
            raise self._stuck()
        return False

    def is_free(self) -> bool:
        """Tell whether nobody owns the container; a directory that is gone has no owner."""
        if self._directory is None:
            return True
        try:
            flock(self._directory, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            return False
        flock(self._directory, LOCK_UN)
        return True

    def _ask(self, now: float) -> None:
        # Asked in any case, as docker does with no time of grace at all.
        over = self._sent != 0 and self._deadline is not None and now >= self._deadline
        number = SIGKILL if over else self._signal
        if self._sent not in (number, SIGKILL):
            # Each time: whoever was just starting it once more has removed what was written down before.
            mark(self._record)
            send(self._store, self._record, number)
            self._sent = number
            self._killed = now
            # Frozen processes meet it only when they go on.
            pauses.forget(self._store, self._record.id)
        elif self._sent == SIGKILL and now - self._killed > PATIENCE:
            raise self._stuck()

    def wait(self) -> float | None:
        """Return after how many seconds there may be something to do though its pid 1 has not ended; None: never."""
        if self.pidfd is None:
            return _TICK
        if self._sent == SIGKILL:
            return PATIENCE
        return None if self._deadline is None else self._deadline - time.monotonic()

    def close(self) -> None:
        """Let go of it."""
        for descriptor in (self.pidfd, self._directory):
            if descriptor is not None:
                os.close(descriptor)
        self.pidfd = self._directory = None

    def _state(self) -> dict[str, object]:
        return records.read(container_state.state_path(self._store, self._record.id)) or {}

    def _waits_to_start(self) -> bool:
        ended = records.read(f"{self._record.directory}/exit.json")
        return self._record.policy != "no" and ended is not None and ended.get("finished") != 0

    def _stuck(self) -> InUse:
        record = self._record
        return InUse(f"container {record.name} ({record.id[:12]}) does not end: it is stuck in the kernel; try again")
