"""Trees and tar streams copied by descriptor: the extension's `cp_*`."""

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from hyrun import _core
from hyrun.cp import Place
from hyrun.errors import InvalidArgument, StorageError

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "sub").mkdir(parents=True)
    (top / "file").write_text("file")
    (top / "sub/deep").write_text("deep")
    return top


@pytest.fixture
def target(tmp_path: Path) -> Path:
    top = tmp_path / "target"
    top.mkdir()
    return top


def copy(source: Path, target: Path, name: str = "", owner: tuple[int, int] | None = None) -> tuple[int, list[str]]:
    descriptors = [os.open(source, os.O_PATH | os.O_NOFOLLOW), os.open(target, os.O_PATH | os.O_DIRECTORY)]
    try:
        return _core.cp_tree(*descriptors, name=name, owner=owner)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_it_counts_the_bytes_of_files(source: Path, target: Path) -> None:
    assert copy(source, target) == (8, [])
    assert (target / "sub/deep").read_text() == "deep"


@pytest.mark.parametrize("kind", ["file", "symlink", "dangling", "fifo", "device", "hard link"])
def test_what_stands_in_the_way_is_replaced_and_not_written_through(source: Path, target: Path, kind: str) -> None:
    other = target.parent / "other"
    other.write_text("untouched")
    place = target / "file"
    if kind == "file":
        place.write_text("old")
    elif kind == "symlink":
        place.symlink_to(other)
    elif kind == "dangling":
        place.symlink_to(target.parent / "new")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "device":
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    else:
        os.link(other, place)
    copy(source, target)
    assert stat.S_ISREG(place.lstat().st_mode)
    assert place.read_text() == "file"
    assert other.read_text() == "untouched"
    assert not (target.parent / "new").exists()


def test_a_symlink_in_the_place_of_a_directory_is_not_entered(source: Path, target: Path) -> None:
    outside = target.parent / "outside"
    outside.mkdir()
    (target / "sub").symlink_to(outside)
    with pytest.raises(NotADirectoryError):
        copy(source, target)
    assert list(outside.iterdir()) == []


def test_a_directory_in_the_place_of_a_file_stays(source: Path, target: Path) -> None:
    (target / "file/kept").mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught:
        copy(source, target)
    assert caught.value.filename == "file"
    assert (target / "file/kept").exists()


@pytest.mark.parametrize("place", ["source", "source/sub"])
def test_a_tree_is_not_copied_into_itself(source: Path, place: str) -> None:
    with pytest.raises(OSError, match="Too many levels"):
        copy(source, source.parent / place, "copy")


def test_a_kernel_file_system_is_neither_read_nor_written(source: Path, target: Path) -> None:
    for one, other in (
        (Path("/proc/self/status"), target),
        (source / "file", Path("/proc/self")),
        (Path("/sys"), target),
    ):
        with pytest.raises(OSError, match="not supported"):
            copy(one, other, "x")


def test_a_file_that_is_being_written_keeps_its_place_in_the_archive(source: Path) -> None:
    # The header says a length, and what follows has it, whatever the file has become.
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            os.truncate(source / "file", 100_000)
            os.truncate(source / "file", 0)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(50):
            with (source.parent / "tar").open("wb") as stream:
                descriptor = os.open(source, os.O_PATH)
                _core.cp_archive(descriptor, stream.fileno(), name="t")
                os.close(descriptor)
            listed = subprocess.run(["tar", "tf", source.parent / "tar"], capture_output=True, check=True, text=True)
            assert sorted(listed.stdout.split()) == ["t/", "t/file", "t/sub/", "t/sub/deep"]
            assert listed.stderr == ""
    finally:
        stop.set()
        thread.join()


def test_names_of_every_length_come_through_a_tar(source: Path, target: Path) -> None:
    for length in (99, 100, 101, 255):
        (source / ("n" * length)).write_text(str(length))
        (source / f"link{length}").symlink_to("t" * length)
    descriptors = [os.open(source, os.O_PATH), os.open(target, os.O_PATH)]
    reader, writer = os.pipe()
    try:
        _core.cp_archive(descriptors[0], writer, name="")
        os.close(writer)
        _core.cp_unpack(reader, descriptors[1])
    finally:
        for descriptor in (reader, *descriptors):
            os.close(descriptor)
    assert sorted(os.listdir(target)) == sorted(os.listdir(source))
    assert {os.readlink(target / f"link{length}") for length in (99, 100, 101, 255)} == {
        "t" * length for length in (99, 100, 101, 255)
    }


def test_a_damaged_archive_is_said_to_be_one(target: Path) -> None:
    path = target.parent / "tar"
    path.write_bytes(b"x" * 1024)
    descriptor = os.open(target, os.O_PATH)
    with path.open("rb") as stream, pytest.raises(StorageError, match="no tar archive"):
        _core.cp_unpack(stream.fileno(), descriptor)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("written", "container", "path"),
    [
        ("web:/a/b", "web", "/a/b"),
        ("web:a", "web", "/a"),
        ("web:", "web", "/"),
        ("web:/a:b", "web", "/a:b"),
        ("./web:a", None, "./web:a"),
        ("/web:a", None, "/web:a"),
        ("..:a", None, "..:a"),
        ("file", None, "file"),
        ("-", None, "-"),
    ],
)
def test_arguments(written: str, container: str | None, path: str) -> None:
    place = Place(written)
    assert (place.container, place.path) == (container, path)


@pytest.mark.parametrize("written", ["", ":", ":/a"])
def test_arguments_that_mean_nothing(written: str) -> None:
    with pytest.raises(InvalidArgument):
        Place(written)


@pytest.mark.parametrize(
    ("written", "name", "directory", "contents"),
    [
        ("web:/a/b", "b", False, False),
        ("web:/a/b/", "b", True, False),
        ("web:/a/b/.", "b", True, True),
        ("web:/a/../c", "c", False, False),
        ("web:/", "", True, False),
        ("web:.", "", True, True),
        (".", os.path.basename(os.getcwd()), True, True),
    ],
)
def test_what_a_path_says(written: str, name: str, directory: bool, contents: bool) -> None:
    place = Place(written)
    assert (place.name, place.asserts_directory, place.asserts_contents) == (name, directory, contents)
