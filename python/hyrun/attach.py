"""At a container: the caller's terminal or pipes, and the monitor on the other side (`_core.sit` has the loop)."""

from __future__ import annotations

import os
from fcntl import LOCK_SH, flock

from . import _core
from .errors import Conflict, HyrunError, InvalidArgument, NotFound
from .kept import socket_name
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .container_list import Record


class Session:
    """How to sit at a container: docker's flags. ``forward``: pass signals on."""

    __slots__ = ("forward", "insist", "keys", "stdin", "tty")

    def __init__(
        self, *, tty: bool, stdin: bool, keys: bytes = b"", forward: bool = True, insist: bool = False
    ) -> None:
        self.tty = tty
        self.stdin = stdin
        self.keys = keys
        self.forward = forward
        self.insist = insist

    def size(self) -> tuple[int, int] | None:
        """Rows and columns of the caller's terminal."""
        return _core.terminal_size(0 if self.stdin else 1) if self.tty else None

    def check(self) -> None:
        """Refuse a terminal that nobody could type at, as docker does."""
        if self.tty and self.stdin and not os.isatty(0):
            raise InvalidArgument("the input is not a terminal: leave out -t, or -i")

    def sit_to_the_end(self, channel: int, pidfd: int, *, removed: str | None = None) -> int:
        """Sit until it ends and return what a shell is told: the container's own status, 128 + n for a signal; 0 for a
        container that was left. ``channel`` is closed. ``removed``: the directory of one that is removed then.
        """
        directory = -1
        try:
            if removed is not None:
                try:
                    directory = os.open(removed, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                except FileNotFoundError:
                    pass  # it has ended by now, and is gone
            how, value = self.sit(channel, pidfd)
            if how == "lost":
                raise HyrunError("the container's monitor was killed, and the container with it: its status is lost")
            if how == "exited" and directory >= 0:
                # Its owner lets go of it when it is gone.
                flock(directory, LOCK_SH)
        finally:
            for descriptor in (channel, directory):
                if descriptor >= 0:
                    os.close(descriptor)
        if how == "detached":
            # The shell's next prompt begins on a line of its own.
            os.write(2, b"\n")
            return 0
        if value is None:
            return 255
        return 128 + value if how == "signal" else value if value >= 0 else 128 - value

    def sit(self, channel: int, pidfd: int) -> tuple[str, int | None]:
        """Sit until it ends; how, as `_core.sit` says it. Signals must be blocked."""
        return _core.sit(
            channel,
            stdin=0 if self.stdin else -1,
            stdout=1,
            stderr=2,
            # Output alone needs no raw mode.
            tty=self.tty and self.stdin and os.isatty(0),
            keys=self.keys if self.tty and self.stdin else b"",
            forward=pidfd if self.forward else -1,
            insist=self.insist,
        )


def connect(store: Store, record: Record) -> int:
    """Return a channel to the monitor of a running container."""
    directory = os.open(store.run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _core.channel_connect(directory, socket_name(record.id))
    except (FileNotFoundError, ConnectionRefusedError):
        if record.config.get("Start") is None:
            raise Conflict(
                f"container {record.name} (--rm) runs in the foreground of another program: its output is there"
            ) from None
        raise NotFound(f"container {record.name} has just ended: hyrun logs {record.name} has its output") from None
    finally:
        os.close(directory)
