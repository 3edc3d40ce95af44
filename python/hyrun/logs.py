"""`hyrun logs`: what a container wrote, byte for byte, from the records of its log (`log_files`)."""

from __future__ import annotations

import os
import select
import time
from fcntl import LOCK_NB, LOCK_SH, LOCK_UN, flock

from . import container_state, log_files, log_tail, moments, pidfds, records
from .container_record import Record
from .errors import NotFound
from .log_files import HEADER, MARKS, PARTIAL_STDERR, STDERR, STDOUT, WHOLE, LogFile
from .store import Store
from .watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_F: Final = ord("F")


class Printer:
    """Records on their way to two descriptors; ``ended`` when the first one after ``until`` was met.

    ``since`` and ``until`` are nanoseconds since 1970; ``timestamps`` puts the time before each line.
    """

    def __init__(
        self, output: int, errors: int, *, timestamps: bool = False, since: int | None = None, until: int | None = None
    ) -> None:
        self._output = output
        self._errors = errors
        # One terminal, one pipe: the order of the two streams is to be seen.
        self._together = os.path.samestat(os.fstat(output), os.fstat(errors))
        self._timestamps = timestamps
        self._since = None if since is None else _as_time(since)
        self.end = until
        self.until = None if until is None else _as_time(until)
        self._inside: set[bytes] = set()
        self.ended = False

    def print(self, lines: list[bytes]) -> None:
        """Print records."""
        marks = {line[30:HEADER] for line in lines}
        if not marks <= MARKS:
            lines = log_files.repair(lines)
        if self._since is not None:
            lines = [line for line in lines if line[:30] >= self._since]
        if self.until is not None:
            late = next((index for index, line in enumerate(lines) if line[:30] > self.until), None)
            if late is not None:
                self.ended = True
                lines = lines[:late]
        if self._together or not marks & {STDERR, PARTIAL_STDERR}:
            _write(self._output if marks & MARKS - {STDERR, PARTIAL_STDERR} else self._errors, self._text(lines, marks))
            return
        # The fourth letter of the stream's name tells them apart.
        _write(self._output, self._text([line for line in lines if line[34] == STDOUT[4]], marks))
        _write(self._errors, self._text([line for line in lines if line[34] == STDERR[4]], marks))

    def _text(self, lines: list[bytes], marks: set[bytes]) -> bytes:
        if marks <= WHOLE and lines and not self._inside:
            if self._timestamps:
                return b"\n".join([line[:31] + line[HEADER:] for line in lines]) + b"\n"
            return b"\n".join([line[HEADER:] for line in lines]) + b"\n"
        if self._timestamps:
            return self._with_times(lines)
        return b"".join([line[HEADER:] + b"\n" if line[38] == _F else line[HEADER:] for line in lines])

    def _with_times(self, lines: list[bytes]) -> bytes:
        pieces = []
        for line in lines:
            stream = line[30:37]
            if stream not in self._inside:
                pieces.append(line[:31])
            pieces.append(line[HEADER:])
            if line[38] == _F:
                self._inside.discard(stream)
                pieces.append(b"\n")
            else:
                self._inside.add(stream)
        return b"".join(pieces)


def show(
    store: Store,
    record: Record,
    printer: Printer,
    *,
    output: int,
    follow: bool = False,
    tail: int | None = None,
) -> None:
    """Print a container's log: the last ``tail`` lines of it, or all; with ``follow`` until the container has ended.

    ``output`` is a descriptor whose reader may go away meanwhile (`Watch.wait`). NotFound for a container whose
    output was not kept.
    """
    if not record.kept and not os.path.exists(f"{record.directory}/container.log"):
        raise NotFound(
            f"container {record.name} has no log: it runs in the foreground with --rm (or from a Python program), and "
            "its output goes to its caller; without --rm it is kept"
        )
    if not follow:
        with _Reader(record.directory) as reader:
            reader.begin(printer, tail)
            reader.print(printer)
            reader.finish(printer)
        return
    with Watch(record.directory) as watch, _Reader(record.directory) as reader, _Owner(store, record) as owner:
        reader.begin(printer, tail)
        while True:
            # In this order: what was written before its end is there when the end is seen.
            over = not owner.lives()
            printed = reader.print(printer)
            if printer.ended or (over and not printed):
                break
            if printed:
                continue
            left = None if printer.end is None else printer.end - time.time_ns()
            if left is not None and left < 0:
                break
            watch.wait(None if left is None else left / 1e9, pidfds=owner.pidfds(), output=output)
        reader.finish(printer)


class _Reader:
    """The files of a log, read from the oldest to the newest, and on into those that come after it."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._files: list[LogFile] = []

    def __enter__(self) -> _Reader:
        self._files = log_files.open_files(self._directory)
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def begin(self, printer: Printer, tail: int | None) -> None:
        """Go to the beginning of the last ``tail`` lines, and print what of them stands before it."""
        if tail is None or not self._files:
            return
        found = log_tail.find(self._files, tail, until=printer.until)
        self._drop(found.index)
        self._files[0].seek(found.offset)
        if found.heads:
            printer.print(found.heads)

    def print(self, printer: Printer) -> bool:
        """Print what is there and was not printed; return whether there was anything."""
        printed = False
        while True:
            for file in self._files:
                for lines in file.records():
                    printed = True
                    printer.print(lines)
                    if printer.ended:
                        return printed
                if file is not self._files[-1]:
                    # Nobody writes to it any more.
                    printer.print(file.torn())
            if not self._files:
                found = log_files.open_files(self._directory)
            elif found := log_files.newer(self._directory, self._files[-1]):
                # Written between the last look at it and its rotation.
                for lines in self._files[-1].records():
                    printed = True
                    printer.print(lines)
                printer.print(self._files[-1].torn())
            if not found or printer.ended:
                self._drop(len(self._files) - 1)
                return printed
            self._drop(len(self._files))
            self._files = found

    def finish(self, printer: Printer) -> None:
        """Print what there is of a record that will never be complete."""
        if self._files and not printer.ended:
            printer.print(self._files[-1].torn())

    def _drop(self, count: int) -> None:
        """Close the oldest files."""
        for file in self._files[: max(0, count)]:
            file.close()
        self._files = self._files[max(0, count) :]


class _Owner:
    """Whoever owns a container: lives as long as somebody holds its lock."""

    def __init__(self, store: Store, record: Record) -> None:
        self._state = records.read(container_state.state_path(store, record.id)) or {}
        self._directory = record.directory
        self._descriptor = -1
        self._monitor: int | None = None

    def __enter__(self) -> _Owner:
        try:
            self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return self
        self._monitor = pidfds.open_monitor(self._state)
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self._descriptor, -1 if self._monitor is None else self._monitor):
            if descriptor >= 0:
                os.close(descriptor)

    def lives(self) -> bool:
        """Tell whether the container has an owner."""
        if self._descriptor < 0:
            return False
        try:
            flock(self._descriptor, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            return True
        flock(self._descriptor, LOCK_UN)
        return False

    def pidfds(self) -> tuple[int, ...]:
        """Return what becomes readable when the owner ends: its lock is free then, and no file changes with that."""
        if self._monitor is not None and pidfds.ended(self._monitor):
            os.close(self._monitor)
            self._monitor = None
        return () if self._monitor is None else (self._monitor,)


def _as_time(nanoseconds: int) -> bytes:
    """Return a moment as records have it, so that bytes compare as times do."""
    return moments.show(min(max(nanoseconds, 0), 253402300799 * moments.SECOND)).encode()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select((), (descriptor,), ())
