"""What happened, one line each, in docker's words: ``<run>/events.log`` (docker's `events`, API type EventMessage).

Whoever does something appends one line with one write(2) on a descriptor that is opened once per process; O_APPEND
keeps lines of different processes apart. When the file is full it is renamed to ``events.log.1``, and the one that
was there goes. Nobody ever waits for that: of all who find it full one is elected by a lock that is only tried. A
writer whose descriptor is older than the rename finds that out by the file's size or its link count, right after its
write; what it then wrote is in ``events.log.1``, or it is written again.

This module is on the hot path of `run`: it imports next to nothing. Reading is in `event_log`.
"""

from __future__ import annotations

import os
import time

from ._core import format_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from .container_record import Record
    from .store import Store

#: The file that is full at this size, in bytes.
LIMIT: Final = 1 << 20
#: How often one line is written when the file is taken away each time.
_TRIES: Final = 5


class _Log:
    """An open log. It is closed with the last thread that uses it: no number is written to that means another file."""

    __slots__ = ("__weakref__", "descriptor", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def __del__(self, close: Any = os.close) -> None:
        if hasattr(self, "descriptor"):
            close(self.descriptor)


_log: _Log | None = None


def path(store: Store) -> str:
    """Return the path of the file that is written; with ``.1`` behind it that of the one before."""
    return f"{store.run}/events.log"


def emit(
    store: Store,
    action: str,
    id: str,
    name: str,
    image: str,
    labels: Mapping[str, str] | None = None,
    **attributes: str,
) -> None:
    """Write down what happened to a container. Never fails: the caller has done what it has done.

    ``action`` is docker's (``start``, ``die``, ``exec_create: sh``); ``attributes`` are its own, such as
    ``exitCode="0"``.
    """
    actor = {**(labels or {}), "image": image, "name": name, **attributes}
    now = time.time_ns()
    _append(
        path(store),
        {
            "status": action,
            "id": id,
            "from": image,
            "Type": "container",
            "Action": action,
            "Actor": {"ID": id, "Attributes": actor},
            "scope": "local",
            "time": now // 1_000_000_000,
            "timeNano": now,
        },
    )


def of_container(store: Store, action: str, record: Record, **attributes: str) -> None:
    """Write down what happened to a container that was read from the disk."""
    emit(store, action, record.id, record.name, record.config.get("ImageName", ""), record.labels, **attributes)


def of_image(store: Store, action: str, id: str, name: str = "", labels: Mapping[str, str] | None = None) -> None:
    """Write down ``load``, ``save``, ``import``, ``pull``, ``push``, ``tag``, ``untag`` or ``delete`` of an image.

    ``id`` is what docker has there: the name with its tag for ``pull`` and ``push``, ``sha256:…`` for the others.
    ``name`` is the repository, or the name with its tag.
    """
    actor = {**(labels or {}), "name": name} if name else {**(labels or {})}
    _of_thing(store, "image", action, id, actor, status=True)


def of_volume(store: Store, action: str, name: str, **attributes: str) -> None:
    """Write down ``create`` or ``destroy`` of a volume."""
    _of_thing(store, "volume", action, name, {"driver": "local", **attributes}, status=False)


def of_prune(store: Store, kind: str, reclaimed: int) -> None:
    """Write down that unused containers, images or volumes were removed, and how many bytes that gave."""
    _of_thing(store, kind, "prune", "", {"reclaimed": str(reclaimed)}, status=False)


def _of_thing(store: Store, kind: str, action: str, id: str, actor: dict[str, str], *, status: bool) -> None:
    now = time.time_ns()
    event: dict[str, Any] = {"status": action, "id": id} if status else {}
    event |= {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": id, "Attributes": actor},
        "scope": "local",
        "time": now // 1_000_000_000,
        "timeNano": now,
    }
    _append(path(store), event)


def _append(path: str, event: dict[str, Any]) -> None:
    global _log
    try:
        line = format_json(event) + b"\n"
        for _ in range(_TRIES):
            log = _log
            if log is None or log.path != path:
                log = _log = _Log(path)
            written = os.write(log.descriptor, line)
            status = os.fstat(log.descriptor)
            if status.st_size < LIMIT and status.st_nlink:
                if written < len(line):
                    os.write(log.descriptor, b"\n")  # no space: what comes next is a line of its own
                return
            _log = None
            if status.st_nlink:
                _rotate(path, status.st_ino)
                # Not if it went at the same moment, with the line in it.
                if os.fstat(log.descriptor).st_nlink:
                    return
    except (OSError, ValueError, TypeError):
        return


def _rotate(path: str, inode: int) -> None:
    """Rename the full file, unless another process is doing so, or has done it."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    # A descriptor of its own: that of the log is shared with the children of a fork, and so would its lock be.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
        # With the lock of the file that has the name now: nobody else may rename that one.
        if os.fstat(descriptor).st_ino == inode == os.stat(path).st_ino:
            os.rename(path, f"{path}.1")
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
