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
#: What Python decompresses may be this many times as long as before, and this many bytes longer.
_MAX_RATIO = 200
_FREE_BYTES = 256 << 20
#: What an archive is called while it is copied.
_PART = "archive"


def open_source(path: str, directory: str, progress: Progress) -> Source:
    """Open an image archive: a tar file, plain or compressed, a directory, or ``-`` for standard input.

    ``directory`` is a staging directory for what has to be copied (a pipe, a compressed archive), which is a part of
    ``progress``. Raises NotFound, InvalidArgument, StorageError.
    """
    if path != "-" and os.path.isdir(path):
        return DirectorySource(path)
    fd = open_input(path)
    try:
        if is_seekable(fd):
            fd = plain(fd, directory, progress)
            if not _for_unpacker(_magic(fd)):
                return TarSource(fd)
        return _unpacked(fd, directory, progress)
    finally:
        os.close(fd)


def _unpacked(fd: int, directory: str, progress: Progress) -> Source:
    """Unpack an archive as it comes: what is no tar, a bomb or endless is refused before it is on the disk."""
    target = os.path.join(directory, "unpacked")
    os.mkdir(target, 0o700)
    meter = _core.Meter()
    seekable = is_seekable(fd)
    progress.item(_PART, "Decompressing" if seekable else "Reading", os.fstat(fd).st_size if seekable else None)
    progress.follow(_PART, meter)
    try:
        _core.unpack_layer(fd, target, offset=0 if seekable else None, unique=True, meter=meter)
    except StorageError as error:
        # The unpacker knows layers only.
        raise StorageError(f"archive: {str(error).removeprefix('layer: ').removeprefix('layer ')}") from None
    progress.item(_PART, "Read", meter.count)
    return DirectorySource(target)


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
    """Return ``fd``, or in its stead (closing it) a decompressed copy when it is bzip2 or xz.

    ``fd`` must be seekable. gzip and zstd are left to the unpacker.
    """
    opener = _opener(_magic(fd))
    if opener is None:
        return fd
    import lzma

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
        except (EOFError, ValueError, lzma.LZMAError) as error:
            raise StorageError(f"archive: its compression is damaged: {error}") from None
        except OSError as error:
            # bz2 raises it for damaged data as well, without a number then.
            if error.errno is not None:
                raise
            raise StorageError(f"archive: its compression is damaged: {error}") from None
    os.close(fd)
    return result


def is_seekable(fd: int) -> bool:
    """Tell whether it is a file that stands at its beginning."""
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0
    except OSError:
        return False


def _spool(read: Callable[[int], bytes], path: str, limit: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    total = 0
    try:
        while data := read(_CHUNK):
            if not total:
                _check_start(data)
            total += len(data)
            if total > limit:
                raise StorageError(f"archive decompresses to more than {_MAX_RATIO} times its size: refused")
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_start(data: bytes) -> None:
    """Refuse what begins with no tar header before gigabytes of it are written."""
    import tarfile

    try:
        tarfile.TarInfo.frombuf(data[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise StorageError(f"archive is no tar file, or it is damaged: {error}") from None


def _magic(fd: int) -> bytes:
    try:
        return os.pread(fd, 10, 0)
    except OSError:
        return b""


def _for_unpacker(magic: bytes) -> bool:
    """Tell gzip, and zstd, which may begin with a frame to skip."""
    return magic.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")) or (
        0x50 <= (magic or b"\0")[0] <= 0x5F and magic[1:4] == b"\x2a\x4d\x18"
    )


def _opener(magic: bytes) -> Callable[[IO[bytes]], Any] | None:
    # A name in a tar may begin with BZh: the digits of pi come after it (bzip2's block magic).
    if magic.startswith(b"BZh") and magic[4:10] == b"1AY&SY":
        import bz2

        return bz2.BZ2File
    if magic.startswith(b"\xfd7zXZ\0"):
        import lzma

        return lzma.LZMAFile
    return None
