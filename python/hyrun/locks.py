"""The ``flock`` of one object. There is no lock of the whole store."""

from __future__ import annotations

import os
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from time import sleep

from .errors import StorageError
from .store import Store

#: Seconds between two looks at a lock whose wait can be given up.
_PATIENCE = 0.02


class lock:  # lower case: used as a function
    """Hold the lock of one object; ``kind`` is ``image`` or ``layer`` (containers and volumes lock their directory).

    Who takes more than one takes them in the order image/all, layer, image/records, container, volume. With
    ``wait=False`` BlockingIOError says that somebody holds it. flock(2), not fcntl(2): a record lock is dropped by
    any close of the file in the process.

    ``given_up`` is for threads that no signal interrupts: once it says so, the wait ends with StorageError.
    """

    __slots__ = ("_descriptor", "_given_up", "_operation", "_path")

    def __init__(
        self,
        store: Store,
        kind: str,
        name: str,
        *,
        exclusive: bool = True,
        wait: bool = True,
        given_up: Callable[[], bool] | None = None,
    ) -> None:
        self._path = lock_path(store, kind, name)
        self._operation = (LOCK_EX if exclusive else LOCK_SH) | (0 if wait else LOCK_NB)
        self._given_up = given_up if wait else None

    def __enter__(self) -> None:
        while True:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if self._given_up is None:
                    flock(self._descriptor, self._operation)
                else:
                    self._wait(self._given_up)
                # The file may have been removed while we waited for it; the next one would get another.
                if os.path.samestat(os.fstat(self._descriptor), os.stat(self._path)):
                    return
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(self._descriptor)
                raise
            os.close(self._descriptor)

    def _wait(self, given_up: Callable[[], bool]) -> None:
        while True:
            try:
                return flock(self._descriptor, self._operation | LOCK_NB)
            except BlockingIOError:
                if given_up():
                    raise StorageError("the wait for a lock was stopped") from None
            sleep(_PATIENCE)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def lock_path(store: Store, kind: str, name: str) -> str:
    """Return the path of a lock's file. Who removes it holds the lock."""
    return store.path("locks", f"{kind}-{name}")
