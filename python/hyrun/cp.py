"""docker's `cp`: which file becomes which, between a container and the host.

The table of cases is here; the copying is done by the extension, from descriptor to descriptor. A path of a container
is resolved below a descriptor of its root, whatever its processes do meanwhile: the root of a running one is that of
its pid 1, with everything it has mounted; for one that does not run, its layers, volumes and binds are mounted where
nobody sees them, under the container's lock.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import time
from contextlib import contextmanager

from . import _core, container_directory, processes
from .container_list import find
from .errors import Conflict, HyrunError, InUse, InvalidArgument, NotFound, NotSupported, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from .container_list import Record
    from .store import Store

#: Symlinks that one path may lead through (path_resolution(7)).
_LINKS: Final = 40
#: How long to wait for another command that works on a container that does not run, in seconds.
_PATIENCE: Final = 60.0
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY


class Place:
    """One of the two arguments: a path on the host, in a container, or ``-`` for a tar stream."""

    __slots__ = ("container", "path", "written")

    def __init__(self, written: str) -> None:
        self.written = written
        container, colon, path = written.partition(":")
        # Docker: with a leading / or . it is a path of this machine, colon or not.
        self.container = container if colon and not written.startswith("/") and not container.startswith(".") else None
        self.path = written if self.container is None else "/" + path.lstrip("/")
        if not self.path or self.container == "":
            raise InvalidArgument(f"cp {written!r}: write CONTAINER:PATH or the path of a file")

    @property
    def is_stream(self) -> bool:
        """Whether it is standard input or output."""
        return self.written == "-"

    @property
    def asserts_directory(self) -> bool:
        """Whether it is written as only a directory can be: ``dir/``, ``dir/.``."""
        return self.path.endswith("/") or self.asserts_contents

    @property
    def asserts_contents(self) -> bool:
        """Whether it means what is in a directory: ``dir/.``."""
        return posixpath.basename(self.path) == "."

    @property
    def name(self) -> str:
        """The last component; empty for the root."""
        return posixpath.basename(os.path.abspath(self.path) if self.container is None else self._normal())

    def _normal(self) -> str:
        return posixpath.normpath(self.path)


class Copied:
    """What was copied: bytes of files, and the paths of devices, which are left out."""

    __slots__ = ("bytes", "devices")

    def __init__(self, report: tuple[int, list[str]]) -> None:
        self.bytes, self.devices = report


class _Tree:
    """Where a place's paths are resolved; ``root`` is None for the host."""

    __slots__ = ("root",)

    def __init__(self, root: int | None) -> None:
        self.root = root

    def open(self, path: str, *, follow: bool) -> int:
        """Open with O_PATH; a symlink at the end is opened itself unless ``follow``."""
        if self.root is not None:
            return _core.cp_open(self.root, path, follow=follow)
        return os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))


def copy(store: Store, source: str, target: str, *, archive: bool = False, follow: bool = False) -> Copied:
    """Copy ``source`` to ``target``; one of them is ``CONTAINER:PATH``, the other a host path or ``-`` for a tar.

    What goes in belongs to root, what comes out to the caller; ``archive`` keeps owners, set-id bits and file
    capabilities. ``follow`` copies what a symlink leads to. Raises a HyrunError. Source: docker-cp(1).
    """
    start, end = Place(source), Place(target)
    if start.container is not None and end.container is not None:
        raise NotSupported("copying between containers is not supported: copy to the host first")
    if start.container is None and end.container is None:
        raise InvalidArgument("neither path is in a container: write one of them as CONTAINER:PATH")
    record = find(store, start.container or end.container or "")
    outward = start.container is not None
    with _root_of(store, record, writing=not outward) as root, _explained(record, start, end):
        trees = _Tree(root), _Tree(None)
        from_tree, to_tree = trees if outward else trees[::-1]
        owner = None if archive else (os.geteuid(), os.getegid()) if outward else (0, 0)
        if start.is_stream:
            return _from_stream(to_tree, end)
        return _from_tree(from_tree, start, to_tree, end, owner, follow=follow)


def _from_tree(
    from_tree: _Tree, start: Place, to_tree: _Tree, end: Place, owner: tuple[int, int] | None, *, follow: bool
) -> Copied:
    try:
        source = from_tree.open(start.path, follow=follow or start.asserts_directory)
    except FileNotFoundError:
        raise NotFound(f"no such file or directory: {start.written}") from None
    except NotADirectoryError:
        raise InvalidArgument(f"not a directory: {start.written}") from None
    try:
        mode = os.fstat(source).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise InvalidArgument(f"{start.written} is a device or a socket: only files and directories are copied")
        name = "" if start.asserts_contents else start.name
        if end.is_stream:
            return Copied(_core.cp_archive(source, 1, name=name))
        directory, last = _target(to_tree, end, is_directory=stat.S_ISDIR(mode))
        try:
            return Copied(_core.cp_tree(source, directory, name=name if last is None else last, owner=owner))
        finally:
            os.close(directory)
    finally:
        os.close(source)


def _from_stream(to_tree: _Tree, end: Place) -> Copied:
    directory, last = _target(to_tree, end, is_directory=True)
    try:
        if last is not None:
            raise InvalidArgument(f"{end.written} is no directory: a tar is unpacked into one that exists")
        # A tar says whose its files are.
        return Copied(_core.cp_unpack(0, directory))
    finally:
        os.close(directory)


def _target(tree: _Tree, end: Place, *, is_directory: bool) -> tuple[int, str | None]:
    """Return the directory to copy into, and the name there; None when the source's own name is meant."""
    path = end.path
    for _ in range(_LINKS):
        try:
            found = tree.open(path, follow=False)
        except FileNotFoundError:
            if end.asserts_directory and not is_directory:
                raise NotFound(f"no such directory: {end.written}: make it first, or leave the last / out") from None
            return _parent(tree, path, end)
        except NotADirectoryError:
            raise InvalidArgument(f"not a directory: {end.written}") from None
        mode = os.fstat(found).st_mode
        if stat.S_ISDIR(mode):
            return found, None
        try:
            if stat.S_ISLNK(mode):
                # Where it leads to, also when there is nothing yet.
                path = posixpath.join(posixpath.dirname(path), os.readlink("", dir_fd=found))
                continue
        finally:
            os.close(found)
        if is_directory:
            raise InvalidArgument(f"cannot copy a directory to a file: {end.written} is none")
        return _parent(tree, path, end)
    raise InvalidArgument(f"too many symlinks: {end.written}")


def _parent(tree: _Tree, path: str, end: Place) -> tuple[int, str]:
    while path.endswith(("/", "/.")):
        path = path.removesuffix(".").rstrip("/")
    head, name = posixpath.split(path)
    if name in ("", ".", ".."):
        raise NotFound(f"no such directory: {end.written}")
    try:
        parent = tree.open(head or ".", follow=True)
    except FileNotFoundError:
        raise NotFound(f"no such directory: {head} of {end.written}: make it first") from None
    if not stat.S_ISDIR(os.fstat(parent).st_mode):
        os.close(parent)
        raise InvalidArgument(f"not a directory: {head} of {end.written}")
    return parent, name


@contextmanager
def _root_of(store: Store, record: Record, *, writing: bool) -> Iterator[int]:
    """A descriptor of the container's root, whether it runs or not."""
    descriptors: list[int] = []
    try:
        root = _running_root(store, record)
        end = time.monotonic() + _PATIENCE
        while root is None and (lock := _lock(record)) is None:
            if find(store, record.id).status == "restarting":
                raise Conflict(f"container {record.name} is restarting: wait until it runs, or hyrun stop it first")
            if time.monotonic() > end:
                raise InUse(f"container {record.name} ({record.id[:12]}) is busy: another command works on it")
            time.sleep(0.01)
            root = _running_root(store, record)
        if root is None:
            assert lock is not None
            descriptors.append(lock)
            container_directory.check_place(store, record.config)
            root, namespace = _mounted_root(record, writing=writing)
            descriptors.append(namespace)
        descriptors.append(root)
        yield root
    finally:
        # The lock last: who has it next may mount the same layers.
        for descriptor in reversed(descriptors):
            os.close(descriptor)


def _running_root(store: Store, record: Record) -> int | None:
    found = processes.find(store, record.id)
    if found is None:
        return None
    with found:
        return found.open("root", _DIRECTORY)


def _lock(record: Record) -> int | None:
    """Take the container's lock, so that nobody starts or removes it; None while somebody else has it."""
    try:
        lock = container_directory.try_lock(record.directory)
        if lock is None or os.path.samestat(os.fstat(lock), os.stat(record.directory)):
            return lock
        os.close(lock)
    except FileNotFoundError:
        pass
    raise NotFound(f"no such container: {record.name}: it has just been removed")


def _mounted_root(record: Record, *, writing: bool) -> tuple[int, int]:
    config = record.config
    layers = config.get("Layers")
    if not layers:
        raise StorageError(f"container {record.name} ({record.id[:12]}) has lost its record: its layers are not known")
    mounts = [mount for mount in config.get("Mounts") or () if mount.get("Type") in ("bind", "volume")]
    binds = []
    for mount in sorted(mounts, key=lambda mount: len(mount["Destination"].strip("/").split("/"))):
        source, target = mount["Source"], mount["Destination"]
        if not os.path.exists(source):
            raise NotFound(f"mount {source} -> {target} of container {record.name}: the source is gone: make it again")
        nodev = mount["Type"] == "volume"
        binds.append(_core.Bind(source=source, target=target, read_only=not mount.get("RW", True), nodev=nodev))
    rootfs = _core.Overlay(lowerdirs=layers, upperdir=f"{record.directory}/upper", workdir=f"{record.directory}/work")
    try:
        return _core.cp_root(rootfs, binds, read_only=not writing or bool(config.get("ReadonlyRootfs")))
    except OSError as error:
        raise StorageError(f"mount {error.filename or '/'} of container {record.name}: {error.strerror}") from None


@contextmanager
def _explained(record: Record, start: Place, end: Place) -> Iterator[None]:
    """Say what an error of the kernel means for these two places."""
    try:
        yield
    except (HyrunError, BrokenPipeError):
        raise
    except OSError as error:
        where = f"cp {start.written} {end.written}"
        name = error.filename or "it"
        if error.errno == errno.EROFS:
            raise InvalidArgument(f"{where}: {_read_only(record, end)}") from None
        sentences = {
            errno.EISDIR: f"cannot overwrite directory {name} with something that is none",
            errno.ENOTDIR: f"cannot overwrite {name}, which is no directory, with a directory",
            errno.EBUSY: f"{name} is a mount point: name what is in it",
            errno.ELOOP: f"{name} leads into itself: copy to a place outside of the source",
            errno.EOPNOTSUPP: "a kernel file system (proc, sysfs, …) is not copied from or to: use a command inside",
        }
        sentence = sentences.get(error.errno or 0)
        raise StorageError(f"{where}: {sentence or f'{name}: {error.strerror}'}") from None


def _read_only(record: Record, end: Place) -> str:
    path = end._normal() + "/"
    targets = [
        mount.get("Destination", "/") for mount in record.config.get("Mounts") or () if not mount.get("RW", True)
    ]
    if any(path.startswith(target.rstrip("/") + "/") for target in targets):
        return "the mounted volume is marked read-only"
    if record.config.get("ReadonlyRootfs"):
        return "the container's root file system is marked read-only"
    return "the file system there is read-only"
