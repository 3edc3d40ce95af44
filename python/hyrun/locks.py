"""The ``flock`` of one object. There is no lock of the whole store."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_SH, flock

from .store import Store


class lock:  # lower case: used as a function
    """Hold the lock of one object; ``kind`` is ``image`` or ``layer`` (containers and volumes lock their directory).

    Who takes more than one takes them in the order image, layer, container, volume. flock(2), not fcntl(2): a
    record lock is dropped by any close of the file in the process.
    """

    __slots__ = ("_descriptor", "_operation", "_path")

    def __init__(self, store: Store, kind: str, name: str, *, exclusive: bool = True) -> None:
        self._path = store.path("locks", f"{kind}-{name}")
        self._operation = LOCK_EX if exclusive else LOCK_SH

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            flock(self._descriptor, self._operation)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
