"""Archives that are loaded by several processes and threads, interrupted, killed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyrun import image_store
from hyrun.archives.loading import load
from hyrun.errors import NotFound, StorageError
from hyrun.images import lookup
from hyrun.locks import lock
from hyrun.store import Store
from support.archives import CONFIG, LOWER, UPPER, check, snapshot
from support.images import docker_archive, sha256, tar_bytes

LOAD = "from hyrun.archives.loading import load; from hyrun.store import Store; print(*load(Store(), {path!r}))"


def test_processes_that_load_at_once_all_succeed(store: Store, tmp_path: Path) -> None:
    layers = [tar_bytes([(f"file{number}", bytes(2 << 20))]) for number in range(4)]
    image_id = docker_archive(tmp_path / "a.tar", layers, CONFIG, ["x:1"])
    program = LOAD.format(path=str(tmp_path / "a.tar"))
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(4)]
    outputs = [process.communicate()[0] for process in running]
    assert outputs == [b"Loaded image: x:1\n"] * 4
    assert lookup(store, "x:1").id == image_id
    assert len(os.listdir(store.path("layers"))) == 4


def _large(number: int, size: int) -> bytes:
    """A layer of incompressible bytes, large enough to be worth a thread."""
    return tar_bytes([(f"file{number}", random.Random(number).randbytes(size))])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_large_layers_are_unpacked_at_once(store: Store, tmp_path: Path) -> None:
    """The larger one, which comes first, waits for its lock; the other one does not wait for it."""
    first, second = _large(1, 3 << 20), _large(2, 2 << 20)
    image_id = docker_archive(tmp_path / "a.tar", [first, second], CONFIG, ["x:1"])
    program = LOAD.format(path=str(tmp_path / "a.tar"))
    with lock(store, "layer", sha256(first)[7:]):
        loading = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
        while not os.path.isdir(store.path("layers", sha256(second)[7:])):
            assert loading.poll() is None
            time.sleep(0.005)
    assert loading.wait() == 0
    assert lookup(store, "x:1").id == image_id


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_the_first_error_ends_the_other_layers_and_is_the_one_reported(store: Store, tmp_path: Path) -> None:
    first, second = _large(1, 3 << 20), _large(2, 2 << 20)
    docker_archive(tmp_path / "a.tar", [first, second], CONFIG, ["x:1"])
    data = (tmp_path / "a.tar").read_bytes()
    at = data.index(second) + len(second) - 2000
    (tmp_path / "a.tar").write_bytes(data[:at] + b"damage" + data[at + 6 :])
    # The other one waits as long as this is held; without being ended it would for ever.
    with lock(store, "layer", sha256(first)[7:]), pytest.raises(StorageError, match="wants"):
        load(store, str(tmp_path / "a.tar"))
    assert snapshot(store) == []
    assert os.listdir(store.path("tmp")) == []


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_an_interrupt_ends_all_layers_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    layers = [_large(1, 3 << 20), _large(2, 2 << 20)]
    docker_archive(tmp_path / "a.tar", layers, CONFIG, ["x:1"])
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"{LOAD.format(path=str(tmp_path / 'a.tar'))}"
    )
    with lock(store, "layer", sha256(layers[0])[7:]):
        loading = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
        while not os.path.isdir(store.path("layers", sha256(layers[1])[7:])):
            assert loading.poll() is None
            time.sleep(0.005)
        loading.send_signal(signal.SIGINT)
        said = loading.communicate()[1]
    assert said.rstrip().endswith(b"KeyboardInterrupt")
    assert snapshot(store) == []


def test_the_sweep_of_layers_waits_for_a_load(store: Store, tmp_path: Path) -> None:
    image_id = docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"])
    program = LOAD.format(path=str(tmp_path / "a.tar"))
    with lock(store, "layer", sha256(UPPER)[7:]):
        loading = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
        # The first layer is there, no record lists it yet.
        while not os.path.isdir(store.path("layers", sha256(LOWER)[7:])):
            assert loading.poll() is None
            time.sleep(0.005)
        image_store.sweep_now(store)
        assert os.listdir(store.path("layers")) == [sha256(LOWER)[7:]]
    assert loading.wait() == 0
    check(store, "x:1", image_id)


def test_load_and_removal_at_once_leave_a_whole_image_or_none(store: Store, tmp_path: Path) -> None:
    docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"])
    loading = LOAD.format(path=str(tmp_path / "a.tar"))
    removing = (
        "from hyrun.image_store import remove; from hyrun.store import Store\n"
        "from hyrun.errors import NotFound\n"
        "for _ in range(200):\n    try: remove(Store(), 'x:1')\n    except NotFound: pass\n"
    )
    remover = subprocess.Popen([sys.executable, "-c", removing])
    for _ in range(3):
        subprocess.run([sys.executable, "-c", loading], check=True, stdout=subprocess.DEVNULL)
        for record in image_store.records(store):
            present = set(os.listdir(store.path("layers")))
            # The removal may come between both looks; then the record is gone.
            assert set(record["layers"]) <= present or not lookup_or_none(store, record["id"])
    assert remover.wait() == 0


def lookup_or_none(store: Store, text: str) -> object:
    try:
        return lookup(store, text)
    except NotFound:
        return None


def _started(store: Store, program: str, data: bytes, sign: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()
    while not list(Path(store.path("tmp")).glob(sign)):
        assert process.poll() is None
        time.sleep(0.005)
    yield
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()


@pytest.mark.parametrize("step", ["spooling", "unpacking"])
def test_after_a_kill_the_next_load_works_and_cleans_up(store: Store, tmp_path: Path, step: str) -> None:
    image_id = docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"])
    if step == "spooling":
        program, data, sign = LOAD.format(path="-"), (tmp_path / "a.tar").read_bytes()[:5000], "*/unpacked/*"
    else:
        program = (
            "from hyrun.archives.rootfs import import_rootfs; from hyrun.store import Store\n"
            "import_rootfs(Store(), '-', 'y')"
        )
        data, sign = LOWER[:700], "*/layer/diff"
    for _ in _started(store, program, data, sign):
        pass
    assert os.listdir(store.path("tmp"))
    load(store, str(tmp_path / "a.tar"))
    assert os.listdir(store.path("tmp")) == []
    check(store, "x:1", image_id)
