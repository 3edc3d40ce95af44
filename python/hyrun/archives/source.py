"""An image archive as a set of named byte ranges: a tar file or a directory, never extracted by name."""

import os
import stat
import tarfile
from collections.abc import Callable
from functools import partial
from typing import IO, Any, NamedTuple, Protocol

from hyrun import _core
from hyrun.documents import MAX_DOCUMENT
from hyrun.errors import StorageError

#: Members of one archive: an image of 127 layers has about 400.
MAX_MEMBERS = 100_000
#: Longest header (a PAX record) that Python's tarfile may read into memory.
_MAX_HEADER = 1 << 20


class Member(NamedTuple):
    """Where the bytes of one member are. It holds nothing open: an archive may have thousands of them."""

    name: str
    #: Returns a descriptor that is the caller's to close.
    open: Callable[[], int]
    offset: int
    length: int

    def document(self) -> bytes:
        """Return the whole member, which must be small enough for a JSON document."""
        if self.length > MAX_DOCUMENT:
            raise StorageError(f"{self.name} has {self.length} bytes: the limit of a document is {MAX_DOCUMENT}")
        fd = self.open()
        try:
            data = os.pread(fd, self.length, self.offset)
        finally:
            os.close(fd)
        if len(data) != self.length:
            raise StorageError(f"{self.name} is truncated: {len(data)} of {self.length} bytes")
        return data


class Source(Protocol):
    """What ``docker`` and ``oci`` ask of an archive."""

    def find(self, name: str) -> Member | None:
        """Return the member of that name, or None."""

    def close(self) -> None:
        """Close every descriptor."""


class _BoundedReads:
    """A file for tarfile, which believes the sizes in PAX and GNU headers and reads them at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise StorageError(f"archive: a tar header of {size} bytes: the limit is {_MAX_HEADER}")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class TarSource:
    """An uncompressed tar file. Links between members (docker before 25 wrote some) are followed by name."""

    def __init__(self, fd: int) -> None:
        self._file = os.fdopen(os.dup(fd), "rb")
        try:
            self._size = os.fstat(fd).st_size
            self._file.seek(0)
            self._members = self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> dict[str, tarfile.TarInfo]:
        members: dict[str, tarfile.TarInfo] = {}
        bounded: Any = _BoundedReads(self._file)
        try:
            with tarfile.open(fileobj=bounded, mode="r:") as archive:
                for count, member in enumerate(archive):
                    if count >= MAX_MEMBERS:
                        raise StorageError(f"archive has more than {MAX_MEMBERS} members")
                    name = _normal(member.name)
                    if name and not member.isdir():
                        if name in members:
                            raise StorageError(f"archive: member {member.name!r} appears twice")
                        members[name] = member
        except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
            raise StorageError(f"archive is no tar file, or it is damaged: {error}") from None
        return members

    def find(self, name: str) -> Member | None:
        """Return the member of that name, or what it links to; StorageError for anything but a file."""
        wanted: str | None = _normal(name)
        for _ in range(10):
            member = self._members.get(wanted or "")
            if member is None:
                return None
            if member.issym():
                wanted = _normal(os.path.join(os.path.dirname(wanted or ""), member.linkname))
            elif member.islnk():
                wanted = _normal(member.linkname)
            elif member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE) or member.issparse():
                raise StorageError(f"archive: member {name!r} is not a plain file")
            else:
                if member.size < 0 or member.offset_data + member.size > self._size:
                    raise StorageError(f"archive is truncated: member {name!r} is not whole")
                return Member(name, lambda: os.dup(self._file.fileno()), member.offset_data, member.size)
        raise StorageError(f"archive: member {name!r} links in circles")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class DirectorySource:
    """A directory, such as an OCI layout on disk. No link leads out of it (openat2, RESOLVE_IN_ROOT)."""

    def __init__(self, path: str) -> None:
        self._root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def find(self, name: str) -> Member | None:
        """Return the file of that name below the directory; StorageError when it is something else."""
        try:
            fd = self._open(name)
        except FileNotFoundError:
            return None
        try:
            return Member(name, partial(self._open, name), 0, os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the directory."""
        os.close(self._root)

    def _open(self, name: str) -> int:
        try:
            # O_NONBLOCK: a fifo must not make us wait for its writer.
            fd = _core.open_in_root(self._root, name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(f"layout: {name}: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise StorageError(f"layout: {name} is not a file")
        return fd


def _normal(name: str) -> str | None:
    """Return a member's name in its only form, or None when it leads out of the archive."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or None
