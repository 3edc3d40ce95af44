"""A person at a terminal: a pseudo-terminal that a command gets as its controlling one."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from e2e.command import COMMAND, PATIENCE


class Terminal:
    """The master's side, and what has been shown so far."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.process = process
        self.shown = ""

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self.master, text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until what is shown from here on matches; what comes behind the match is kept for the next time."""
        end = time.monotonic() + PATIENCE
        while True:
            match = re.search(pattern, self.shown)
            if match:
                self.shown = self.shown[match.end() :]
                return match
            left = end - time.monotonic()
            ready = left > 0 and select.select([self.master], [], [], left)[0]
            assert ready, f"no {pattern!r} in {self.shown!r}"
            try:
                piece = os.read(self.master, 1 << 16)
            except OSError:
                piece = b""
            assert piece, f"no {pattern!r} in {self.shown!r} before the end"
            self.shown += piece.decode(errors="replace")

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def raw(self) -> bool:
        """Whether the terminal is in raw mode."""
        return not termios.tcgetattr(self.master)[3] & termios.ICANON

    def wait(self) -> int:
        """Wait for the end of the command; what it still shows is taken."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end: {self.shown!r}"
            if select.select([self.master], [], [], 0.02)[0]:
                try:
                    self.shown += os.read(self.master, 1 << 16).decode(errors="replace")
                except OSError:
                    time.sleep(0.02)
        return self.process.returncode


@contextmanager
def at_terminal(*arguments: object, rows: int = 24, columns: int = 80, **others: Any) -> Iterator[Terminal]:
    """Run `hyrun` with those arguments at a terminal of that size; it is ended with the block."""
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        **others,
    )
    # Ours stays open: what the terminal is set to can be asked when the command has ended.
    try:
        yield Terminal(master, process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(slave)
        os.close(master)
