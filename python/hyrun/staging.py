"""Private directories below ``<root>/tmp``: made, filled, then renamed to where they belong, or removed."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock

from ._core import remove_tree
from .store import Store, new_id


class staging:  # lower case: used as a function
    """Make a fresh directory (mode 0700) and yield its path; what is still there at the end is removed."""

    __slots__ = ("_descriptor", "_path", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> str:
        self._path, self._descriptor = _make(self._store)
        return self._path

    def __exit__(self, *_: object) -> None:
        try:
            remove_tree(self._path)
        except FileNotFoundError:
            pass
        finally:
            os.close(self._descriptor)


def _make(store: Store) -> tuple[str, int]:
    """Return a fresh directory and a descriptor that holds its lock, which dies with the process."""
    while True:
        path = store.path("tmp", new_id())
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            if not store.make_directories():
                raise
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # swept before it was locked
        flock(descriptor, LOCK_EX)
        if os.path.isdir(path):
            return path, descriptor
        os.close(descriptor)


class Trash:
    """Directories that are moved to ``tmp/`` one by one, and removed at the end of the ``with`` block.

    No directory is made for them: on a full disk there may be no room for it.
    """

    __slots__ = ("_store", "_taken")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._taken: list[tuple[str, int]] = []

    def take(self, path: str) -> None:
        """Move a file or a directory away, in one step: whoever looks sees it whole, or not at all."""
        descriptor = -1
        try:
            # Locked until it is removed, so that no sweep of tmp/ does the same work at once.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            flock(descriptor, LOCK_EX | LOCK_NB)
        except FileNotFoundError:
            raise
        except OSError:
            pass  # a symlink, or somebody else's lock: then two may remove it
        target = self._store.path("tmp", new_id())
        try:
            os.rename(path, target)
        except BaseException:
            _close(descriptor)
            raise
        self._taken.append((target, descriptor))

    def __enter__(self) -> Trash:
        return self

    def __exit__(self, *_: object) -> None:
        for path, descriptor in self._taken:
            try:
                remove_tree(path)
            except FileNotFoundError:
                pass
            finally:
                _close(descriptor)


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


def sweep(store: Store) -> int:
    """Remove what killed processes left below ``tmp/``; return how many entries that were."""
    count = 0
    try:
        names = os.listdir(store.path("tmp"))
    except FileNotFoundError:
        return 0
    for name in names:
        path = store.path("tmp", name)
        try:
            # O_NONBLOCK: a fifo has no writer to wait for.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
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
