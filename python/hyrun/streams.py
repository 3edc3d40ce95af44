"""The container's standard streams: which of the caller's descriptors may go in, and pipes in place of the others.

Pipes and sockets go in as they are, and no byte is copied. A file, a terminal or a device does not: through
``/proc/self/fd`` root inside could open it again for writing, change its mode, or read what is typed there. It gets a
pipe, and the bytes are carried. ``/dev/null`` becomes the container's own.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: As subprocess has them, without importing it.
PIPE = -1
STDOUT = -2
DEVNULL = -3

#: What the Spec calls the container's own /dev/null.
NULL = -1
_NULL_DEVICE = os.makedev(1, 3)


def may_go_in(descriptor: int) -> bool:
    """Tell whether a container may hold this descriptor itself."""
    status = os.fstat(descriptor)
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        return True
    # The extension puts the container's own null device in its place.
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE


class Streams:
    """Three streams: ``child`` is what the container gets, ``stdin``, ``stdout``, ``stderr`` our ends (-1: none).

    ``carried`` maps those of our ends whose bytes are carried to the caller's descriptor they belong to. The values
    are those of subprocess: PIPE, DEVNULL, STDOUT (for stderr), a descriptor, a file object, None for the caller's
    own (stdin: DEVNULL).
    """

    __slots__ = ("_opened", "carried", "child", "stderr", "stdin", "stdout")

    def __init__(self, stdin: Any, stdout: Any, stderr: Any) -> None:
        self._opened: list[int] = []
        self.carried: dict[int, int] = {}
        self.stdin = self.stdout = self.stderr = -1
        try:
            child_in, self.stdin = self._stream(DEVNULL if stdin is None else stdin, 0)
            child_out, self.stdout = self._stream(stdout, 1)
            child_err, self.stderr = (child_out, -1) if stderr == STDOUT else self._stream(stderr, 2)
        except BaseException:
            self.close()
            raise
        self.child = (child_in, child_out, child_err)

    def _stream(self, value: Any, number: int) -> tuple[int, int]:
        """Return the child's descriptor and ours."""
        if value == PIPE:
            return self._pipe(number)
        if value == DEVNULL:
            return NULL, -1
        descriptor = number if value is None else value if isinstance(value, int) else value.fileno()
        if may_go_in(descriptor):
            return descriptor, -1
        child, ours = self._pipe(number)
        self.carried[ours] = descriptor
        return child, ours

    def _pipe(self, number: int) -> tuple[int, int]:
        reader, writer = os.pipe()
        self._opened += (reader, writer)
        return (reader, writer) if number == 0 else (writer, reader)

    def close_child(self) -> None:
        """Close what only the child needs, or its end would never be seen."""
        ours = (self.stdin, self.stdout, self.stderr)
        for descriptor in self._opened:
            if descriptor not in ours:
                os.close(descriptor)
        self._opened = [descriptor for descriptor in self._opened if descriptor in ours]

    def close_one(self, descriptor: int) -> None:
        """Close one of our ends."""
        self._opened.remove(descriptor)
        os.close(descriptor)

    def give_away(self) -> None:
        """Our ends belong to somebody else from now on."""
        self._opened = []

    def close(self) -> None:
        """Close all that is still open."""
        for descriptor in self._opened:
            os.close(descriptor)
        self._opened = []
