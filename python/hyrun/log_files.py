r"""A container's log on disk: ``container.log`` and what was rotated, ``container.log.1`` being the newest of those.

Every line is a record: ``<time> <stream> <tag> <bytes>\n``. The time has 30 bytes, ``stream`` is ``stdout`` or
``stderr``, so that the bytes begin at the 41st; tag ``F`` says that a newline followed them, ``P`` that the line goes
on in the next record of that stream, or that the output ended there (the format of Kubernetes' CRI). The monitor
writes; whoever reads may meet it in the middle of a record, or of a rotation.
"""

from __future__ import annotations

import os
import re
import time

from .errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

#: Where the bytes of a record begin.
HEADER: Final = 40
#: What may stand between the time and the bytes.
STDOUT, STDERR = b" stdout F ", b" stderr F "
PARTIAL_STDOUT, PARTIAL_STDERR = b" stdout P ", b" stderr P "
WHOLE: Final = frozenset((STDOUT, STDERR))
MARKS: Final = frozenset((STDOUT, STDERR, PARTIAL_STDOUT, PARTIAL_STDERR))

_NAME: Final = re.compile(r"container\.log\.([1-9][0-9]{0,8})")
_RECORD: Final = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z std(?:out|err) [FP] .*", re.DOTALL
)
_PIECE: Final = 1 << 20
_TRIES: Final = 100


class LogFile:
    """One file of a log, open for reading."""

    __slots__ = ("_rest", "descriptor", "inode")

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.inode = os.fstat(self.descriptor).st_ino
        self._rest = b""

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)

    def seek(self, offset: int) -> None:
        """Go on at an offset, which is where a record begins."""
        os.lseek(self.descriptor, offset, os.SEEK_SET)
        self._rest = b""

    def end(self) -> int:
        """Return where the next record will begin: behind the last newline."""
        for offset, lines in self.backwards(torn=False):
            return offset + sum(map(len, lines)) + len(lines)
        return 0

    def records(self) -> Iterator[list[bytes]]:
        """Yield the whole records from where the last call ended, some thousand at a time, without their newline."""
        if os.fstat(self.descriptor).st_size < os.lseek(self.descriptor, 0, os.SEEK_CUR):
            self.seek(0)  # truncated
        while piece := os.read(self.descriptor, _PIECE):
            *lines, self._rest = (self._rest + piece).split(b"\n")
            if lines:
                yield lines

    def torn(self) -> list[bytes]:
        """Return what there is of a record whose end was never written, as a partial one."""
        rest, self._rest = self._rest, b""
        return [_partial(rest)] if rest[30:HEADER] in MARKS else []

    def backwards(self, *, torn: bool = True) -> Iterator[tuple[int, list[bytes]]]:
        """Yield (offset, records from there on) from the end of the file to its beginning.

        ``torn``: a record whose end was never written is the last one, as a partial one.
        """
        end = os.fstat(self.descriptor).st_size
        rest = b""
        last = True
        while end:
            start = max(0, end - (_PIECE >> 2))
            data = os.pread(self.descriptor, end - start, start) + rest
            cut = data.find(b"\n") + 1 if start else 0
            end = start
            if start and not cut:
                rest = data
                continue
            rest = data[:cut]
            lines = data[cut:].split(b"\n")
            tail = lines.pop()
            if torn and last and tail[30:HEADER] in MARKS:
                lines.append(_partial(tail))
            last = False
            if lines:
                yield start + cut, lines


def _partial(record: bytes) -> bytes:
    return record[:38] + b"P" + record[39:]


def repair(lines: list[bytes]) -> list[bytes]:
    """Leave out what is no record: its beginning was never written. One that follows in the same line is kept."""
    repaired = []
    for line in lines:
        if line[30:HEADER] in MARKS:
            repaired.append(line)
        elif (found := _RECORD.search(line)) is not None:
            repaired.append(found[0])
    return repaired


def open_files(directory: str) -> list[LogFile]:
    """Open all files of a log, the oldest first; none when nothing was logged.

    A rotation meanwhile is noticed (a file is met twice, or has gone, or the newest is not the newest any more), and
    it is done again.
    """
    for _ in range(_TRIES):
        files = _open_files(directory)
        if files is not None:
            return files
        time.sleep(0.001)
    raise StorageError(f"the log in {directory} is rotated faster than it can be read: give a larger max-size")


def _open_files(directory: str) -> list[LogFile] | None:
    newest = f"{directory}/container.log"
    numbers = _numbers(directory)
    files: list[LogFile] = []
    try:
        for path in (newest, *(f"{newest}.{number}" for number in numbers)):
            files.append(LogFile(path))
        inodes = [file.inode for file in files]
        if len(set(inodes)) == len(inodes) and os.stat(newest).st_ino == inodes[0]:
            return files[::-1]
    except FileNotFoundError:
        if not files and not numbers and not os.path.exists(newest):
            return []
    for file in files:
        file.close()
    return None


def _numbers(directory: str) -> list[int]:
    """Return the numbers of the rotated files, the newest (1) first; none when the directory is gone."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(int(found[1]) for found in map(_NAME.fullmatch, names) if found is not None)


def newer(directory: str, last: LogFile) -> list[LogFile]:
    """Open the files that have come after ``last``, the oldest first; none when it is still the newest.

    When ``last`` was removed by rotations meanwhile, all that are left have come after it.
    """
    try:
        if os.stat(f"{directory}/container.log").st_ino == last.inode:
            return []
    except FileNotFoundError:
        return []  # in the middle of a rotation, or removed with the container
    files = open_files(directory)
    inodes = [file.inode for file in files]
    known = inodes.index(last.inode) + 1 if last.inode in inodes else 0
    for file in files[:known]:
        file.close()
    return files[known:]
