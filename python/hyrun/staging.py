"""Private directories below ``<root>/tmp``: made, filled, then renamed to where they belong, or removed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock

from ._core import remove_tree
from .store import Store, new_id


@contextmanager
def staging(store: Store) -> Iterator[str]:
    """Yield the path of a fresh directory (mode 0700); what is still there at the end is removed."""
    path, descriptor = _make(store)
    try:
        yield path
    finally:
        try:
            remove_tree(path)
        except FileNotFoundError:
            pass
        finally:
            os.close(descriptor)


def _make(store: Store) -> tuple[str, int]:
    """Return a fresh directory and a descriptor that holds its lock, which dies with the process."""
    while True:
        path = store.path("tmp", new_id())
        os.mkdir(path, 0o700)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # swept before it was locked
        flock(descriptor, LOCK_EX)
        if os.path.isdir(path):
            return path, descriptor
        os.close(descriptor)


def sweep(store: Store) -> int:
    """Remove what killed processes left below ``tmp/``; return how many entries that were."""
    count = 0
    for name in os.listdir(store.path("tmp")):
        path = store.path("tmp", name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
            remove_tree(path)
            count += 1
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            os.close(descriptor)
    return count
