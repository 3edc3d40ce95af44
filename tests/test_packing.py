"""Layers, packed from real trees; read back by hyrun, GNU tar, bsdtar and umoci."""

import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given

from hyrun import _core
from hyrun.errors import StorageError
from support.nodes import NAMES, Node, add_socket, listing, make, nodes
from support.packing import EVERYTHING, MIXED, SETTINGS, directory, fresh, packed, plain_of, tree, unpacked

__all__ = ["fresh", "tree"]

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


# Round trips


@SETTINGS
@given(described=nodes("file directory symlink fifo device link whiteout opaque"))
def test_a_packed_layer_is_unpacked_as_the_same_tree(fresh: Path, described: list[Node]) -> None:
    top = directory(fresh)
    tree = top / "tree"
    tree.mkdir(mode=0o751)
    make(tree, described)
    data = packed(tree)
    copy = unpacked(data, top / "copy")
    assert listing(copy) == listing(tree)
    assert packed(copy) == data


@SETTINGS
@given(described=nodes())
def test_python_reads_every_name_type_and_time(fresh: Path, described: list[Node]) -> None:
    tree = directory(fresh)
    make(tree, described)
    with tarfile.open(fileobj=io.BytesIO(packed(tree)), errors="surrogateescape") as archive:
        members = {member.name: member for member in archive}
        for path in [tree, *tree.rglob("*")]:
            info, member = path.lstat(), members.pop(str(path.relative_to(tree)))
            assert (member.uid, member.gid) == (info.st_uid, info.st_gid)
            assert member.mode == stat.S_IMODE(info.st_mode)
            assert round(float(member.mtime)) == round(info.st_mtime_ns / 1e9)
            if stat.S_ISREG(info.st_mode) and not member.islnk():
                file = archive.extractfile(member)
                assert file is not None
                assert file.read() == path.read_bytes()
    assert members == {}


@pytest.mark.parametrize(
    "command",
    [
        ("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", "-"),
        ("bsdtar", "--numeric-owner", "-xpf", "-"),
    ],
    ids=lambda command: command[0],
)
def test_other_programs_unpack_the_same_tree(tmp_path: Path, command: Sequence[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    tree.mkdir()
    copy.mkdir()
    make(tree, EVERYTHING)
    subprocess.run([*command, "-C", str(copy)], input=packed(tree), check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    # bsdtar leaves the time of the directory that it was told to unpack into.
    os.utime(copy, ns=(0, tree.stat().st_mtime_ns))
    assert listing(copy) == listing(tree)


def test_names_that_are_no_text_survive_gnu_tar(tmp_path: Path) -> None:
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    tree.mkdir()
    copy.mkdir()
    make(tree, [Node(name, "file", name, 0o600, 0, 0, ()) for name in NAMES])
    subprocess.run(["tar", "-C", str(copy), "-xpf", "-"], input=packed(tree), check=True)
    assert listing(copy) == listing(tree)


# The same bytes


def test_the_order_of_creation_does_not_matter(tmp_path: Path) -> None:
    trees = [tmp_path / "one", tmp_path / "two"]
    for top, names in zip(trees, (NAMES, NAMES[::-1]), strict=True):
        top.mkdir()
        make(top, [Node(name, "file", b"same", 0o644, 0, 5, ()) for name in names])
        os.utime(top, ns=(0, 0))
    assert packed(trees[0]) == packed(trees[1])


def test_gzip_is_one_member(tmp_path: Path, tree: Path) -> None:
    (tree / "mixed").write_bytes(MIXED)
    data = packed(tree, compression="gzip")
    (tmp_path / "layer.gz").write_bytes(data)
    assert subprocess.run(["gzip", "-dc", tmp_path / "layer.gz"], capture_output=True, check=True).stdout == packed(
        tree
    )
    assert len(data) < 1_500_000


def test_zstd_is_frames_of_4_mib_with_checksums(tmp_path: Path, tree: Path) -> None:
    (tree / "mixed").write_bytes(MIXED * 3)
    data = packed(tree, compression="zstd")
    assert len(data) < 5_000_000
    (tmp_path / "layer.zst").write_bytes(data)
    subprocess.run(["zstd", "-t", tmp_path / "layer.zst"], check=True, capture_output=True)
    said = subprocess.run(["zstd", "-lv", tmp_path / "layer.zst"], check=True, capture_output=True, text=True).stdout
    assert "# Zstandard Frames: 3\n" in said
    assert "Check: XXH64" in said


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_layer_packed_twice_is_the_same_on_any_number_of_processors(tree: Path, compression: str) -> None:
    (tree / "mixed").write_bytes(MIXED * 3)
    data = packed(tree, compression=compression)
    assert packed(tree, compression=compression) == data
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert packed(tree, compression=compression) == data
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_more_than_a_gibibyte_of_zeros_is_packed_and_read_again(tmp_path: Path, tree: Path, compression: str) -> None:
    """No reader's limit for bombs is passed: neither the one from 64 MiB on nor the one from 1 GiB on."""
    with open(tree / "zeros", "wb") as file:
        file.truncate((1 << 30) + (64 << 20))
    descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with tempfile.TemporaryFile() as stored:
            result = _core.pack_layer(descriptor, stored.fileno(), compression=compression)
            (tmp_path / "copy").mkdir()
            read = _core.unpack_layer(stored.fileno(), str(tmp_path / "copy"), offset=0)
    finally:
        os.close(descriptor)
    assert (read.diff_id, read.digest) == (result.diff_id, result.digest)


def test_a_compression_that_is_not_there_is_refused(tree: Path) -> None:
    with pytest.raises(ValueError, match="none, gzip and zstd"):
        packed(tree, compression="xz")


def test_an_empty_tree_is_one_entry(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir(mode=0o700)
    assert tarfile.open(fileobj=io.BytesIO(packed(tree))).getnames() == ["."]
    for compression in ("gzip", "zstd"):
        assert plain_of(packed(tree, compression=compression), compression) == packed(tree)


# What overlayfs says


def members(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


def test_whiteouts_and_opaque_directories_become_oci_s(tree: Path) -> None:
    os.mknod(tree / "gone", stat.S_IFCHR, 0)
    (tree / "new").mkdir()
    os.setxattr(tree / "new", "trusted.overlay.opaque", b"y")
    (tree / "user").mkdir()
    os.setxattr(tree / "user", "user.overlay.opaque", b"y")
    (tree / "only-marked").mkdir()
    os.setxattr(tree / "only-marked", "trusted.overlay.opaque", b"x")
    (tree / "only-marked/gone").touch()
    os.setxattr(tree / "only-marked/gone", "trusted.overlay.whiteout", b"y")
    os.setxattr(tree, "trusted.overlay.origin", b"somewhere")
    assert members(packed(tree)) == [
        *(".", ".wh.gone", "new", "new/.wh..wh..opq", "only-marked", "only-marked/.wh.gone"),
        *("user", "user/.wh..wh..opq"),
    ]
    assert b"overlay" not in packed(tree)


def test_in_a_whole_root_every_name_is_a_file_s(tree: Path) -> None:
    (tree / ".wh.kept").write_text("a file")
    assert members(packed(tree, whiteouts=False)) == [".", ".wh.kept"]
    with pytest.raises(StorageError, match=r'"\.wh\.kept": .*rename'):
        packed(tree)


def test_a_name_whose_content_is_in_another_layer_is_refused(tree: Path) -> None:
    (tree / "moved").mkdir()
    os.setxattr(tree / "moved", "trusted.overlay.redirect", b"/elsewhere")
    with pytest.raises(StorageError, match="another layer"):
        packed(tree)


def test_what_no_archive_holds_is_left_out_and_counted(tree: Path) -> None:
    add_socket(tree / "socket")
    (tree / "file").touch()
    os.setxattr(tree / "file", "user.a=b", b"c")
    os.setxattr(tree / "file", "trusted.own", b"d")
    descriptor, null = os.open(tree, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    result = _core.pack_layer(descriptor, null)
    os.close(descriptor)
    os.close(null)
    assert (result.entries, result.sockets, result.attributes) == (2, 1, 1)
    assert b"own" not in packed(tree)


# Hostile and moving trees


def test_a_tree_deeper_than_any_path_is_refused_and_not_followed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("directory", dir_fd=descriptor)
        below = os.open("directory", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    with pytest.raises(StorageError, match="longer than 4095"):
        packed(top)
    _core.remove_tree(str(top))


def test_a_deep_tree_comes_back(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    make(tree, [Node(b"/".join([b"a"] * depth), "directory", b"", 0o755, 0, depth, ()) for depth in range(1, 100)])
    (tree / "/".join(["a"] * 40) / "z").write_text("behind the way back")
    assert listing(unpacked(packed(tree), tmp_path / "copy")) == listing(tree)


def test_symlinks_are_packed_and_never_followed(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    tree.mkdir()
    (outside / "secret").write_text("secret")
    (tree / "way").symlink_to(outside)
    (tree / "file").symlink_to(outside / "secret")
    assert members(packed(tree)) == [".", "file", "way"]


def test_a_file_that_changes_its_size_still_makes_a_whole_archive(tree: Path) -> None:
    file = tree / "log"
    file.write_bytes(b"x" * (8 << 20))
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            os.truncate(file, 0)
            os.truncate(file, 16 << 20)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(10):
            assert members(packed(tree)) == [".", "log"]
    finally:
        stop.set()
        thread.join()


def test_a_reader_that_goes_away_ends_it(tree: Path) -> None:
    (tree / "big").write_bytes(bytes(4 << 20))
    source, target = os.pipe()
    os.close(source)
    descriptor = os.open(tree, os.O_RDONLY)
    for compression in ("none", "gzip"):
        with pytest.raises(BrokenPipeError):
            _core.pack_layer(descriptor, target, compression=compression)
    os.close(descriptor)
    os.close(target)


def test_holes_are_zeros_in_the_archive_and_holes_again_in_the_layer(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with open(tree / "sparse", "wb") as file:
        file.seek(10 << 20)
        file.write(b"middle")
        file.truncate(20 << 20)
    copy = unpacked(packed(tree), tmp_path / "copy")
    assert (copy / "sparse").read_bytes() == (tree / "sparse").read_bytes()
    assert (copy / "sparse").stat().st_blocks * 512 < 1 << 20
