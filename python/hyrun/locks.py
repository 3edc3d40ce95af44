"""The ``flock`` of one object. There is no lock of the whole store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_SH, flock

from .store import Store


@contextmanager
def lock(store: Store, kind: str, name: str, *, exclusive: bool = True) -> Iterator[None]:
    """Hold the lock of one object; ``kind`` is ``image``, ``layer``, ``container`` or ``volume``.

    Who takes more than one takes them in that order. flock(2), not fcntl(2): a record lock is dropped by any
    close of the file in the process.
    """
    descriptor = os.open(store.path("locks", f"{kind}-{name}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        flock(descriptor, LOCK_EX if exclusive else LOCK_SH)
        yield
    finally:
        os.close(descriptor)
