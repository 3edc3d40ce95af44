"""Bombs: what would grow without bounds is refused in bounded time and memory.

Source: OCI image-spec, layer.md.
"""

import contextlib
import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from functools import cache

import pytest

from hyrun import _core
from hyrun.errors import StorageError
from support.layers import Layers
from support.tars import END, base_256, header, pax

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


BOMB = """
import os, resource, sys
limit = 256 << 20
from hyrun import _core
from hyrun.errors import StorageError
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
try:
    _core.unpack_layer(0, sys.argv[1], offset=0 if sys.argv[2] == "file" else None)
except StorageError as error:
    print(error)
else:
    sys.exit("unpacked")
# Not ru_maxrss: that begins with what the process had before exec, which is the memory of the tests.
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
if peak > limit:
    sys.exit(f"{peak >> 20} MiB")
"""


@cache
def gzip_of_zeros(size: int) -> bytes:
    """``size`` zeros after a header that claims them, without making them all here."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunk = bytes(1 << 20)
    parts = [packer.compress(header(b"a", size=base_256(size)))]
    parts += [packer.compress(chunk) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])


def zstd_frame(window: int, *blocks: bytes) -> bytes:
    """A frame with a window of 2**window bytes and these raw blocks."""
    return struct.pack("<IBB", 0xFD2FB528, 0, (window - 10) << 3) + b"".join(blocks)


def zstd_zeros(count: int) -> bytes:
    """RLE blocks: four bytes each for 128 KiB."""
    block = (131072 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    return block * count + (1 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"


def zstd_raw(data: bytes) -> bytes:
    return (len(data) << 3).to_bytes(3, "little") + data


HUGE = header(b"a", size=base_256(1 << 39))
LONG_PAX = header(b"x", kind=b"x", size=b"77777777777\0")


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(lambda: gzip_of_zeros(1200 << 20), id="gzip zeros"),
        pytest.param(lambda: zstd_frame(23, zstd_raw(HUGE), zstd_zeros(20_000)), id="zstd zeros"),
        pytest.param(lambda: zstd_frame(27, zstd_raw(HUGE), zstd_zeros(20_000)), id="zstd window of 128 MiB"),
        pytest.param(lambda: zstd_frame(28, zstd_raw(HUGE), zstd_zeros(20_000)), id="zstd window too large"),
        pytest.param(lambda: zstd_frame(41, zstd_raw(HUGE), zstd_zeros(20)), id="zstd window of 2 TiB"),
        pytest.param(lambda: zstd_frame(20, zstd_raw(END), zstd_zeros(20_000)), id="zeros behind the end"),
        pytest.param(lambda: LONG_PAX + bytes(1 << 20), id="PAX of 8 GiB"),
        pytest.param(lambda: header(b"x", kind=b"K", size=b"10000000000\0") + bytes(1 << 20), id="long link"),
        pytest.param(lambda: zstd_frame(20, zstd_raw(LONG_PAX), zstd_zeros(20_000)), id="zipped PAX"),
        pytest.param(lambda: header(b"a", size=base_256(1 << 41)) + bytes(512), id="2 TiB claimed"),
        pytest.param(lambda: b"".join(sparse_header(b"%d" % n) for n in range(3)), id="1.5 TiB of holes"),
        pytest.param(lambda: endless_map(), id="endless sparse map"),
        pytest.param(lambda: zstd_frame(27, wide_mix(), zstd_zeros(20_000)), id="zstd window of 128 MiB, filled"),
        pytest.param(lambda: too_many_directories(), id="directories to remember"),
        pytest.param(lambda: pax((b"SCHILY.xattr.user.a", bytes(65_537))) + header(b"a"), id="huge xattr"),
    ],
)  # fmt: skip
def test_a_bomb_is_refused_in_ten_seconds_and_256_mib(layers: Layers, bomb: Callable[[], bytes]) -> None:
    with open(layers.base / "archive", "wb+") as file:
        file.write(bomb())
        file.seek(0)
        how = "stream" if layers.threads else "file"
        command = [sys.executable, "-c", BOMB, layers.fresh(), how]
        result = subprocess.run(command, stdin=file, capture_output=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


def wide_mix() -> bytes:
    """Blocks that fill a window with bytes that are not a bomb yet: 600 MB in 300 KB more."""
    run = (131072 << 3 | 1 << 1).to_bytes(3, "little")
    return zstd_raw(HUGE) + zstd_raw(bytes(100_000)) * 3 + b"".join(run + bytes([n % 251]) for n in range(4600))


def too_many_directories() -> bytes:
    """Long names of one directory, each with a time to remember: 69 MB of them."""
    path = "/".join(["d" * 250] * 15)
    return (pax((b"path", path.encode())) + header(b"d", kind=b"5")) * 18_000


@pytest.mark.parametrize("layers", ["several"], indirect=True)
def test_more_than_two_million_entries_are_refused(layers: Layers) -> None:
    """Bookkeeping of aufs, which is read and left out, so that no inode is wasted on it."""
    block = header(b".wh..wh.aufs") * 2048
    read, write = os.pipe()

    def feed() -> None:
        with os.fdopen(write, "wb") as file, contextlib.suppress(BrokenPipeError):
            for _ in range(2_000_000 // 2048 + 1):
                file.write(block)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with pytest.raises(StorageError, match="more than 2000000 entries"):
            _core.unpack_layer(read, str(layers.fresh()))
    finally:
        os.close(read)
        feeder.join()


def sparse_header(name: bytes) -> bytes:
    """GNU's old sparse form: half a TiB, with one empty extent at the end."""
    offset = base_256(1 << 39)
    map_ = offset + b"00000000000\0" + bytes(24 * 3) + b"\0" + offset
    return header(name, kind=b"S", magic=b"ustar  \0", behind=map_)


def endless_map() -> bytes:
    map_ = (b"00000000001\0" + b"00000000000\0") * 4 + b"\1" + b"00000000001\0"
    more = (b"00000000001\0" + b"00000000000\0") * 21 + b"\1" + bytes(7)
    return header(b"a", kind=b"S", magic=b"ustar  \0", behind=map_) + more * 20_000
