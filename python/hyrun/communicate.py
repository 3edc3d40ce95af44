"""Write to a container's stdin and read its stdout and stderr at the same time, without threads."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import _core
    from .process import Streams

_PIECE = 1 << 16


def communicate(
    process: _core.Process, streams: Streams, data: bytes | None, timeout: float | None, output: list[bytes | None]
) -> int | None:
    """Return the exit status, or None when ``timeout`` seconds were over: it has been killed then.

    ``output`` gets what was read of stdout and stderr, also in that case. Nothing inside can hold a
    pipe open for longer: with its pid 1 the whole pid namespace ends.
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
        if descriptor >= 0 and descriptor not in streams.terminals:
            output[index] = b"".join(pipes.chunks[descriptor])
    return None if expired else status


class _Pipes:
    """Our ends of the pipes: ``readers`` until their end, ``writing`` until all of the input is through."""

    __slots__ = ("_rest", "_source", "_streams", "chunks", "readers", "writing")

    def __init__(self, streams: Streams, data: bytes | None) -> None:
        self._streams = streams
        self._rest = memoryview(data or b"")
        # A terminal as stdin has no end that is known beforehand: it is read as long as somebody types.
        self._source = streams.terminals.get(streams.stdin, -1) if streams.stdin >= 0 else -1
        self.readers = {descriptor for descriptor in (streams.stdout, streams.stderr) if descriptor >= 0}
        self.chunks: dict[int, list[bytes]] = {descriptor: [] for descriptor in self.readers}
        self.writing = streams.stdin >= 0
        if self.writing and not self._rest and self._source < 0:
            self._end_input()

    def step(self, pidfd: int, seconds: float | None) -> None:
        """Wait for one thing to happen and do what it asks for.

        The end of the process is the end of writing to it; what it wrote is still in the pipes.
        """
        poll = select.poll()
        for descriptor in self.readers:
            poll.register(descriptor, select.POLLIN)
        if self.writing:
            poll.register(pidfd, select.POLLIN)
            if self._rest:
                poll.register(self._streams.stdin, select.POLLOUT)
            else:
                poll.register(self._source, select.POLLIN)
        for descriptor, _event in poll.poll(None if seconds is None else max(0.0, seconds) * 1000):
            if not self.writing and descriptor not in self.readers:
                continue
            if descriptor == pidfd:
                self._end_input()
            elif descriptor in self.readers:
                self._read(descriptor)
            elif descriptor == self._source:
                self._rest = memoryview(os.read(descriptor, select.PIPE_BUF))
                if not self._rest:
                    self._end_input()
            else:
                self._write()

    def _read(self, descriptor: int) -> None:
        piece = os.read(descriptor, _PIECE)
        if not piece:
            self.readers.discard(descriptor)
            return
        terminal = self._streams.terminals.get(descriptor)
        if terminal is None:
            self.chunks[descriptor].append(piece)
            return
        while piece:
            piece = piece[os.write(terminal, piece) :]

    def _write(self) -> None:
        """At most what a pipe takes without blocking when poll(2) says that it is writable (pipe(7))."""
        try:
            self._rest = self._rest[os.write(self._streams.stdin, self._rest[: select.PIPE_BUF]) :]
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
