"""Whiteouts become overlayfs's, and the kernel hides what they hide.

Source: OCI image-spec, layer.md.
"""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from support.layers import Layers
from support.tars import END, Spec, archive, directory, entry, hard_link, header, symlink

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


def opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def whiteout(path: Path) -> bool:
    info = path.lstat()
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def test_a_whiteout_becomes_overlayfs_s_device(layers: Layers) -> None:
    target = layers.unpack(archive(directory("a"), entry("a/.wh.b"), entry("c/.wh.d"), entry(".wh.e")))
    assert whiteout(target / "a/b")
    assert whiteout(target / "c/d")
    assert whiteout(target / "e")
    assert not any(path.name.startswith(".wh.") for path in target.rglob("*"))


def test_an_opaque_marker_becomes_overlayfs_s_attribute(layers: Layers) -> None:
    target = layers.unpack(archive(entry("a/.wh..wh..opq"), entry("a/b"), directory("c"), entry("c/.wh..wh..opq")))
    assert opaque(target / "a")
    assert opaque(target / "c")
    assert [path.name for path in (target / "a").iterdir()] == ["b"]


@pytest.mark.parametrize("late", [False, True])
def test_whiteout_of_a_directory_in_the_same_layer_makes_it_opaque(layers: Layers, late: bool) -> None:
    members = [directory("a", uid=7), entry("a/b", b"kept")]
    marker = [entry(".wh.a")]
    target = layers.unpack(archive(*(members + marker if late else marker + members)))
    assert opaque(target / "a")
    assert (target / "a").stat().st_uid == 7
    assert (target / "a/b").read_bytes() == b"kept"


@pytest.mark.parametrize("late", [False, True])
def test_whiteout_of_a_file_in_the_same_layer_leaves_the_file(layers: Layers, late: bool) -> None:
    members = [entry("a", b"kept"), entry(".wh.a")]
    target = layers.unpack(archive(*(members if late else reversed(members))))
    assert (target / "a").read_bytes() == b"kept"


def test_an_entry_below_a_whiteout_makes_it_an_opaque_directory(layers: Layers) -> None:
    target = layers.unpack(archive(entry(".wh.a"), entry("a/b/c"), entry(".wh.d"), entry("d/.wh.e")))
    assert opaque(target / "a")
    assert not opaque(target / "a/b")
    assert (target / "a/b/c").exists()
    assert opaque(target / "d")
    assert whiteout(target / "d/e")


@pytest.mark.parametrize(
    "members",
    [
        [entry(".wh.a"), entry("a"), directory("a")],
        [entry("a"), entry(".wh.a"), directory("a")],
        [directory("a"), entry(".wh.a"), symlink("a", "b"), directory("a")],
        [directory("a"), entry("a/.wh..wh..opq"), entry("a"), directory("a")],
    ],
)
def test_what_a_whiteout_hides_stays_hidden_whatever_replaces_it(layers: Layers, members: list[Spec]) -> None:
    assert opaque(layers.unpack(archive(*members)) / "a")


def test_a_directory_that_no_whiteout_names_is_not_opaque(layers: Layers) -> None:
    target = layers.unpack(archive(entry("a"), directory("a"), directory("b"), entry(".wh.c")))
    assert not opaque(target / "a")
    assert not opaque(target / "b")


@pytest.mark.parametrize("where", ["", "dir/"])
@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", ".wh..wh.", ".wh.x/y", ".wh..wh..opq/y", ".wh./x"])
def test_a_malformed_whiteout_is_refused(layers: Layers, where: str, name: str) -> None:
    target = layers.refuse(archive(directory("dir"), entry(where + name)), "whiteout")
    assert target.is_dir()
    assert not opaque(target)


@pytest.mark.parametrize("name", [".wh.a", ".wh..wh..opq"])
@pytest.mark.parametrize("kind", [b"2", b"5", b"6", b"3"])
def test_a_whiteout_is_an_empty_file(layers: Layers, name: str, kind: bytes) -> None:
    fields = {"link": b"x" if kind == b"2" else b"", "minor": b"0000003\0"}
    layers.refuse(header(name.encode(), kind=kind, **fields) + END, "whiteout")
    layers.refuse(archive(entry(name, b"content")), "whiteout")


def test_whiteouts_that_aufs_linked_together_are_read(layers: Layers) -> None:
    target = layers.unpack(archive(entry(".wh.a"), hard_link("d/.wh.b", ".wh.a")))
    assert whiteout(target / "a")
    assert whiteout(target / "d/b")


def test_aufs_s_bookkeeping_is_left_out(layers: Layers) -> None:
    target = layers.unpack(
        archive(directory(".wh..wh.plnk"), entry(".wh..wh.plnk/1.2", b"x"), entry(".wh..wh.aufs"), entry("a"))
    )
    assert [path.name for path in target.iterdir()] == ["a"]


def test_the_kernel_hides_what_the_layer_hides(layers: Layers, tmp_path: Path) -> None:
    lower = layers.unpack(archive(entry("gone"), entry("dir/old"), entry("kept/old"), entry("again/old")))
    upper = layers.unpack(
        archive(
            entry(".wh.gone"),
            entry("dir/.wh..wh..opq"),
            entry("dir/new"),
            entry(".wh.again"),
            entry("again/new"),
        )
    )
    merged = layers.fresh()
    mount = ["mount", "-t", "overlay", "-o", f"ro,lowerdir={upper}:{lower}", "overlay", merged]
    script = '"$@" && cd "$0" && find . -type f'
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, str(merged), *map(str, mount)], capture_output=True, text=True
    )
    if result.returncode and not os.environ.get("HYRUN_MUST_WORK"):
        pytest.skip(result.stderr)
    assert sorted(result.stdout.split()) == ["./again/new", "./dir/new", "./kept/old"]
