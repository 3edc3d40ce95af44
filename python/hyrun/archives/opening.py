"""From what the user named (file, directory, ``-``) to a seekable, uncompressed source."""

import os
import stat
import sys
from collections.abc import Callable
from typing import IO, Any

from hyrun import _core
from hyrun.errors import InvalidArgument, NotFound, StorageError
from hyrun.progress import Progress

from .source import DirectorySource, Source, TarSource

_CHUNK = 1 << 20
#: A decompressed archive may be this many times as long as the compressed one (gzip's worst is 1,032).
_MAX_RATIO = 200
_FREE_BYTES = 1 << 30
#: What an archive is called while it is copied.
_PART = "archive"


def open_source(path: str, directory: str, progress: Progress) -> Source:
    """Open an image archive: a tar file, plain or compressed, a directory, or ``-`` for standard input.

    ``directory`` is a staging directory for what must be spooled, which is a part of ``progress``. Raises NotFound,
    InvalidArgument, StorageError.
    """
    if path != "-" and os.path.isdir(path):
        return DirectorySource(path)
    fd = open_input(path)
    try:
        fd = _seekable(fd, directory, progress)
        if _magic(fd).startswith(b"\x28\xb5\x2f\xfd"):
            # Python has no zstd before 3.14; the hardened unpacker of layers has.
            target = os.path.join(directory, "unpacked")
            os.mkdir(target, 0o700)
            meter = _core.Meter()
            progress.item(_PART, "Decompressing", os.fstat(fd).st_size)
            progress.follow(_PART, meter)
            _core.unpack_layer(fd, target, offset=0, meter=meter)
            progress.item(_PART, "Read")
            return DirectorySource(target)
        fd = plain(fd, directory, progress)
        return TarSource(fd)
    finally:
        os.close(fd)


def open_input(path: str) -> int:
    """Open the file, or standard input for ``-``; the descriptor is the caller's to close."""
    if path == "-":
        if sys.stdin is not None and sys.stdin.isatty():
            raise InvalidArgument("standard input is a terminal: pipe an archive in, or name a file")
        return os.dup(0)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"archive {path}: no such file") from None
    except OSError as error:
        raise StorageError(f"archive {path}: {error.strerror}") from None
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidArgument(f"{path} is a directory: tar -C {path} -c . | hyrun import - NAME")
    return fd


def plain(fd: int, directory: str, progress: Progress) -> int:
    """Return ``fd``, or in its stead (closing it) a decompressed copy when it is gzip, bzip2 or xz."""
    opener = _opener(_magic(fd))
    if opener is None:
        return fd
    import lzma
    import zlib

    progress.restart(_PART)
    progress.item(_PART, "Decompressing", os.fstat(fd).st_size)
    limit = _FREE_BYTES + _MAX_RATIO * os.fstat(fd).st_size
    with os.fdopen(os.dup(fd), "rb") as packed:
        packed.seek(0)
        try:
            with opener(packed) as unpacked:
                before = 0

                def read(size: int) -> bytes:
                    # What counts is how far the compressed file is: nobody knows the other length.
                    nonlocal before
                    data: bytes = unpacked.read(size)
                    position = packed.tell()
                    progress.advance(_PART, position - before)
                    before = position
                    return data

                result = _spool(read, os.path.join(directory, "archive.tar"), limit)
            progress.item(_PART, "Read")
        except (EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise StorageError(f"archive: its compression is damaged: {error}") from None
        except OSError as error:
            # gzip and bz2 raise it for damaged data as well, without a number then.
            if error.errno is not None:
                raise
            raise StorageError(f"archive: its compression is damaged: {error}") from None
    os.close(fd)
    return result


def is_compressed_for_python(fd: int) -> bool:
    """Tell whether only Python can decompress a seekable file: the layer unpacker knows gzip and zstd."""
    return _magic(fd).startswith((b"BZh", b"\xfd7zXZ\0"))


def _seekable(fd: int, directory: str, progress: Progress) -> int:
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0:
            return fd
    except OSError:
        pass

    def read(size: int) -> bytes:
        data = os.read(fd, size)
        progress.advance(_PART, len(data))
        return data

    progress.item(_PART, "Reading")
    spooled = _spool(read, os.path.join(directory, "input"), None)
    progress.item(_PART, "Read", os.fstat(spooled).st_size)
    os.close(fd)
    return spooled


def _spool(read: Callable[[int], bytes], path: str, limit: int | None) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    total = 0
    try:
        while data := read(_CHUNK):
            total += len(data)
            if limit is not None and total > limit:
                raise StorageError(f"archive decompresses to more than {_MAX_RATIO} times its size: refused")
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def _magic(fd: int) -> bytes:
    try:
        return os.pread(fd, 6, 0)
    except OSError:
        return b""


def _opener(magic: bytes) -> Callable[[IO[bytes]], Any] | None:
    if magic.startswith(b"\x1f\x8b"):
        import gzip

        return lambda file: gzip.GzipFile(fileobj=file)
    if magic.startswith(b"BZh"):
        import bz2

        return bz2.BZ2File
    if magic.startswith(b"\xfd7zXZ\0"):
        import lzma

        return lzma.LZMAFile
    return None
