"""Names and headers that are refused.

Source: OCI image-spec, layer.md.
"""

import os

import pytest

from hyrun.errors import StorageError
from support.layers import Layers
from support.tars import END, archive, entry, header, padded, pax

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


def test_the_sentence_names_the_entry_and_the_reason(layers: Layers) -> None:
    target = layers.fresh()
    with pytest.raises(StorageError) as caught:
        layers.read(header(b"a/../\x1b[2Jb") + END, target)
    assert str(caught.value) == r'layer entry "a/../\x1b[2Jb": path leaves the layer'


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/../b", "/..", "a/b/../../../x", "x" * 256, "a/" * 300 + "x", "ab/" * 1400 + "x"]
)
def test_names_that_leave_or_overflow_are_refused(layers: Layers, name: str) -> None:
    layers.refuse(archive(entry(name)), "layer entry")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(header(b"a", uid=b"\x80\0\0\0\xff\xff\xff\xff"), id="uid of nobody changed"),
        pytest.param(header(b"a", gid=b"\x80\0\0\1\0\0\0\0"), id="gid too large"),
        pytest.param(header(b"a", uid=b"\xff" * 8), id="negative uid"),
        pytest.param(header(b"a", size=b"\xff" * 12), id="negative size"),
        pytest.param(header(b"a", size=b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7), id="huge size"),
        pytest.param(header(b"a", size=b"-0000000001\0"), id="signed octal size"),
        pytest.param(header(b"a", size=b"0x0000000ff\0"), id="hexadecimal size"),
        pytest.param(header(b"a", kind=b"3"), id="whiteout device"),
        pytest.param(header(b"a", kind=b"3", major=b"0010000\0", minor=b"4000000\0"), id="device cut to 0:0"),
        pytest.param(header(b"a", kind=b"Z"), id="unknown type"),
        pytest.param(header(b"a", kind=b"M"), id="multi volume"),
        pytest.param(header(b"a", kind=b"2"), id="symlink to nothing"),
        pytest.param(header(b"a", kind=b"5", size=b"00000001000\0") + bytes(512), id="directory with a size"),
        pytest.param(header(b"a/"), id="regular file with a slash"),
        pytest.param(pax((b"size", b"512")) + header(b"a") + bytes(512), id="PAX size that disagrees"),
        pytest.param(pax((b"size", b"0")) + header(b"a", size=b"00000001000\0") + bytes(512), id="PAX size"),
        pytest.param(pax((b"size", b"-1")) + header(b"a"), id="negative PAX size"),
        pytest.param(pax((b"uid", b"4294967295")) + header(b"a"), id="PAX uid of -1"),
        pytest.param(pax((b"uid", b"x")) + header(b"a"), id="PAX uid without digits"),
        pytest.param(pax((b"path", b"a\0b")) + header(b"a"), id="NUL in a name"),
        pytest.param(pax((b"path", b"../a")) + header(b"a"), id="PAX name that leaves"),
        pytest.param(pax((b"path", b"b")) + pax((b"path", b"c")) + header(b"a"), id="two PAX headers"),
        pytest.param(pax((b"path", b"b")), id="PAX header for nothing"),
        pytest.param(header(b"x", kind=b"x", size=b"00000000005\0") + padded(b"9 a=b"), id="PAX record cut"),
        pytest.param(header(b"x", kind=b"x", size=b"77777777777\0"), id="PAX header of 8 GiB"),
        pytest.param(header(b"x", kind=b"L", size=b"77777777777\0"), id="long name of 8 GiB"),
        pytest.param(header(b"x", kind=b"g", size=b"\x80" + b"\x7f" * 11), id="huge global header"),
        pytest.param(pax((b"SCHILY.xattr.security.capability", b"junk")) + header(b"a"), id="bad capability"),
        pytest.param(pax((b"SCHILY.xattr.user.a", b"x" * 70000)) + header(b"a"), id="huge xattr"),
        pytest.param(b"\0" * 512 + header(b"a"), id="entry behind a lone block of zeros"),
        pytest.param(header(b"a")[:-1] + b"x", id="wrong checksum"),
        pytest.param(b"#!/bin/sh\n" * 200, id="no archive at all"),
        pytest.param(header(b"a", size=b"00000001000\0") + bytes(100), id="content cut off"),
        pytest.param(header(b"a", size=b"00000000001\0") + b"x", id="padding cut off"),
        pytest.param(header(b"a")[:300], id="header cut off"),
    ],
)  # fmt: skip
def test_a_hostile_or_damaged_archive_is_refused(layers: Layers, data: bytes) -> None:
    layers.refuse(data if data.endswith((b"x", b"\n")) or len(data) % 512 else data + END)
