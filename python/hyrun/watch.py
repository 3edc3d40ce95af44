"""Wait until something changes in a directory, without looking again and again.

The kernel tells by a signal (fcntl(2), F_NOTIFY: "directory notify"), Python hands it on through a pipe, and a pipe
can be polled together with pidfds. A kernel without that, a file system that does not take part, a thread that is not
the main one: then it is looked at again every `INTERVAL`.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Final

#: Seconds between two looks when nobody tells.
INTERVAL: Final = 0.05
#: Seconds between two looks when the kernel tells: for what it may have kept to itself (a network file system).
_SAFETY: Final = 1.0
_CHANGES: Final = fcntl.DN_MODIFY | fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT


class Watch:
    """A directory that is watched from ``with`` on; changes between two calls of ``wait`` are not missed.

    There may be one at a time in a process: it takes SIGIO and Python's wakeup descriptor.
    """

    __slots__ = ("_directory", "_handler", "_path", "_reader", "_wakeup", "_writer")

    def __init__(self, directory: str) -> None:
        self._path = directory
        self._directory = -1
        self._handler: Any = None
        self._reader = self._writer = self._wakeup = -1

    def __enter__(self) -> Watch:
        directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._handler = signal.signal(signal.SIGIO, _nothing)
            self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except ValueError:  # not the main thread
            os.close(directory)
            return self
        self._directory = directory
        try:
            fcntl.fcntl(directory, fcntl.F_NOTIFY, _CHANGES)
        except OSError:
            self._stop()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        os.close(self._reader)
        os.close(self._writer)

    def _stop(self) -> None:
        if self._directory < 0:
            return
        # First no signal can come any more, then it need not be caught.
        os.close(self._directory)
        self._directory = -1
        signal.set_wakeup_fd(self._wakeup)
        signal.signal(signal.SIGIO, self._handler if self._handler is not None else signal.SIG_DFL)

    def wait(self, seconds: float | None = None, *, pidfds: tuple[int, ...] = (), output: int = -1) -> None:
        """Return when something has changed, a process of ``pidfds`` has ended, or the time is over; maybe sooner.

        ``output`` is a descriptor that is written to: BrokenPipeError when its reader has gone meanwhile.
        """
        limit = INTERVAL if self._directory < 0 else _SAFETY
        poll = select.poll()
        for descriptor in (self._reader, *pidfds):
            poll.register(descriptor, select.POLLIN)
        if output >= 0:
            poll.register(output, 0)
        found = dict(poll.poll((limit if seconds is None else max(0.0, min(seconds, limit))) * 1000))
        if found.get(output, 0) & select.POLLERR:
            raise BrokenPipeError
        if self._reader in found:
            try:
                os.read(self._reader, 4096)
            except BlockingIOError:
                pass


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Take the signal: by default it would end the process."""
