"""The manifest of a layer: every change to an unpacked tree is noticed, and named."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hyrun import _core
from hyrun.errors import StorageError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and owners need root")

#: How many random damages are tried.
DAMAGES = 300


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with one of everything, and its manifest beside it."""
    tree = tmp_path / "diff"
    (tree / "etc/deep/er").mkdir(parents=True)
    (tree / "etc/motd").write_text("hello\n")
    (tree / "etc/empty").touch()
    (tree / "etc/deep/er/big").write_bytes(random.Random(1).randbytes(700_000))
    (tree / "etc/link").symlink_to("motd")
    os.link(tree / "etc/motd", tree / "etc/other")
    os.mkfifo(tree / "fifo")
    os.mknod(tree / "null", 0o20666, os.makedev(1, 3))
    os.mknod(tree / "gone", 0o20000, os.makedev(0, 0))
    os.setxattr(tree / "etc/motd", "user.colour", b"blue")
    os.setxattr(tree / "etc/deep", "trusted.overlay.opaque", b"y")
    (tree / "a b\n\\").write_text("odd name")
    (tree / os.fsdecode(b"\xff")).write_text("no text")
    for number in range(700):
        (tree / f"etc/deep/file{number}").write_text(str(number))
    _core.write_manifest(str(tree), str(tmp_path / "manifest"), size=7, sync=True)
    return tree


def differences(tree: Path) -> dict[str, str]:
    verified = _core.verify_manifest(str(tree), str(tree.parent / "manifest"))
    assert verified.count == len(verified.differences)
    return dict(verified.differences)


def keep_times(path: Path, change: Callable[[], object]) -> None:
    status = path.stat()
    change()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_tree_that_was_not_touched_is_whole(tree: Path) -> None:
    assert differences(tree) == {}
    verified = _core.verify_manifest(str(tree), str(tree.parent / "manifest"))
    assert (verified.size, verified.entries) == (7, 714)


def test_reading_changes_nothing_not_even_the_time_of_access(tree: Path) -> None:
    os.utime(tree / "etc/motd", ns=(5, 5))
    os.utime(tree / "etc", ns=(5, 5))
    differences(tree)
    assert ((tree / "etc/motd").stat().st_atime_ns, (tree / "etc").stat().st_atime_ns) == (5, 5)


CHANGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a flipped bit": (
        lambda tree: keep_times(tree / "etc/motd", lambda: (tree / "etc/motd").write_text("hellp\n")),
        "etc/motd",
        "content",
    ),
    "a truncated file": (
        lambda tree: os.truncate(tree / "etc/deep/er/big", 699_999),
        "etc/deep/er/big",
        "time, content (699999 bytes instead of 700000)",
    ),
    "a file without content": (
        lambda tree: keep_times(tree / "etc/motd", lambda: os.truncate(tree / "etc/motd", 0)),
        "etc/motd",
        "content (0 bytes instead of 6)",
    ),
    "a missing file": (lambda tree: os.unlink(tree / "etc/empty"), "etc/empty", "missing"),
    "a missing directory": (lambda tree: shutil.rmtree(tree / "etc/deep/er"), "etc/deep/er/big", "missing"),
    "a file too many": (lambda tree: (tree / "etc/new").touch(), "etc/new", "not a part of the layer"),
    "mode": (lambda tree: os.chmod(tree / "etc/empty", 0o4755), "etc/empty", "mode"),
    "owner": (lambda tree: os.chown(tree / "etc/link", 5, 6, follow_symlinks=False), "etc/link", "owner"),
    "time": (lambda tree: os.utime(tree / "etc/empty", ns=(1, 1)), "etc/empty", "time"),
    "a new attribute": (
        lambda tree: os.setxattr(tree / "etc/empty", "user.x", b"y"),
        "etc/empty",
        "extended attributes",
    ),
    "an attribute's value": (
        lambda tree: os.setxattr(tree / "etc/motd", "user.colour", b"red"),
        "etc/motd",
        "extended attributes",
    ),
    "a directory that hides no more": (
        lambda tree: os.removexattr(tree / "etc/deep", "trusted.overlay.opaque"),
        "etc/deep",
        "extended attributes",
    ),
    "a whiteout that is gone": (lambda tree: os.unlink(tree / "gone"), "gone", "missing"),
    "the mode of the root": (lambda tree: os.chmod(tree, 0o700), "", "mode"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_and_named(tree: Path, change: str) -> None:
    damage, path, what = CHANGES[change]
    damage(tree)
    assert differences(tree).get(path) == what


def test_a_link_that_leads_elsewhere(tree: Path) -> None:
    status = os.lstat(tree / "etc/link")
    os.unlink(tree / "etc/link")
    os.symlink("other", tree / "etc/link")
    os.utime(tree / "etc/link", ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)
    assert differences(tree)["etc/link"] == "content"


def test_another_device(tree: Path) -> None:
    status = os.lstat(tree / "null")
    os.unlink(tree / "null")
    os.mknod(tree / "null", 0o20666, os.makedev(1, 5))
    os.chmod(tree / "null", status.st_mode & 0o7777)
    os.utime(tree / "null", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert differences(tree)["null"] == "content"


def test_a_file_in_place_of_a_link_is_another_type(tree: Path) -> None:
    os.unlink(tree / "etc/link")
    (tree / "etc/link").write_text("motd")
    assert differences(tree)["etc/link"] == "type"


def test_two_names_of_one_file_are_not_two_files(tree: Path) -> None:
    shutil.copy2(tree / "etc/motd", tree / "copy")
    os.rename(tree / "copy", tree / "etc/other")
    assert differences(tree)["etc/other"] == "type"


@pytest.mark.parametrize("name", ["a b\n\\", os.fsdecode(b"\xff")])
def test_names_that_are_no_words_are_kept(tree: Path, name: str) -> None:
    (tree / name).write_text("changed")
    assert name in differences(tree)


def test_no_random_damage_to_contents_is_silent(tree: Path, tell: Callable[[str], None]) -> None:
    random_ = random.Random(2)
    files = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
    for _ in range(DAMAGES):
        path = random_.choice(files)
        content = path.read_bytes()
        damaged = bytearray(content)
        if damaged:
            damaged[random_.randrange(len(damaged))] ^= 1 << random_.randrange(8)
        else:
            damaged = bytearray(b"\0")
        keep_times(path, lambda path=path, damaged=damaged: path.write_bytes(damaged))
        found = differences(tree)
        assert str(path.relative_to(tree)) in found or "etc/motd" in found
        keep_times(path, lambda path=path, content=content: path.write_bytes(content))
    assert differences(tree) == {}
    tell(f"{DAMAGES} random damages, none silent")


def test_a_damaged_manifest_is_refused(tree: Path) -> None:
    manifest = tree.parent / "manifest"
    manifest.write_bytes(manifest.read_bytes().replace(b"f 644", b"f 645", 1))
    with pytest.raises(StorageError, match="damaged"):
        differences(tree)


def test_a_missing_manifest_is_an_error_of_the_system(tree: Path) -> None:
    os.unlink(tree.parent / "manifest")
    with pytest.raises(FileNotFoundError):
        differences(tree)


def test_a_manifest_is_never_overwritten(tree: Path) -> None:
    with pytest.raises(FileExistsError):
        _core.write_manifest(str(tree), str(tree.parent / "manifest"), size=7, sync=False)


def test_a_very_deep_tree_can_be_read(tmp_path: Path) -> None:
    tree = tmp_path / "deep"
    tree.mkdir()
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(150):
        os.mkdir("d" * 100, dir_fd=descriptor)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    assert _core.write_manifest(str(tree), str(tmp_path / "m"), size=0, sync=False) == 151
    assert _core.verify_manifest(str(tree), str(tmp_path / "m")).count == 0
    _core.remove_tree(str(tree))


def test_trees_are_compared_by_content_and_metadata_but_not_by_time(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    old, new = os.open(tree, os.O_RDONLY), os.open(other, os.O_RDONLY)
    try:
        _core.copy_tree(old, new)
        # Whiteouts are not copied, and they are no content.
        assert _core.compare_trees(old, new) == []
        os.utime(other / "etc/motd", ns=(1, 1))
        assert _core.compare_trees(old, new) == []
        keep_times(other / "etc/deep/file7", lambda: (other / "etc/deep/file7").write_text("8"))
        (other / "etc/new").mkdir()
        os.unlink(other / "fifo")
        os.chmod(other / "etc/empty", 0o600)
        assert _core.compare_trees(old, new) == [
            ("C", "etc/deep/file7"),
            ("C", "etc/empty"),
            ("A", "etc/new"),
            ("D", "fifo"),
        ]
    finally:
        os.close(old)
        os.close(new)
