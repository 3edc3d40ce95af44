"""Streams: what is read of them, their digests, and how they end.

Source: OCI image-spec, layer.md.
"""

import gzip
import os
import random
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hyrun import _core
from hyrun.errors import StorageError
from support.layers import Layers
from support.tars import END, archive, base_256, digest, entry, header, zstd

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
def test_both_digests_are_over_everything(layers: Layers, form: str) -> None:
    plain = archive(entry("a", os.urandom(300_000))) + b"trailing" * 100_000
    stored = {"plain": lambda: plain, "gzip": lambda: gzip.compress(plain), "zstd": lambda: zstd(plain)}[form]()
    read = layers.read(stored, layers.fresh())
    assert read.diff_id == digest(plain)
    assert read.digest == digest(stored)
    assert (read.size, read.compressed_size, read.entries) == (len(plain), len(stored), 1)


def test_a_window_of_a_file_is_read_and_its_position_left(layers: Layers, tmp_path: Path) -> None:
    data = gzip.compress(archive(entry("a", b"x")))
    with open(tmp_path / "archive", "wb+") as file:
        file.write(b"before" + data + b"behind")
        file.flush()
        file.seek(3)
        target = layers.fresh()
        read = _core.unpack_layer(file.fileno(), str(target), offset=6, length=len(data))
        assert file.tell() == 3
    assert read.digest == digest(data)
    assert (target / "a").exists()


def test_a_pipe_is_read_to_its_end(layers: Layers) -> None:
    data = archive(entry("a", os.urandom(1 << 20))) + bytes(1 << 20)
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert _core.unpack_layer(reading, str(layers.fresh())).digest == digest(data)
    finally:
        os.close(reading)
        thread.join()


@pytest.mark.parametrize(
    "options",
    [
        ["-1"],
        ["-3", "--no-check"],
        ["-9", "--long=25"],
        ["-12", "--long=26"],
        ["-19"],
        ["--ultra", "-22", "--long=27"],
        ["--fast=5"],
        ["-3", "--zstd=wlog=10"],
    ],
    ids=" ".join,
)
def test_every_level_and_window_of_zstd_is_decoded(layers: Layers, options: list[str]) -> None:
    """Both decoders: windows above 32 MiB are the other one's. The content is long enough to fill many blocks."""
    source = random.Random(3)
    words = [source.randbytes(source.randrange(1, 60)) for _ in range(400)]
    content = b"".join(source.choices(words, k=60_000)) + source.randbytes(300_000) + bytes(500_000)
    data = archive(entry("a", content), entry("b", b"end"))
    packed = zstd(data, *options)
    read = layers.read(packed, target := layers.fresh())
    assert (read.diff_id, read.digest) == (digest(data), digest(packed))
    assert (target / "a").read_bytes() == content


def test_memory_does_not_grow_with_the_layer(layers: Layers) -> None:
    """300 MB in a window of 8 MiB: less than 100 MiB with the interpreter."""
    block = random.Random(4).randbytes(3 << 20)
    with open(layers.base / "archive", "wb+") as file:
        packer = subprocess.Popen(["zstd", "-qc", "-3", "--long=23"], stdin=subprocess.PIPE, stdout=file)
        assert packer.stdin is not None
        packer.stdin.write(header(b"a", size=b"%011o\0" % (100 * len(block))))
        for _ in range(100):
            packer.stdin.write(block)
        packer.stdin.write(END)
        packer.stdin.close()
        assert packer.wait() == 0
        file.seek(0)
        program = (
            "import resource, sys; from hyrun import _core; _core.unpack_layer(0, sys.argv[1], offset=0)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        # A shell between: what replaces a process inherits its peak.
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", program, layers.fresh()]
        peak = int(subprocess.run(command, stdin=file, capture_output=True, check=True).stdout)
    assert peak < 100 << 10


def _endless() -> tuple[int, int]:
    """A pipe with the beginning of a large layer, whose writer says nothing more."""
    read, write = os.pipe()
    os.write(write, header(b"a", size=base_256(1 << 30)) + bytes(1000))
    return read, write


def test_a_stalled_stream_can_be_cancelled(layers: Layers) -> None:
    read, write = _endless()
    cancellation = _core.Cancellation()
    timer = threading.Timer(0.1, cancellation.cancel)
    timer.start()
    try:
        with pytest.raises(StorageError, match="stopped"):
            _core.unpack_layer(read, str(layers.fresh()), cancellation=cancellation)
    finally:
        timer.join()
        os.close(read)
        os.close(write)


def test_a_signal_handler_may_end_it(layers: Layers) -> None:
    read, write = _endless()

    def handler(*_: object) -> None:
        raise KeyError("from the handler")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyError, match="from the handler"):
            _core.unpack_layer(read, str(layers.fresh()))
    finally:
        signal.signal(signal.SIGALRM, before)
        os.close(read)
        os.close(write)


def test_an_error_does_not_wait_for_the_rest_of_a_stream(layers: Layers) -> None:
    read, write = os.pipe()
    os.write(write, header(b"../a") + bytes(512))
    try:
        with pytest.raises(StorageError, match="leaves the layer"):
            _core.unpack_layer(read, str(layers.fresh()))
    finally:
        os.close(read)
        os.close(write)


def test_members_of_gzip_and_frames_of_zstd_are_joined(layers: Layers) -> None:
    data = archive(entry("a", os.urandom(5000)), entry("b", b"x"))
    halves = data[:3000], data[3000:]
    skippable = struct.pack("<II", 0x184D2A53, 5) + b"12345"
    for stored in (
        b"".join(map(gzip.compress, halves)),
        skippable + zstd(halves[0]) + skippable + zstd(halves[1]) + skippable,
        gzip.compress(data) + bytes(700),
    ):
        target = layers.fresh()
        read = layers.read(stored, target)
        assert (read.diff_id, read.digest) == (digest(data), digest(stored))
        assert sorted(path.name for path in target.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("form", ["gzip", "zstd"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1], id="last byte missing"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut in half"),
        pytest.param(lambda data: data[:7], id="header only"),
        pytest.param(lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], id="flipped near the end"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="flipped check"),
        pytest.param(lambda data: data + b"garbage", id="garbage behind"),
        pytest.param(lambda data: data + bytes(9) + b"x", id="garbage behind padding"),
    ],
)
def test_a_damaged_stream_is_refused(layers: Layers, form: str, damage: Callable[[bytes], bytes]) -> None:
    plain = archive(entry("a", os.urandom(40_000)))
    layers.refuse(damage(gzip.compress(plain) if form == "gzip" else zstd(plain)), form)


def test_an_archive_without_its_end_is_whole(layers: Layers) -> None:
    target = layers.unpack(header(b"a"))
    assert (target / "a").exists()
    assert layers.read(b"", layers.fresh()).entries == 0


def test_the_disk_s_refusal_is_an_oserror_with_the_name(layers: Layers) -> None:
    used = layers.unpack(archive(entry("a")))
    with pytest.raises(OSError, match="not empty") as caught:
        layers.unpack(archive(entry("b")), used)
    assert caught.value.filename == str(used)
    with pytest.raises(FileNotFoundError):
        layers.unpack(END, layers.base / "missing")
    directory = os.open(used, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            _core.unpack_layer(directory, str(layers.fresh()))
    finally:
        os.close(directory)


def test_a_target_that_is_a_symlink_is_not_followed(layers: Layers) -> None:
    target = layers.fresh()
    (target / "link").symlink_to(layers.fresh())
    with pytest.raises(NotADirectoryError):
        layers.unpack(archive(entry("a")), target / "link")
