"""Whatever an archive says, nothing outside changes.

Source: OCI image-spec, layer.md.
"""

import contextlib
import os
import random
from pathlib import Path

import pytest

from hyrun import _core
from hyrun.errors import StorageError
from support.layers import Layers
from support.tars import END, header, padded, pax

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


def hostile(source: random.Random, canary: Path) -> bytes:
    """A random archive of names, links and types that have gone wrong somewhere before."""
    names = [
        "a",
        "b",
        "a/b",
        "a/b/c",
        "./a",
        "/b",
        "..",
        "../canary/file",
        "a/../b",
        ".",
        "/",
        "",
        "a/.",
        "b/x",
    ]
    names += [
        ".wh.a",
        "a/.wh.b",
        "b/.wh..wh..opq",
        ".wh..wh..opq",
        ".wh.",
        ".wh..",
        ".wh...",
        ".wh..wh.plnk/x",
    ]
    names += [
        f"{canary}/file",
        "s",
        "s/file",
        "s/sub/setuid",
        "t/file",
        "s/.wh.file",
        "x" * 256,
        "a/" * 80 + "x",
    ]
    targets = [
        "a",
        "b",
        "a/b",
        "..",
        "../canary",
        "../canary/file",
        str(canary),
        f"{canary}/file",
        "/",
        ".",
        "s",
        "/proc/self/root",
    ]
    kinds = [b"0"] * 5 + [b"2"] * 4 + [b"1"] * 3 + [b"5"] * 3 + [b"3", b"4", b"6", b"7", b"\0", b"S", b"Z"]
    data = b""
    for _ in range(source.randrange(1, 8)):
        name = source.choice(names).encode()
        content = source.choice([b"", b"evil", bytes(600)])
        kind = source.choice(kinds)
        size = len(content) if kind in (b"0", b"7", b"\0") or source.random() < 0.05 else 0
        records = []
        if len(name) > 100:
            records.append((b"path", name))
        if source.random() < 0.1:
            records.append((b"SCHILY.xattr." + source.choice([b"trusted.overlay.redirect", b"user.x"]), b"/"))
        if source.random() < 0.03:
            records.append((source.choice([b"size", b"uid", b"mtime"]), source.choice([b"0", b"-5", b"7", b"9" * 30])))
        if records:
            data += pax(*records)
        data += header(
            name[:100],
            kind=kind,
            size=b"%011o\0" % size,
            mode=b"000%04o\0" % source.randrange(0o10000),
            uid=b"%07o\0" % source.randrange(3),
            link=source.choice(targets).encode()[:100] if kind in b"12" else b"",
            minor=b"000000%d\0" % source.randrange(2),
        )
        data += padded(content[:size])
    if source.random() < 0.1:
        data = data[: source.randrange(len(data) + 1)]
    if source.random() < 0.1 and data:
        position = source.randrange(len(data))
        data = data[:position] + bytes([source.randrange(256)]) + data[position + 1 :]
    return data + source.choice([END, END, b""])


def test_random_hostile_archives_change_nothing_outside(layers: Layers) -> None:
    source = random.Random(20260101)
    unpacked = 0
    for _ in range(int(os.environ.get("HYRUN_HOSTILE_LAYERS", "1000"))):
        data = hostile(source, layers.canary)
        target = layers.fresh()
        with contextlib.suppress(StorageError):
            layers.read(data, target)
            unpacked += 1
        assert layers.outside() == layers.before, data
        assert target.is_dir()
        assert not target.is_symlink()
        for path in target.rglob("*"):
            overlay = [key for key in os.listxattr(path, follow_symlinks=False) if ".overlay." in key]
            assert set(overlay) <= {"trusted.overlay.opaque"}, data
        _core.remove_tree(str(target))
    assert unpacked > 40
