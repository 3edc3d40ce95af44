"""Write to a container's stdin and read its stdout and stderr at the same time, without threads."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import _core
    from .process import Streams


def communicate(
    process: _core.Process,
    streams: Streams,
    data: bytes | None,
    timeout: float | None,
    output: list[bytes | None],
) -> int | None:
    """Return the exit status, or None when ``timeout`` seconds were over: it has been killed then.

    ``output`` gets what was read of stdout and stderr, also in that case. Nothing inside can hold a
    pipe open for longer: with its pid 1 the whole pid namespace ends.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    poll = select.poll()
    readers = {streams.stdout: 0, streams.stderr: 1}
    readers.pop(-1, None)
    chunks: tuple[list[bytes], list[bytes]] = ([], [])
    for descriptor in readers:
        poll.register(descriptor, select.POLLIN)
    rest = memoryview(data or b"")
    if streams.stdin >= 0:
        if rest:
            os.set_blocking(streams.stdin, False)
            poll.register(streams.stdin, select.POLLOUT)
        else:
            streams.close_one(streams.stdin)
    writing = bool(rest)
    expired = False
    while readers or writing:
        if deadline is None or expired:
            wait = None
        else:
            wait = max(0.0, deadline - time.monotonic()) * 1000
            if not wait:
                expired = True
                _kill(process)
                continue
        for descriptor, _event in poll.poll(wait):
            if descriptor in readers:
                piece = os.read(descriptor, 1 << 16)
                if piece:
                    chunks[readers[descriptor]].append(piece)
                else:
                    poll.unregister(descriptor)
                    del readers[descriptor]
            else:
                try:
                    rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]
                except BrokenPipeError:
                    rest = memoryview(b"")  # it has stopped reading: that is its right
                if not rest:
                    poll.unregister(descriptor)
                    streams.close_one(descriptor)
                    writing = False
    remaining = None if deadline is None or expired else max(0.0, deadline - time.monotonic())
    status = process.wait(remaining)
    if status is None:
        expired = True
        _kill(process)
        process.wait()
    for index, descriptor in enumerate((streams.stdout, streams.stderr)):
        if descriptor >= 0:
            output[index] = b"".join(chunks[index])
    return None if expired else status


def _kill(process: _core.Process) -> None:
    try:
        process.kill(9)
    except ProcessLookupError:
        pass
