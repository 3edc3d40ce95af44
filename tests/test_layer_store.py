"""Layers in the store: there whole or not at all, unpacked once, named by what is in them."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hyrun import layers
from hyrun.errors import StorageError
from hyrun.locks import lock
from hyrun.staging import sweep
from hyrun.store import Store
from support.images import compress, sha256, tar_bytes

TAR = tar_bytes([("etc", None), ("etc/motd", b"hello\n")])


def temporary(data: bytes) -> io.BufferedRandom:
    descriptor = os.memfd_create("layer")
    file = os.fdopen(descriptor, "w+b")
    file.write(data)
    file.seek(0)
    return file


def names(store: Store) -> list[str]:
    return sorted(os.listdir(store.path("layers")))


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_layer_is_named_by_the_digest_of_its_uncompressed_tar(store: Store, compression: str) -> None:
    data = compress(TAR, compression)
    with temporary(b"before" + data + b"behind") as file:
        layer = layers.add(store, file.fileno(), offset=6, length=len(data), digest=sha256(data))
    assert f"sha256:{layer.diff_id}" == sha256(TAR)
    assert layer.size == len(TAR)
    assert Path(store.path("layers", layer.diff_id, "diff/etc/motd")).read_bytes() == b"hello\n"
    assert layers.find(store, layer.diff_id) == layer


def test_a_layer_can_be_a_stream(store: Store) -> None:
    read, write = os.pipe()
    os.write(write, TAR)
    os.close(write)
    layer = layers.add(store, read)
    os.close(read)
    assert layers.present(store, layer.diff_id)


def test_nobody_but_the_owner_passes_the_directory_of_a_layer(store: Store) -> None:
    with temporary(TAR) as file:
        layer = layers.add(store, file.fileno())
    assert os.stat(store.path("layers", layer.diff_id)).st_mode & 0o077 == 0


@pytest.mark.parametrize("promise", ["diff_id", "digest"])
def test_content_that_is_not_what_was_promised_never_becomes_a_layer(store: Store, promise: str) -> None:
    with temporary(TAR) as file, pytest.raises(StorageError, match=sha256(TAR)):
        layers.add(store, file.fileno(), offset=0, length=len(TAR), **{promise: sha256(b"another")})
    assert names(store) == []


def test_a_truncated_layer_is_refused(store: Store) -> None:
    with temporary(TAR[: len(TAR) // 3]) as file, pytest.raises(StorageError):
        layers.add(store, file.fileno(), diff_id=sha256(TAR))
    assert names(store) == []


def test_a_layer_that_is_there_is_not_read_again(store: Store) -> None:
    with temporary(TAR) as file:
        first = layers.add(store, file.fileno(), diff_id=sha256(TAR))
    with temporary(b"no tar at all") as file:
        assert layers.add(store, file.fileno(), diff_id=sha256(TAR)) == first


def test_the_same_content_without_a_promise_is_kept_once(store: Store) -> None:
    with temporary(TAR) as file:
        first = layers.add(store, file.fileno())
    with temporary(compress(TAR, "gzip")) as file:
        assert layers.add(store, file.fileno()) == first
    assert names(store) == [first.diff_id]


def test_who_waited_for_the_lock_of_a_layer_looks_again(store: Store, tmp_path: Path) -> None:
    """The second process has bytes that are no tar: it succeeds only if it does not unpack them."""
    name = sha256(TAR)[7:]
    program = (
        "import os; from hyrun import layers; from hyrun.store import Store\n"
        f"print(layers.add(Store(), os.open('/dev/null', os.O_RDONLY), diff_id='sha256:{name}').size)"
    )
    made = tmp_path / "made"
    (made / "diff").mkdir(parents=True)
    with lock(store, "layer", name):
        second = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        _wait_for_waiter(Path(store.path("locks", f"layer-{name}")))
        layers.publish(store, str(made), name, size=7)
    output, _ = second.communicate()
    assert (second.returncode, output) == (0, b"7\n")


def test_what_a_killed_process_left_is_swept_and_never_seen(store: Store) -> None:
    program = "import os; from hyrun import layers; from hyrun.store import Store\nlayers.add(Store(), 0)"
    killed = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    assert killed.stdin is not None
    killed.stdin.write(TAR[:600])
    killed.stdin.flush()
    while not list(Path(store.path("tmp")).glob("*/layer/diff")):
        assert killed.poll() is None
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    killed.stdin.close()
    assert names(store) == []
    assert sweep(store) == 1


def _wait_for_waiter(path: Path) -> None:
    """Wait until somebody waits for the flock on that file: proc_locks(5)."""
    inode = f":{path.stat().st_ino} "
    while not any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()):
        time.sleep(0.005)
