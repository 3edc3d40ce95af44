"""Layers on their way: ``<root>/partial/<hex of the digest>``, which a kill does not take away.

The file is locked by whoever downloads it, so that two pulls fetch a layer once; what is in it is believed only
after the digest of the whole. It becomes the layer's ``blob`` or goes when the layer is unpacked.
"""

from __future__ import annotations

import os
import time
from fcntl import LOCK_EX, LOCK_NB, flock

from hyrun.claims import claimed
from hyrun.staging import sweep
from hyrun.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .transport import Transport  # who removes old ones speaks to nobody

#: Seconds after which nobody is expected to go on with a download.
MAX_AGE = 7 * 24 * 3600


class partial:  # lower case: used as a function
    """Open the file of one blob, made if it is not there, and hold its lock; ``fd`` and ``path`` are what it is."""

    __slots__ = ("_transport", "fd", "path")

    def __init__(self, store: Store, name: str, transport: Transport) -> None:
        """``name`` is the digest in hexadecimal; the work of ``transport`` may be cancelled while this waits."""
        self.path = store.path("partial", name)
        self._transport = transport
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)

    def __enter__(self) -> partial:
        while True:
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                self._lock()
                if self._is_named():
                    return self
            except BaseException:
                os.close(self.fd)
                raise
            os.close(self.fd)  # whoever had it is done with it, and has removed it

    def __exit__(self, *_: object) -> None:
        try:
            status = os.fstat(self.fd)
            if status.st_size == 0 and status.st_nlink:
                self.remove()
        finally:
            os.close(self.fd)

    def remove(self) -> None:
        """Remove the file: its bytes are where they belong, or not what they should be."""
        os.unlink(self.path)

    def _lock(self) -> None:
        pause = 0.01
        while True:
            try:
                flock(self.fd, LOCK_EX | LOCK_NB)
                return
            except BlockingIOError:
                self._transport.wait(pause)
                pause = min(0.25, pause * 2)

    def _is_named(self) -> bool:
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(self.fd))


def discard(store: Store, name: str) -> None:
    """Remove what is left of a download whose layer is there: who made it was killed before it came to that."""
    _remove(store.path("partial", name), lambda age: True)


def remove_old(store: Store, age: float = MAX_AGE) -> int:
    """Remove downloads that nobody has gone on with for ``age`` seconds; return their bytes."""
    return sum(_remove(store.path("partial", name), lambda found: found >= age) for name in _names(store))


def prune(store: Store, wanted: Callable[[float], bool] = lambda age: True) -> int:
    """Remove the downloads that are not going on and whose age in seconds ``wanted`` accepts; return their bytes.

    While anybody pulls, all of them stay: that pull may be about to go on with one.
    """
    sweep(store)
    if claimed(store):
        return 0
    return sum(_remove(store.path("partial", name), wanted) for name in _names(store))


def interrupted(store: Store) -> Iterator[tuple[str, int, float]]:
    """Yield the downloads that are not going on: digest in hexadecimal, bytes, and age in seconds."""
    if claimed(store):
        return
    for name in sorted(_names(store)):
        descriptor = _take(store.path("partial", name))
        if descriptor is None:
            continue
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        yield name, status.st_size, time.time() - status.st_mtime


def _names(store: Store) -> list[str]:
    return store.files("partial")


def _take(path: str) -> int | None:
    """Return a descriptor that holds the lock of a file; None when somebody downloads it, or has done with it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(path: str, wanted: Callable[[float], bool]) -> int:
    """Remove a file that nobody holds and whose age is wanted; return its bytes."""
    descriptor = _take(path)
    if descriptor is None:
        return 0
    try:
        status = os.fstat(descriptor)
        # Since it was opened, whoever had it may have done with it, and another one begun anew under its name.
        if os.path.samestat(status, os.stat(path, follow_symlinks=False)) and wanted(time.time() - status.st_mtime):
            os.unlink(path)
            return status.st_size
    except FileNotFoundError:
        pass  # whoever had it has done with it
    finally:
        os.close(descriptor)
    return 0
