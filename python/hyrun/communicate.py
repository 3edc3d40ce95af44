"""Write to a container's stdin and read its stdout and stderr at the same time, without threads."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import _core
    from .streams import Streams

_PIECE = 1 << 16


def communicate(
    process: _core.Process, streams: Streams, data: bytes | None, timeout: float | None, output: list[bytes | None]
) -> int | None:
    """Return the exit status, or None when ``timeout`` seconds were over: it has been killed then.

    ``output`` gets what was read of stdout and stderr, also in that case. With pid 1 the whole pid namespace ends:
    what is not in the pipes then will never come, even if another process has inherited a copy of their other end.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    expired = False
    pipes = _Pipes(streams, data)
    while pipes.readers or pipes.writing:
        wait = None
        if deadline is not None and not expired:
            wait = deadline - time.monotonic()
            if wait <= 0:
                expired = True
                _kill(process)
                continue
        pipes.step(process.pidfd, wait)
    remaining = None if deadline is None or expired else max(0.0, deadline - time.monotonic())
    status = process.wait(remaining)
    if status is None:
        expired = True
        _kill(process)
        process.wait()
    for index, descriptor in enumerate((streams.stdout, streams.stderr)):
        if descriptor >= 0 and descriptor not in streams.carried:
            output[index] = b"".join(pipes.chunks[descriptor])
    return None if expired else status


class _Pipes:
    """Our ends of the pipes: ``readers`` until their end, ``writing`` until all of the input is through."""

    __slots__ = ("_rest", "_source", "_streams", "chunks", "readers", "writing")

    def __init__(self, streams: Streams, data: bytes | None) -> None:
        self._streams = streams
        self._rest = memoryview(data or b"")
        # A terminal as stdin has no end that is known beforehand: it is read as long as somebody types.
        self._source = streams.carried.get(streams.stdin, -1) if streams.stdin >= 0 else -1
        self.readers = {descriptor for descriptor in (streams.stdout, streams.stderr) if descriptor >= 0}
        # A container may open its end of a pipe for reading as well and empty it before us: never wait in read(2).
        for descriptor in (*self.readers, *((streams.stdin,) if streams.stdin >= 0 else ())):
            os.set_blocking(descriptor, False)
        self.chunks: dict[int, list[bytes]] = {descriptor: [] for descriptor in self.readers}
        self.writing = streams.stdin >= 0
        if self.writing and not self._rest and self._source < 0:
            self._end_input()

    def step(self, pidfd: int, seconds: float | None) -> None:
        """Wait for something to happen and do what it asks for."""
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        for descriptor in self.readers:
            poll.register(descriptor, select.POLLIN)
        if self.writing:
            if self._rest:
                poll.register(self._streams.stdin, select.POLLOUT)
            else:
                poll.register(self._source, select.POLLIN)
        events = poll.poll(None if seconds is None else max(0.0, seconds) * 1000)
        for descriptor, _event in events:
            if descriptor in self.readers:
                self._read(descriptor)
            elif not self.writing or descriptor == pidfd:
                continue
            elif descriptor == self._source:
                self._rest = memoryview(os.read(descriptor, select.PIPE_BUF))
                if not self._rest:
                    self._end_input()
            else:
                self._write()
        if any(descriptor == pidfd for descriptor, _event in events):
            if self.writing:
                self._end_input()
            if len(events) == 1:
                self.readers.clear()  # ended, and all pipes were empty

    def _read(self, descriptor: int) -> None:
        try:
            piece = os.read(descriptor, _PIECE)
        except BlockingIOError:
            return
        if not piece:
            self.readers.discard(descriptor)
            return
        terminal = self._streams.carried.get(descriptor)
        if terminal is None:
            self.chunks[descriptor].append(piece)
            return
        while piece:
            piece = piece[os.write(terminal, piece) :]

    def _write(self) -> None:
        try:
            self._rest = self._rest[os.write(self._streams.stdin, self._rest[:_PIECE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._rest = memoryview(b"")  # it has stopped reading: that is its right
            self._end_input()
            return
        if not self._rest and self._source < 0:
            self._end_input()

    def _end_input(self) -> None:
        self.writing = False
        self._streams.close_one(self._streams.stdin)


def _kill(process: _core.Process) -> None:
    try:
        process.kill(9)
    except ProcessLookupError:
        pass
