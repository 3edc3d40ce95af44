"""Trees of every kind of file, made from short descriptions, and what another program must see of them."""

import hashlib
import os
import socket
import stat
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies

NAMES = [b"a", b"b", b"c.d", b"-e", b" f\n", "gä".encode(), b"h\xff", b"i" * 120, b"\\j", b"k" * 255]
#: Extended attributes: overlayfs's and an administrator's own are no part of a layer.
XATTRS = {
    "user.colour": b"blue\n=\0",
    "user.empty": b"",
    "security.capability": bytes.fromhex("01000002" + "02" + 15 * "00"),
}


class Node(NamedTuple):
    """One name: where, what, and how it is described."""

    path: bytes
    kind: str
    content: bytes
    mode: int
    owner: int
    mtime: int
    xattrs: tuple[str, ...]


def nodes(kinds: str = "file directory symlink fifo device link") -> strategies.SearchStrategy[list[Node]]:
    """Descriptions of a tree; those that cannot be made are passed over by ``make``."""
    node = strategies.builds(
        Node,
        path=strategies.lists(strategies.sampled_from(NAMES), min_size=1, max_size=4).map(b"/".join),
        kind=strategies.sampled_from(kinds.split()),
        content=strategies.binary(max_size=1500),
        mode=strategies.integers(0, 0o7777),
        owner=strategies.sampled_from([0, 1, 1000, 0o7777777, 0o10000000, 2**32 - 2]),
        mtime=strategies.integers(-(2**31) * 10**9, 2**33 * 10**9),
        xattrs=strategies.lists(strategies.sampled_from(sorted(XATTRS)), unique=True).map(tuple),
    )
    return strategies.lists(node, max_size=12)


def make(root: Path, described: list[Node]) -> None:
    """Make a tree in a directory: names and contents first, then owners, modes and times, the deepest first."""
    top = os.fsencode(root)
    made: dict[bytes, Node] = {}
    files: list[bytes] = []
    for node in described:
        path = os.path.join(top, node.path)
        parent = os.path.dirname(path)
        if os.path.lexists(path) or not os.path.isdir(parent) or os.path.islink(parent):
            continue
        if node.kind == "link":
            if not files:
                continue
            os.link(files[node.owner % len(files)], path, follow_symlinks=False)
            continue
        _create(path, node)
        made[path] = node
        if node.kind not in ("directory", "opaque"):
            files.append(path)
    for path, node in sorted(made.items(), reverse=True):
        _describe(path, node)


def _create(path: bytes, node: Node) -> None:
    if node.kind == "directory":
        os.mkdir(path)
    elif node.kind == "file":
        Path(os.fsdecode(path)).write_bytes(node.content)
    elif node.kind == "symlink":
        os.symlink(node.content.replace(b"\0", b"0") or b"nowhere", path)
    elif node.kind == "fifo":
        os.mkfifo(path)
    elif node.kind == "device":
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(4095, 2**20 - 1))
    elif node.kind == "whiteout":
        os.mknod(path, stat.S_IFCHR, 0)
    elif node.kind == "opaque":
        os.mkdir(path)
        os.setxattr(path, "trusted.overlay.opaque", b"y")
    else:
        raise ValueError(node.kind)


def _describe(path: bytes, node: Node) -> None:
    if node.kind == "whiteout":
        return
    os.chown(path, node.owner, node.owner, follow_symlinks=False)
    if node.kind in ("file", "directory", "opaque"):
        for key in node.xattrs:
            # Capabilities are for files.
            if node.kind == "file" or key.startswith("user."):
                os.setxattr(path, key, XATTRS[key])
    if node.kind != "symlink":
        os.chmod(path, node.mode)
    os.utime(path, ns=(0, node.mtime), follow_symlinks=False)


def add_socket(path: Path) -> None:
    """Leave a socket, as a dead server does."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def listing(root: Path, *, ignore: str = "") -> dict[str, tuple[object, ...]]:
    """Return everything that a layer keeps of a tree: one line for each name, but attributes that begin so."""
    found: dict[str, tuple[object, ...]] = {}
    numbers: dict[tuple[int, int], str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        info = path.lstat()
        name = str(path.relative_to(root))
        whiteout = stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
        content: object = None
        if stat.S_ISREG(info.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(info.st_mode):
            content = os.fsencode(path.readlink())
        keys = [
            key for key in sorted(os.listxattr(path, follow_symlinks=False)) if not (ignore and key.startswith(ignore))
        ]
        xattrs = tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in keys)
        first = numbers.setdefault((info.st_dev, info.st_ino), name) if not stat.S_ISDIR(info.st_mode) else name
        described = (info.st_mode, info.st_uid, info.st_gid, info.st_rdev, info.st_mtime_ns, first)
        found[name] = ("whiteout",) if whiteout else (*described, content, xattrs)
    return found
