"""Where the last N lines of a log begin, found from its end: a log of gigabytes is not read for ten lines."""

from __future__ import annotations

from itertools import accumulate

from .log_files import HEADER, MARKS, WHOLE, LogFile, repair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

#: How far before the last N lines the beginning of one of them is looked for, in bytes.
_FAR: Final = 4 << 20


class Tail:
    """What to print: ``heads``, records that begin lines among the last N, and then all from ``offset`` of a file.

    ``index`` is that file's place in the list.
    """

    __slots__ = ("heads", "index", "offset")

    def __init__(self, index: int, offset: int, heads: list[bytes]) -> None:
        self.index = index
        self.offset = offset
        self.heads = heads


def find(files: Sequence[LogFile], count: int, *, until: bytes | None = None) -> Tail:
    """Return where the last ``count`` lines of the files (oldest first) begin; those after ``until`` do not count.

    A line may consist of several records, with records of the other stream between them: of a line that is among the
    last ones all records are, as far as 4 MiB before.
    """
    search = _Search(count, until)
    if not count and files:
        return Tail(len(files) - 1, files[-1].end(), [])
    for index in range(len(files) - 1, -1, -1):
        for offset, lines in files[index].backwards():
            search.take(index, offset, lines)
            if search.done:
                return search.result()
    return search.result()


class _Search:
    """The walk from the end of the log to its beginning.

    A stream is open while the earliest of its records that was taken may have a beginning before it.
    """

    __slots__ = ("_beyond", "_heads", "_missing", "_open", "_place", "_seen", "_until", "_whole", "done")

    def __init__(self, count: int, until: bytes | None) -> None:
        self._missing = count
        self._until = until
        self._place = (0, 0)
        self._heads: list[bytes] = []
        self._whole = True  # everything behind the place is taken
        self._seen: set[bytes] = set()
        self._open: set[bytes] = set()
        self._beyond = 0
        self.done = False

    def result(self) -> Tail:
        """Return what was found."""
        return Tail(*self._place, self._heads[::-1])

    def take(self, index: int, offset: int, lines: list[bytes]) -> None:
        """Look at the records that stand before those of the last call."""
        marks = {line[30:HEADER] for line in lines}
        if self._until is None and len(lines) <= self._missing and marks <= WHOLE:
            self._missing -= len(lines)
            self._place = (index, offset)
            streams = {mark[:7] for mark in marks}
            self._seen |= streams
            self._open |= streams
            return
        if not self._missing:
            self._beyond += sum(map(len, lines))
        positions = list(accumulate((len(line) + 1 for line in lines), initial=offset))
        for line, position in zip(reversed(lines), positions[-2::-1], strict=True):
            for record in [line] if line[30:HEADER] in MARKS else repair([line]):
                self._look(index, position, record)
            if self.done:
                return
        self.done = self._beyond > _FAR

    def _look(self, index: int, position: int, record: bytes) -> None:
        if self._until is not None and record[:30] > self._until:
            return
        stream = record[30:37]
        if record[38:39] == b"P" and stream in self._seen:
            taken = stream in self._open
        else:
            taken = self._missing > 0
            self._missing -= taken
            (self._open.add if taken else self._open.discard)(stream)
        self._seen.add(stream)
        if not taken:
            self._whole = False
        elif self._whole:
            self._place = (index, position)
        else:
            self._heads.append(record)
        self.done = not self._missing and not self._open
