"""Garbage: what nobody refers to goes, what somebody may still need stays, and nobody waits for a download."""

import json
import os
import subprocess
import sys
import threading
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from hyrun import _core, claims, garbage, image_store, layers
from hyrun.archives.loading import load
from hyrun.errors import InUse, NotFound
from hyrun.image_store import publishing, remove, tag, tags
from hyrun.images import lookup
from hyrun.locks import lock, lock_path
from hyrun.references import parse
from hyrun.staging import Trash, staging
from hyrun.store import Store
from support.images import docker_archive, sha256, tar_bytes

BASE = tar_bytes([("base", b"")])
TOP = tar_bytes([("top", b"")])


@pytest.fixture
def image(store: Store, tmp_path: Path) -> str:
    """An image of two layers in the store; its id in hexadecimal."""
    image_id = docker_archive(tmp_path / "a.tar", [BASE, TOP], {"Cmd": ["ls"]}, ["one:1"])
    load(store, str(tmp_path / "a.tar"))
    return image_id[7:]


def present(store: Store) -> set[str]:
    return set(os.listdir(store.path("layers")))


def container(store: Store, image: str, text: str | None = None) -> Path:
    directory = Path(store.path("containers", "c" * 64))
    directory.mkdir()
    config = {
        "Image": f"sha256:{image}",
        "Name": "web",
        "Layers": [store.path("layers", sha256(layer)[7:], "diff") for layer in (TOP, BASE)] + [store.skeleton],
    }
    (directory / "config.json").write_text(json.dumps(config) if text is None else text)
    return directory


def test_removal_does_not_wait_for_somebody_who_publishes(store: Store, image: str) -> None:
    with publishing(store):
        lines = remove(store, "one:1")
        assert lines == ["Untagged: one:1", f"Deleted: sha256:{image}"]
        with pytest.raises(NotFound):
            lookup(store, image)
        # Whoever publishes may be about to make an image of them.
        assert len(present(store)) == 2
    assert set(garbage.collect(store) or ()) == {sha256(BASE)[7:], sha256(TOP)[7:]}
    assert present(store) == set()


def test_a_layer_that_is_claimed_stays_until_the_claim_goes(store: Store, image: str) -> None:
    with staging(store) as directory:
        with publishing(store):
            claims.claim(directory, [sha256(BASE)[7:]])
        remove(store, "one:1")
        assert present(store) == {sha256(BASE)[7:]}
    garbage.sweep_now(store)
    assert present(store) == set()


def test_layers_of_a_container_stay_when_its_image_is_lost(store: Store, image: str) -> None:
    container(store, image)
    os.unlink(store.path("images", f"{image}.json"))
    assert garbage.collect(store) == []
    assert len(present(store)) == 2


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_nothing_goes_while_a_container_says_nothing(store: Store, image: str, text: str) -> None:
    container(store, image, text)
    os.unlink(store.path("images", f"{image}.json"))
    assert garbage.collect(store) == []
    assert len(present(store)) == 2


def test_a_record_that_is_being_written_is_waited_for(store: Store, image: str) -> None:
    """Its maker holds the lock: what can be read of it so far is not taken for damage."""
    directory = container(store, image, '{"Image": "sha')
    descriptor = os.open(directory, os.O_RDONLY)
    flock(descriptor, LOCK_EX)
    config = {"Image": f"sha256:{image}", "Name": "web", "Layers": []}
    writer = threading.Timer(0.2, lambda: (directory / "config.json").write_text(json.dumps(config)))
    writer.start()
    try:
        with pytest.raises(InUse, match="web"):
            remove(store, "one:1")
    finally:
        writer.join()
        os.close(descriptor)


@pytest.mark.parametrize("used", [False, True])
def test_a_removal_that_was_killed_is_finished_unless_a_container_came(store: Store, image: str, used: bool) -> None:
    record = store.path("images", f"{image}.json")
    os.rename(record, store.path("images", f".{image}{garbage.REMOVING}"))
    if used:
        container(store, image)
    garbage.sweep_now(store)
    assert os.path.exists(record) == used
    assert bool(tags(store)) == used
    assert os.path.exists(store.path("blobs/sha256", image)) == used
    assert len(present(store)) == (2 if used else 0)
    assert not [name for name in os.listdir(store.path("images")) if name.startswith(".")]


def test_a_refused_removal_leaves_the_record_where_it_was(store: Store, image: str) -> None:
    container(store, image)
    before = Path(store.path("images", f"{image}.json")).read_bytes()
    with pytest.raises(InUse):
        remove(store, "one:1", force=True)
    assert Path(store.path("images", f"{image}.json")).read_bytes() == before
    assert lookup(store, "one:1").id == f"sha256:{image}"


def test_a_name_is_not_given_to_an_image_that_is_gone(store: Store, image: str) -> None:
    remove(store, "one:1")
    with pytest.raises(NotFound, match="removed just now"):
        tag(store, parse("two"), f"sha256:{image}")
    assert tags(store) == {}


def test_bringing_an_image_again_mends_its_documents(store: Store, image: str, tmp_path: Path) -> None:
    Path(store.path("blobs/sha256", image)).write_bytes(b"")
    load(store, str(tmp_path / "a.tar"))
    assert sha256(Path(store.path("blobs/sha256", image)).read_bytes()) == f"sha256:{image}"


def test_locks_of_layers_go_with_them(store: Store, image: str) -> None:
    assert os.path.exists(lock_path(store, "layer", sha256(TOP)[7:]))
    remove(store, "one:1")
    assert sorted(os.listdir(store.path("locks"))) == ["image-all", "image-records"]


def test_who_waited_for_a_lock_that_was_removed_takes_the_new_one(store: Store) -> None:
    program = (
        "from hyrun.locks import lock; from hyrun.store import Store\n"
        "with lock(Store(), 'layer', 'x'): print('held', flush=True); input()"
    )
    path = Path(lock_path(store, "layer", "x"))
    with lock(store, "layer", "x"):
        inode = path.stat().st_ino
        waiting = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        while f":{inode} " not in "".join(
            line for line in Path("/proc/locks").read_text().splitlines() if "->" in line
        ):
            assert waiting.poll() is None
        path.unlink()
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError), lock(store, "layer", "x", wait=False):
        pass
    waiting.communicate("\n", timeout=20)
    with lock(store, "layer", "x", wait=False):
        pass


def test_records_are_changed_by_one_at_a_time_and_by_one_thread_more_than_once(store: Store, image: str) -> None:
    order = []

    def other() -> None:
        with image_store.recording(store):
            order.append("other")

    with image_store.recording(store), image_store.recording(store):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_trash_takes_what_is_no_directory_too(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with Trash(store) as trash:
        trash.take(str(tmp_path / "file"))
        trash.take(str(tmp_path / "link"))
        assert len(os.listdir(store.path("tmp"))) == 2
        assert not (tmp_path / "link").is_symlink()
    assert os.listdir(store.path("tmp")) == []
    assert os.path.exists("/etc/passwd")


def test_the_manifest_covers_what_is_beside_the_tree(store: Store, tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "diff").mkdir(parents=True)
    (made / "recipe").write_text("how to write the tar again")
    layer = layers.publish(store, str(made), "a" * 64, size=7)
    directory = Path(store.path("layers", layer.diff_id))
    assert _core.verify_manifest(str(directory), str(directory / "manifest")).count == 0
    # These have checks of their own.
    (directory / "layer.json").write_text("{}")
    (directory / "blob").write_text("compressed")
    assert _core.verify_manifest(str(directory), str(directory / "manifest")).count == 0
    (directory / "recipe").write_text("how to write another tar")
    (difference,) = _core.verify_manifest(str(directory), str(directory / "manifest")).differences
    assert difference[0] == "recipe"


def test_what_is_left_of_a_layer_makes_way_for_a_whole_one(store: Store, image: str, tmp_path: Path) -> None:
    os.unlink(store.path("layers", sha256(TOP)[7:], "manifest"))
    load(store, str(tmp_path / "a.tar"))
    assert layers.present(store, sha256(TOP)[7:])
    # Nobody has the old one mounted: the next sweep takes it.
    garbage.sweep_now(store)
    assert os.listdir(store.path(layers.DAMAGED)) == []
