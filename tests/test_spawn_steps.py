"""Every step of the plan, failing: which step, which errno, which path, which words; and nothing is left."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hyrun import _core
from hyrun.errors import SpawnError
from support.rootfs import MS_BIND, Box, in_mount_namespace, in_process, mount

KINDS = "a directory goes onto a directory, a file onto a file: check that the source is what you meant"
IN_PROC = "a mount point may not be inside /proc"
IS_ROOT = "the mount point is the root itself: choose a directory below it"
REAL = "the image must have a real directory there, or nothing"
CIRCLE = "a working directory may not lead through /proc or round in a circle"


def check(error: SpawnError, step: str, number: int, filename: str | None, message: str, code: int = 125) -> None:
    found = (error.step, error.errno, error.filename, str(error), error.exit_code)
    assert found == (step, number, filename, message, code)


def bind(source: Path, target: str, **options: Any) -> list[Any]:
    return [_core.Bind(source=str(source), target=target, **options)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory of the host with a file in it."""
    path = tmp_path / "source"
    path.mkdir()
    (path / "file").write_text("from the host\n")
    return path


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A directory of the host that nobody may touch."""
    path = tmp_path / "canary"
    path.mkdir()
    (path / "file").write_text("unchanged")
    return path


def listing(directory: Path) -> list[tuple[str, int]]:
    return [(str(path), path.lstat().st_mtime_ns) for path in (directory, *sorted(directory.rglob("*")))]


def test_bind_without_a_source(box: Box, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    error = box.refused(mounts=bind(missing, "/test"))
    check(error, "bind", errno.ENOENT, str(missing), f"bind {missing} -> /test: No such file or directory")
    assert isinstance(error, OSError)


def test_more_layers_than_overlayfs_takes_are_one_short_line(box: Box) -> None:
    for number in range(500):
        box.layer({str(number): None})
    error = box.refused()
    assert (error.step, error.errno) == ("overlay", errno.EINVAL)
    assert "overlay 501 layers below" in str(error)
    assert "overlayfs takes 500 layers" in str(error)
    assert len(str(error)) < 500


def test_the_error_names_the_volume_that_failed(box: Box, source: Path) -> None:
    missing = source / "missing"
    error = box.refused(mounts=bind(source, "/a/b/c") + bind(missing, "/b") + bind(source, "/c"))
    check(error, "bind", errno.ENOENT, str(missing), f"bind {missing} -> /b: No such file or directory")


@pytest.mark.parametrize(("name", "target"), [("file", "/etc"), ("", "/etc/hello")])
def test_bind_of_the_wrong_kind(box: Box, source: Path, name: str, target: str) -> None:
    path = source / name
    error = box.refused(mounts=bind(path, target))
    check(error, "bind", errno.ENOTDIR, target, f"bind {path} -> {target}: Not a directory ({KINDS})")


@pytest.mark.parametrize("target", ["/", "/..", "/self", "/etc/.."])
def test_bind_onto_the_root(box: Box, source: Path, target: str) -> None:
    box.layer({"self": Path("/")})
    error = box.refused(mounts=bind(source, target))
    check(error, "bind", errno.EBUSY, target, f"bind {source} -> {target}: Device or resource busy ({IS_ROOT})")


@pytest.mark.parametrize("target", ["/x", "/proc/sys", "/proc/self", "/proc", "/x/kernel"])
def test_bind_inside_proc(box: Box, source: Path, target: str) -> None:
    box.layer({"x": Path("/proc/sys")})
    error = box.refused(mounts=bind(source, target))
    check(error, "bind", errno.EPERM, target, f"bind {source} -> {target}: Operation not permitted ({IN_PROC})")


def test_file_inside_proc(box: Box, source: Path) -> None:
    error = box.refused(mounts=bind(source / "file", "/proc/version"))
    assert (error.step, error.errno, error.filename) == ("bind", errno.EPERM, "/proc/version")
    error = box.refused(files=[_core.File(target="/proc/version", content=b"")])
    check(error, "file", errno.EPERM, "/proc/version", f"file /proc/version: Operation not permitted ({IN_PROC})")


def test_tmpfs_inside_proc(box: Box) -> None:
    error = box.refused(mounts=[_core.Tmpfs(target="/proc/sys")])
    message = f"mount tmpfs -> /proc/sys: Operation not permitted ({IN_PROC})"
    check(error, "mount", errno.EPERM, "/proc/sys", message)


@pytest.mark.parametrize("link", ["/proc/self/cwd", "/proc/self/root", "/proc/1/root/tmp", "/proc/self/fd/0"])
def test_bind_through_a_magic_link(box: Box, source: Path, canary: Path, link: str) -> None:
    before = listing(canary)
    box.layer({"magic": Path(link)})
    error = box.refused(mounts=bind(source, "/magic"))
    assert (error.step, error.errno, error.filename) == ("bind", errno.ELOOP, "/magic")
    assert listing(canary) == before


def test_bind_round_in_a_circle(box: Box, source: Path) -> None:
    box.layer({"a": Path("b"), "b": Path("a")})
    error = box.refused(mounts=bind(source, "/a/inner"))
    assert (error.step, error.errno, error.filename) == ("bind", errno.ELOOP, "/a/inner")


def test_a_mount_point_missing_in_a_read_only_volume(box: Box, source: Path) -> None:
    error = box.refused(mounts=bind(source, "/v", read_only=True) + bind(source, "/v/inner"))
    advice = "the mount point is missing in a read-only volume: make it there first"
    message = f"bind {source} -> /v/inner: Read-only file system ({advice})"
    check(error, "bind", errno.EROFS, "/v/inner", message)
    assert os.listdir(source) == ["file"]


def test_a_target_that_is_too_long(box: Box, source: Path) -> None:
    target = "/" + "n" * 256
    error = box.refused(mounts=bind(source, target))
    assert (error.step, error.errno, error.filename) == ("bind", errno.ENAMETOOLONG, target)


@pytest.mark.parametrize("key", ["lowerdirs", "upperdir", "workdir"])
def test_overlay_without_one_of_its_directories(box: Box, tmp_path: Path, key: str) -> None:
    missing = str(tmp_path / "missing")
    rootfs = box.overlay(**{key: [missing] if key == "lowerdirs" else missing})
    error = box.refused(rootfs=rootfs)
    message = f"overlay {':'.join(rootfs.lowerdirs)} below {rootfs.upperdir}: No such file or directory"
    check(error, "overlay", errno.ENOENT, rootfs.upperdir, message)


def test_overlay_on_a_file(box: Box, source: Path) -> None:
    error = box.refused(rootfs=box.overlay(lowerdirs=[str(source / "file")]))
    assert (error.step, error.errno) == ("overlay", errno.ENOTDIR)


def test_overlay_of_layers_inside_each_other(box: Box) -> None:
    error = box.refused(rootfs=box.overlay(lowerdirs=[str(box.rootfs), str(box.rootfs / "etc")]))
    assert (error.step, error.errno) == ("overlay", errno.ELOOP)
    assert str(error).endswith("(the layers overlap: one is inside another)")


SHAPES = {"absolute": "{canary}", "up": "../../../../../../../..{canary}", "chained": "chain", "dangling": "/nowhere"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "kind"), [("proc", "proc"), ("sys", "sysfs"), ("dev", "tmpfs")])
def test_a_symlink_for_a_kernel_file_system(box: Box, canary: Path, name: str, kind: str, shape: str) -> None:
    (canary / "pts").mkdir()
    before = listing(canary)
    box.layer({name: Path(SHAPES[shape].format(canary=canary)), "chain": Path(canary)})
    error = box.refused()
    check(error, "mount", errno.ENOTDIR, name, f"mount {kind} -> {name}: Not a directory ({REAL})")
    assert listing(canary) == before
    assert os.listdir(box.upper()) == []


def test_a_file_for_a_kernel_file_system(box: Box) -> None:
    box.layer({"dev": b""})
    check(box.refused(), "mount", errno.ENOTDIR, "dev", f"mount tmpfs -> dev: Not a directory ({REAL})")


def test_an_unknown_tmpfs_option(box: Box) -> None:
    error = box.refused(mounts=[_core.Tmpfs(target="/t", options=["nonsense=1"])])
    check(error, "mount", errno.EINVAL, "/t", "mount tmpfs -> /t: Invalid argument")


def test_tmpfs_onto_a_file(box: Box) -> None:
    error = box.refused(mounts=[_core.Tmpfs(target="/etc/hello")])
    check(error, "mount", errno.ENOTDIR, "/etc/hello", f"mount tmpfs -> /etc/hello: Not a directory ({KINDS})")


def test_file_onto_a_directory(box: Box) -> None:
    error = box.refused(files=[_core.File(target="/etc", content=b"")])
    check(error, "file", errno.ENOTDIR, "/etc", f"file /etc: Not a directory ({KINDS})")


def test_files_have_room_for_one_mebibyte(box: Box) -> None:
    error = box.refused(files=[_core.File(target="/f", content=bytes(2 << 20))])
    check(error, "file", errno.ENOSPC, "/f", "file /f: No space left on device")


@pytest.mark.parametrize("cwd", ["/proc/self/cwd", "/proc/self/root", "/proc/1/cwd", "/proc/self/fd/0", "/w"])
def test_cwd_through_a_magic_link(box: Box, cwd: str) -> None:
    box.layer({"w": Path("/proc/self/root/tmp")})
    error = box.refused(cwd=cwd)
    check(error, "cwd", errno.ELOOP, cwd, f"make {cwd}: Too many symbolic links encountered ({CIRCLE})")


def test_cwd_through_a_descriptor_of_a_host_directory(box: Box, canary: Path) -> None:
    held = [os.open(canary, os.O_RDONLY) for _ in range(20)]
    try:
        for number in range(3, max(held) + 10):
            error = box.refused(cwd=f"/proc/self/fd/{number}")
            assert (error.step, error.exit_code) == ("cwd", 125)
    finally:
        for descriptor in held:
            os.close(descriptor)


def test_cwd_that_is_a_file(box: Box) -> None:
    check(box.refused(cwd="/etc/hello"), "cwd", errno.ENOTDIR, "/etc/hello", "make /etc/hello: Not a directory")


@pytest.mark.parametrize(("option", "step"), [("masked_paths", "mask"), ("readonly_paths", "protect")])
def test_a_protected_path_that_leads_round_in_a_circle(box: Box, option: str, step: str) -> None:
    box.layer({"loop": Path("loop")})
    error = box.refused(**{option: ["/loop"]})
    assert (error.step, error.errno, error.filename) == (step, errno.ELOOP, "/loop")


def test_a_null_device_of_the_host_that_is_none(box: Box, canary: Path) -> None:
    def work() -> None:
        mount(canary / "file", "/dev/null", MS_BIND)
        with pytest.raises(SpawnError) as caught:
            _core.spawn(box.spec("true"))
        check(caught.value, "mask", errno.ENODEV, None, "open /dev/null: No such device")

    in_mount_namespace(work)


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_bad_stdio_descriptor(box: Box, name: str) -> None:
    number = 9999
    error = box.refused(**{name: number})
    numbers = [str(number if key == name else default) for default, key in enumerate(("stdin", "stdout", "stderr"))]
    check(error, "stdio", errno.EBADF, None, f"stdio {', '.join(numbers)}: Bad file number")


def test_an_argument_longer_than_the_kernel_takes(box: Box) -> None:
    error = box.refused("true", "x" * (128 << 10))
    check(error, "hop", errno.E2BIG, None, "execute hyrun-init: Argument list too long")


def test_a_caller_whose_root_is_no_mount_point(box: Box, tmp_path: Path) -> None:
    def work() -> None:
        spec = box.spec("true", masked_paths=[])
        os.chroot(tmp_path)
        with pytest.raises(SpawnError) as caught:
            _core.spawn(spec)
        assert (caught.value.step, caught.value.errno) == ("propagation", errno.EINVAL)

    in_process(work)


def test_a_caller_without_privileges_is_told_to_be_root(box: Box) -> None:
    def work() -> None:
        spec = box.spec("true")
        os.setresuid(1000, 1000, 1000)
        with pytest.raises(SpawnError) as caught:
            _core.spawn(spec)
        check(
            caught.value,
            "clone",
            errno.EPERM,
            None,
            "clone: Operation not permitted (hyrun needs root: try again with sudo)",
        )

    in_process(work)
