"""Reading what `events` wrote: the past, and what happens from now on, across every change of the file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from . import events
from ._core import parse_json
from .store import Store
from .watch import Watch

#: What docker's template has for the members that are written in lower case in JSON.
_GO_NAMES = {"Status": "status", "ID": "id", "From": "from", "Scope": "scope", "Time": "time", "TimeNano": "timeNano"}


class Event(dict[str, Any]):
    """One event: JSON as docker's, and in a template the names that docker's Go has as well."""

    def __missing__(self, key: str) -> Any:
        if key in _GO_NAMES:
            return self.get(_GO_NAMES[key], "")
        raise KeyError(key)

    @property
    def moment(self) -> int:
        """When it was, in nanoseconds since 1970."""
        return int(self["timeNano"])

    @property
    def id(self) -> str:
        """What it happened to: a container's id, an image's name or id, a volume's name."""
        return str(self["Actor"]["ID"])

    @property
    def attributes(self) -> dict[str, str]:
        """The name, the image, the labels and more of what it happened to."""
        found = self["Actor"]["Attributes"]
        return {str(key): str(value) for key, value in found.items()}


def stream(
    store: Store, *, since: int | None = None, until: int | None = None, output: int = -1
) -> Iterator[list[Event]]:
    """Yield events in the order in which they were written, as many at a time as there are.

    Docker's rules: without ``since`` and ``until`` those from now on, with one of them also those that were; it ends
    at ``until``, and never without. Both are nanoseconds since 1970. ``output`` as in `Watch.wait`.
    """
    with Watch(store.run) as watch:
        log = _Log(events.path(store))
        try:
            if since is None and until is None:
                log.skip()
            while True:
                now = time.time_ns()
                found = [
                    event
                    for event in map(parse, log.lines())
                    if event is not None
                    and (since is None or event.moment >= since)
                    and (until is None or event.moment <= until)
                ]
                if found:
                    yield found
                if until is not None and now >= until:
                    return
                watch.wait(None if until is None else (until - now) / 1e9, output=output)
        finally:
            log.close()


def parse(line: bytes) -> Event | None:
    """Return the event in a line; None when it is none: torn by a full disk, say."""
    try:
        found = parse_json(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("timeNano"), int):
        return None
    actor = found.get("Actor")
    known = isinstance(found.get("Type"), str) and isinstance(found.get("Action"), str) and isinstance(actor, dict)
    if not known or not isinstance(actor, dict) or "ID" not in actor or not isinstance(actor.get("Attributes"), dict):
        return None
    return Event(found)


class _Log:
    """The file that is written and the one before, both open: a late writer may still add to that."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: list[_File] = []

    def lines(self) -> list[bytes]:
        """Return the lines that have come since the last call."""
        self._open_new()
        lines = [line for file in self._files for line in file.lines()]
        for file in [file for file in self._files if os.fstat(file.descriptor).st_nlink == 0]:
            file.close()
            self._files.remove(file)
        return lines

    def skip(self) -> None:
        """Leave out the lines that are there."""
        self._open_new()
        for file in self._files:
            file.skip()

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _open_new(self) -> None:
        """Open what has come since: the newest first, so that a file that changes its name is met, if need be twice."""
        known = {file.inode for file in self._files}
        found: list[_File] = []
        for path in (self._path, f"{self._path}.1"):
            try:
                file = _File(path)
            except FileNotFoundError:
                continue
            if file.inode in known:
                file.close()
            else:
                known.add(file.inode)
                found.append(file)
        self._files += reversed(found)


class _File:
    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.inode = os.fstat(self.descriptor).st_ino
        self._rest = b""

    def lines(self) -> list[bytes]:
        """Return the whole lines that have come since the last call."""
        pieces = [self._rest]
        while piece := os.read(self.descriptor, 1 << 20):
            pieces.append(piece)
        *lines, self._rest = b"".join(pieces).split(b"\n")
        return lines

    def skip(self) -> None:
        end = os.lseek(self.descriptor, 0, os.SEEK_END)
        # In the middle of a line, if one is being written: its beginning belongs to it.
        while end and os.pread(self.descriptor, 1, end - 1) != b"\n":
            end -= 1
        os.lseek(self.descriptor, end, os.SEEK_SET)

    def close(self) -> None:
        os.close(self.descriptor)
