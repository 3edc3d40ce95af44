"""Whole trees copied and removed, on a real file system."""

import os
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyrun import _core
from support.tars import listing

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


def copy(source: Path, target: Path) -> None:
    descriptors = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, target)]
    try:
        _core.copy_tree(*descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def deep(top: Path, levels: int, name: str) -> None:
    """A chain of directories that is longer than any path may be."""
    top.mkdir()
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, 0o640, dir_fd=descriptor))
    os.close(descriptor)


def depth(top: Path, name: str) -> int:
    """Levels below ``top``, counted without ever naming the whole path."""
    descriptor = os.open(top, os.O_RDONLY)
    levels = 0
    while os.listdir(descriptor) == [name]:
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
        levels += 1
    assert os.listdir(descriptor) == ["bottom"]
    os.close(descriptor)
    return levels


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[Path]:
    """A base directory with a canary beside it; what a failed test leaves may be too deep for pytest."""
    base = tmp_path / "base"
    base.mkdir()
    canary = tmp_path / "canary"
    (canary / "sub").mkdir(parents=True)
    (canary / "file").write_text("untouched")
    before = listing(canary)
    yield base
    assert listing(canary) == before
    subprocess.run(["rm", "-rf", base], check=True)


# copy_tree


def test_a_copy_keeps_everything(trees: Path) -> None:
    source, target = trees / "source", trees / "target"
    (source / "a/b/c").mkdir(parents=True)
    target.mkdir()
    (source / "a/file").write_bytes(os.urandom(3_000_001))
    os.setxattr(source / "a/file", "user.note", b"x\0y")
    os.chown(source / "a/file", 1234, 4_000_000_000)
    os.link(source / "a/file", source / "a/b/c/hard")
    os.link(source / "a/file", source / "zhard")
    (source / "tool").write_bytes(b"x")
    os.chown(source / "tool", 7, 8)
    (source / "tool").chmod(0o6711)
    os.setxattr(source / "tool", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    (source / "soft").symlink_to("../canary/file")
    os.link(source / "soft", source / "soft2", follow_symlinks=False)
    os.lchown(source / "soft", 5, 6)
    os.mkfifo(source / "fifo", 0o622)
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(source / "socket", stat.S_IFSOCK | 0o700)
    (source / "a/b").chmod(0o3777)
    os.setxattr(source, "user.top", b"1")
    os.chown(source, 9, 9)
    source.chmod(0o1750)
    (source / "odd\udcff\n").touch()
    for index, path in enumerate([*source.rglob("*"), source]):
        os.utime(path, ns=(index, index * 1_234_567_891), follow_symlinks=False)
    copy(source, target)
    assert listing(target) == listing(source)
    assert (target / "fifo").stat().st_atime_ns == (source / "fifo").stat().st_atime_ns


def test_holes_stay_holes(trees: Path) -> None:
    source, target = trees / "source", trees / "target"
    source.mkdir()
    target.mkdir()
    for name, size in (("middle", 64 << 20), ("end", (64 << 20) + 5), ("nothing", 8 << 20)):
        with open(source / name, "wb") as file:
            if name != "nothing":
                file.write(b"start")
                file.seek(32 << 20)
                file.write(b"data")
            file.truncate(size)
    copy(source, target)
    for name in ("middle", "end", "nothing"):
        assert (target / name).read_bytes() == (source / name).read_bytes()
        assert (target / name).stat().st_blocks <= (source / name).stat().st_blocks + 16


def test_a_copy_to_another_file_system_is_whole(trees: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == trees.stat().st_dev:
        pytest.skip("no second file system")
    source, target = trees / "source", memory / f"hyrun-test-{os.getpid()}"
    source.mkdir()
    target.mkdir()
    try:
        (source / "file").write_bytes(os.urandom(1_000_003))
        os.link(source / "file", source / "link")
        copy(source, target)
        assert (target / "file").read_bytes() == (source / "file").read_bytes()
        assert (target / "file").samefile(target / "link")
    finally:
        _core.remove_tree(str(target))


def test_what_belongs_to_overlayfs_is_left_out(trees: Path) -> None:
    source, target = trees / "source", trees / "target"
    (source / "dir").mkdir(parents=True)
    target.mkdir()
    os.mknod(source / "gone", stat.S_IFCHR, 0)
    os.mknod(source / "zero", stat.S_IFBLK | 0o600, 0)
    os.setxattr(source / "dir", "trusted.overlay.opaque", b"y")
    os.setxattr(source / "dir", "user.overlay.opaque", b"y")
    os.setxattr(source / "dir", "trusted.kept", b"y")
    copy(source, target)
    assert sorted(path.name for path in target.iterdir()) == ["dir", "zero"]
    assert os.listxattr(target / "dir") == ["trusted.kept"]


def test_a_symlink_to_a_directory_is_copied_and_not_followed(trees: Path) -> None:
    source, target = trees / "source", trees / "target"
    source.mkdir()
    target.mkdir()
    (source / "out").symlink_to(trees.parent / "canary")
    copy(source, target)
    assert (target / "out").readlink() == trees.parent / "canary"


def test_a_tree_deeper_than_a_path_is_copied_with_few_descriptors(trees: Path) -> None:
    source, target = trees / "source", trees / "target"
    deep(source, 2000, "directory")
    target.mkdir()
    program = (
        "import os, resource, sys; from hyrun import _core;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100));"
        "_core.copy_tree(os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDONLY))"
    )
    subprocess.run([sys.executable, "-c", program, source, target], check=True)
    assert depth(target, "directory") == 2000


def test_hard_links_deeper_than_a_path_are_kept(trees: Path) -> None:
    source, target = trees / "source", trees / "target"
    deep(source, 60, "n" * 200)
    target.mkdir()
    descriptor = os.open(source, os.O_RDONLY)
    for _ in range(60):
        below = os.open("n" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    for name in ("second", "third"):
        os.link("bottom", name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
    os.close(descriptor)
    copy(source, target)
    found = subprocess.run(["find", target, "-type", "f", "-links", "3"], capture_output=True, check=True)
    assert len(found.stdout.splitlines()) == 3


def test_the_failure_of_a_copy_names_the_file(trees: Path) -> None:
    source, target = trees / "source", trees / "target"
    (source / "a").mkdir(parents=True)
    (source / "a/file").touch()
    (target / "a").mkdir(parents=True)
    with pytest.raises(FileExistsError) as caught:
        copy(source, target)
    assert caught.value.filename == "a"
    with pytest.raises(OSError, match="Bad file descriptor"):
        _core.copy_tree(-1, -1)


# remove_tree


def test_a_tree_is_removed(trees: Path) -> None:
    top = trees / "top"
    for index in range(40):
        (top / f"{index % 7}" / f"d{index}" / "e").mkdir(parents=True)
        (top / f"{index % 7}" / f"d{index}" / "f").touch()
    os.mkfifo(top / "fifo")
    (top / "link").symlink_to("nowhere")
    _core.remove_tree(str(top))
    assert list(trees.iterdir()) == []


def test_a_directory_with_more_names_than_one_batch_is_removed(trees: Path) -> None:
    top = trees / "top"
    (top / "full").mkdir(parents=True)
    for index in range(20_000):
        os.close(os.open(top / f"f{index}", os.O_CREAT))
    for index in range(300):
        (top / "full" / f"d{index}" / "e").mkdir(parents=True)
    _core.remove_tree(str(top))
    assert not top.exists()


@pytest.mark.parametrize("kind", ["file", "symlink", "fifo", "empty"])
def test_what_is_no_tree_is_removed_as_well(trees: Path, kind: str) -> None:
    path = trees / "x"
    {
        "file": path.touch,
        "symlink": lambda: path.symlink_to(trees.parent / "canary"),
        "fifo": lambda: os.mkfifo(path),
        "empty": path.mkdir,
    }[kind]()
    _core.remove_tree(str(path))
    assert list(trees.iterdir()) == []


def test_nothing_is_followed_when_a_tree_is_removed(trees: Path) -> None:
    top = trees / "top"
    (top / "sub").mkdir(parents=True)
    (top / "out").symlink_to(trees.parent / "canary")
    (top / "sub" / "up").symlink_to("../../../canary/sub")
    _core.remove_tree(str(top))
    assert list(trees.iterdir()) == []


def test_a_tree_deeper_than_a_path_is_removed_with_few_descriptors(trees: Path) -> None:
    deep(trees / "top", 10_000, "d")
    program = (
        "import resource, sys; from hyrun import _core;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60)); _core.remove_tree(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", program, trees / "top"], check=True)
    assert list(trees.iterdir()) == []


def test_directories_without_permissions_are_removed(trees: Path) -> None:
    (trees / "top/work/work").mkdir(parents=True)
    (trees / "top/work/work/file").touch()
    (trees / "top/work/work").chmod(0)
    (trees / "top/work").chmod(0)
    trees.chmod(0o777)
    for path in [trees / "top", *(trees / "top").rglob("*")]:
        os.lchown(path, 65534, 65534)
    outer = [*trees.parents][:4]
    if not all(path.stat().st_mode & stat.S_IXOTH for path in outer):
        _core.remove_tree(str(trees / "top"))
    else:
        program = "import os, sys; from hyrun import _core; os.setuid(65534); _core.remove_tree(sys.argv[1])"
        subprocess.run([sys.executable, "-c", program, trees / "top"], check=True)
    assert list(trees.iterdir()) == []


@pytest.mark.parametrize("how", ["tmpfs", "bind"])
def test_a_mount_below_is_not_entered(trees: Path, how: str) -> None:
    point, canary = trees / "top/point", trees.parent / "canary"
    point.mkdir(parents=True)
    mount = {
        "tmpfs": 'mount -t tmpfs none "$1" && touch "$1/kept"',
        "bind": 'mount --bind "$2" "$1"',
    }[how]
    program = (
        "import errno, os, sys; from hyrun import _core\n"
        "try: _core.remove_tree(sys.argv[1])\n"
        "except OSError as error: print(errno.errorcode[error.errno], os.listdir(error.filename))"
    )
    script = f'{mount} && "$3" -c "$4" "$5"; code=$?; umount "$1"; exit $code'
    command = [
        "unshare",
        "-m",
        "sh",
        "-c",
        script,
        "sh",
        point,
        canary,
        sys.executable,
        program,
        trees / "top",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in result.stderr and not os.environ.get("HYRUN_MUST_WORK"):
        pytest.skip(result.stderr)
    content = ["kept"] if how == "tmpfs" else os.listdir(canary)
    assert result.stdout.split(" ", 1) == ["EBUSY", f"{content}\n"]


def test_what_is_not_there_cannot_be_removed(trees: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        _core.remove_tree(str(trees / "missing"))
    assert caught.value.filename == str(trees / "missing")
    with pytest.raises(FileNotFoundError):
        _core.remove_tree(str(trees / "missing" / "below"))


@pytest.mark.parametrize("path", ["/", "..", ""])
def test_a_path_without_a_name_is_not_removed(path: str) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        _core.remove_tree(path)


# sync_file_system


def test_a_file_system_is_synced_by_any_path_on_it(trees: Path) -> None:
    (trees / "file").touch()
    _core.sync_file_system(str(trees))
    _core.sync_file_system(str(trees / "file"))
    with pytest.raises(FileNotFoundError):
        _core.sync_file_system(str(trees / "missing"))


def test_no_descriptor_is_left_open(trees: Path) -> None:
    source, target = trees / "source", trees / "target"
    deep(source, 50, "d")
    target.mkdir()
    before = sorted(os.listdir("/proc/self/fd"))
    copy(source, target)
    _core.remove_tree(str(target))
    assert sorted(os.listdir("/proc/self/fd")) == before
    shutil.rmtree(source)
