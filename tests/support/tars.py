"""Tar archives for tests, down to single header blocks, and what is in a directory tree."""

import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

Spec = tuple[str, dict[str, object], bytes]


def entry(name: str, content: bytes = b"", **fields: object) -> Spec:
    """A member of an archive: a regular file unless ``type`` says otherwise."""
    return name, fields, content


def directory(name: str, **fields: object) -> Spec:
    return entry(name, type=tarfile.DIRTYPE, mode=0o755, **fields)


def symlink(name: str, target: str) -> Spec:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> Spec:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def archive(*members: Spec, form: int = tarfile.PAX_FORMAT) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=form) as tar:
        for name, fields, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return output.getvalue()


def header(
    name: bytes,
    *,
    kind: bytes = b"0",
    size: bytes = b"00000000000\0",
    mode: bytes = b"0000644\0",
    **fields: bytes,
) -> bytes:
    """One raw header block with a right checksum, for what tarfile would not write."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108] = mode
    block[108:116] = fields.get("uid", b"0000000\0")
    block[116:124] = fields.get("gid", b"0000000\0")
    block[124:136] = size
    block[136:148] = fields.get("mtime", b"00000000000\0")
    block[148:156] = b" " * 8
    block[156:157] = kind
    link = fields.get("link", b"")
    block[157 : 157 + len(link)] = link
    block[257:265] = fields.get("magic", b"ustar\x0000")
    block[329:337] = fields.get("major", b"0000000\0")
    block[337:345] = fields.get("minor", b"0000000\0")
    if "prefix" in fields:
        block[345 : 345 + len(fields["prefix"])] = fields["prefix"]
    if "behind" in fields:
        block[386 : 386 + len(fields["behind"])] = fields["behind"]
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A raw PAX header with these records."""
    data = b""
    for key, value in records:
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        data += str(length).encode() + body
    return header(b"pax", kind=kind, size=b"%011o\0" % len(data)) + padded(data)


def base_256(number: int) -> bytes:
    """Return a field of twelve bytes as GNU tar writes what octal digits cannot hold."""
    return b"\x80" + number.to_bytes(11, "big")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def zstd(data: bytes, *options: str) -> bytes:
    if shutil.which("zstd") is None:
        pytest.skip("zstd(1) is not installed")
    return subprocess.run(["zstd", "-qc", *options], input=data, capture_output=True, check=True).stdout


END = bytes(1024)


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a tree that unpacking may change: one line for each name."""
    found: dict[str, tuple[object, ...]] = {}
    numbers: dict[tuple[int, int], str] = {}
    paths = [root, *sorted(root.rglob("*"))]
    for path in paths:
        info = path.lstat()
        name = str(path.relative_to(root))
        first = numbers.setdefault((info.st_dev, info.st_ino), name)
        content: object = None
        if stat.S_ISREG(info.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(info.st_mode):
            content = path.readlink()
        keys = sorted(os.listxattr(path, follow_symlinks=False))
        xattrs = tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in keys)
        found[name] = (
            info.st_mode,
            info.st_uid,
            info.st_gid,
            info.st_rdev,
            info.st_mtime_ns,
            first,
            content,
            xattrs,
            info.st_nlink,
        )
    return found
