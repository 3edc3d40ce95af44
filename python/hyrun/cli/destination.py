"""Where `save` and `export` write: standard output, or a file that is there whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hyrun.errors import InvalidArgument


@contextmanager
def destination(path: str | None) -> Iterator[int]:
    """Yield a descriptor for the file at ``path``, or for standard output (None, ``-``), which is no terminal."""
    if path in (None, "", "-"):
        if sys.stdout is None or os.isatty(1):
            raise InvalidArgument("standard output is a terminal, and an archive is no text: use -o FILE, or a pipe")
        yield 1
        return
    assert path is not None
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        yield from _written(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        return
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name[:64]}.{os.urandom(6).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidArgument(f"output {path}: {error.strerror}") from None
    try:
        yield from _written(descriptor)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def feeds_another(descriptor: int) -> bool:
    """Tell whether another command reads what is written there: it has its own word to say on the terminal."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _written(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
