"""Copy-up: an empty volume gets what the image has at its mount point. Needs root: owners, overlayfs."""

import os
import stat
import sys
from pathlib import Path

import pytest

from hyrun import _core, volumes
from hyrun.errors import InvalidArgument, StorageError
from hyrun.store import Store
from support.processes import forked, killed_at, status_of


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A layer with something of everything at /data."""
    data = tmp_path / "layer" / "data"
    data.mkdir(parents=True)
    (data / "file").write_text("from the image")
    (data / "tool").write_text("#!")
    os.chmod(data / "tool", 0o4755)
    os.chown(data / "file", 7, 8)
    os.utime(data / "file", (1, 2))
    os.symlink("/etc/passwd", data / "link")
    os.link(data / "file", data / "again")
    os.mkfifo(data / "fifo", 0o600)
    (data / "sub").mkdir(0o750)
    (data / "sub" / "deep").write_text("deep")
    Path(os.fsdecode(os.fsencode(data) + b"/\xff")).touch()
    os.chown(data, 7, 8)
    os.chmod(data, 0o1711)
    (tmp_path / "layer" / "empty").mkdir()
    os.chown(tmp_path / "layer" / "empty", 9, 10)
    os.chmod(tmp_path / "layer" / "empty", 0o700)
    return tmp_path / "layer"


@pytest.fixture
def data(store: Store) -> Path:
    return Path(volumes.create(store, "data").path)


def tree(path: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return relative path → mode with type, owner, group, size of all in a tree; the root is ``.``."""
    found = {}
    for directory, names, files in os.walk(path):
        for name in (".", *names, *files):
            status = os.lstat(os.path.join(directory, name))
            size = status.st_size if not stat.S_ISDIR(status.st_mode) else 0
            relative = os.path.relpath(os.path.join(directory, name), path)
            found[relative] = (status.st_mode, status.st_uid, status.st_gid, size)
    return found


def test_an_empty_volume_gets_the_images_directory_with_all_metadata(layer: Path, data: Path) -> None:
    assert volumes.fill(str(data), [str(layer)], "/data")
    assert tree(data) == tree(layer / "data")
    assert os.stat(data / "file").st_mtime == 2
    assert os.path.samefile(data / "file", data / "again")
    assert os.readlink(data / "link") == "/etc/passwd"
    assert sorted(os.listdir(data.parent)) == ["_data", "volume.json"]


def test_an_empty_directory_still_gives_its_owner_and_mode(layer: Path, data: Path) -> None:
    assert volumes.fill(str(data), [str(layer)], "/empty")
    assert os.listdir(data) == []
    assert (os.stat(data).st_uid, os.stat(data).st_gid, stat.S_IMODE(os.stat(data).st_mode)) == (9, 10, 0o700)


def test_a_volume_with_content_stays_as_it_is(layer: Path, data: Path) -> None:
    (data / "mine").write_text("x")
    before = tree(data)
    assert not volumes.fill(str(data), [str(layer)], "/data")
    assert tree(data) == before


@pytest.mark.parametrize("target", ["/missing", "/data/missing/deeper"])
def test_nothing_happens_when_the_image_has_nothing_there(layer: Path, data: Path, target: str) -> None:
    before = tree(data)
    assert not volumes.fill(str(data), [str(layer)], target)
    assert not volumes.fill(str(data), [], "/data")
    assert tree(data) == before


def test_a_file_in_the_image_is_refused(layer: Path, data: Path) -> None:
    for target in ("/data/file", "/data/fifo"):
        with pytest.raises(InvalidArgument, match=f"cannot mount volume over existing file {target}"):
            volumes.fill(str(data), [str(layer)], target)
    assert os.listdir(data) == []


def test_a_symlink_of_the_image_stays_inside_it(layer: Path, data: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").touch()
    os.symlink(outside, layer / "evil")
    os.symlink("../../../../data", layer / "up")
    assert not volumes.fill(str(data), [str(layer)], "/evil")
    assert volumes.fill(str(data), [str(layer)], "/up")
    assert "file" in os.listdir(data)


def test_the_topmost_layer_wins(layer: Path, data: Path, tmp_path: Path) -> None:
    top = tmp_path / "top" / "data"
    top.mkdir(parents=True)
    (top / "file").write_text("newer")
    volumes.fill(str(data), [str(tmp_path / "top"), str(layer)], "/data")
    assert (data / "file").read_text() == "newer"
    assert (data / "sub" / "deep").read_text() == "deep"


def test_a_fill_killed_anywhere_is_completed_by_the_next(
    store: Store, layer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _core.copy_tree

    def copy_tree(source: int, target: int) -> None:
        sys.audit("test.copy")
        if os.listdir(source):
            # Half of it, then a place to be killed at, then all of it.
            os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=target))
            os.unlink("file", dir_fd=target)
        real(source, target)
        sys.audit("test.copied")

    monkeypatch.setattr(_core, "copy_tree", copy_tree)
    expected = tree(layer / "data")
    step = 0
    while True:
        data = Path(volumes.create(store, f"data{step}").path)

        def fill(data: Path = data) -> None:
            volumes.fill(str(data), [str(layer)], "/data")

        killed = killed_at(step, fill)
        if not killed:
            break
        fill()
        assert tree(data) == expected
        assert sorted(os.listdir(data.parent)) == ["_data", "volume.json"]
        step += 1
    assert tree(data) == expected
    assert step > 20


def test_what_a_container_wrote_during_the_fill_is_kept(layer: Path, data: Path) -> None:
    volumes.fill(str(data), [str(layer)], "/data")
    ready = data.parent / "fill"
    data.rename(ready)
    data.mkdir()
    (data / "file").write_text("mine")
    (data / "sub").mkdir()
    (data / "sub" / "mine").touch()
    (data / "link").mkdir()
    assert volumes.fill(str(data), [str(layer)], "/data")
    assert (data / "file").read_text() == "mine"
    assert os.listdir(data / "sub") == ["mine"]
    assert (data / "link").is_dir()
    assert (data / "tool").exists()
    assert not ready.exists()


def test_containers_that_start_at_once_fill_once(layer: Path, data: Path) -> None:
    def fill() -> None:
        volumes.fill(str(data), [str(layer)], "/data")
        assert tree(data) == tree(layer / "data")

    assert [status_of(pid) for pid in [forked(fill) for _ in range(6)]] == [0] * 6


def test_a_copy_that_fails_leaves_the_volume_empty(layer: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: int, target: int) -> None:
        os.close(os.open("half", os.O_WRONLY | os.O_CREAT, dir_fd=target))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_core, "copy_tree", full)
    with pytest.raises(StorageError, match="into volume data: No space left on device"):
        volumes.fill(str(data), [str(layer)], "/data")
    assert os.listdir(data) == []
    assert sorted(os.listdir(data.parent)) == ["_data", "volume.json"]
