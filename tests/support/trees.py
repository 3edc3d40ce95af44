"""What is in a directory tree, read from the disk: names, types, owners, modes, times, links and content."""

import hashlib
import os
import stat
from pathlib import Path

Facts = dict[str, tuple[object, ...]]


def facts(top: Path) -> Facts:
    """Return everything about every file below ``top`` and about itself, without following a link."""
    found: Facts = {}
    for directory, names, files in os.walk(top):
        for path in [Path(directory, name) for name in (*names, *files)] + ([top] if directory == str(top) else []):
            found[str(path.relative_to(top))] = _of(path)
    return found


def _of(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content: object = None
    if stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in _xattrs(path)}
    links = 1 if path.is_dir() else status.st_nlink
    size = 0 if path.is_dir() else status.st_size
    owner = (status.st_uid, status.st_gid)
    return status.st_mode, owner, status.st_mtime_ns, status.st_rdev, links, size, content, sorted(attributes.items())


def _xattrs(path: Path) -> list[str]:
    # Kept by the file systems for themselves, and ACLs are not a layer's.
    return [name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("system.")]
