"""Entries that meet: duplicates, hard links, and symlinks among the parents.

Source: OCI image-spec, layer.md.
"""

import contextlib
import os
import stat
import tarfile
from collections.abc import Callable

import pytest

from hyrun.errors import StorageError
from support.layers import Layers
from support.tars import END, Spec, archive, directory, entry, hard_link, header, pax, symlink

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


def test_the_last_of_two_entries_wins(layers: Layers) -> None:
    target = layers.unpack(
        archive(
            entry("a", b"first, longer"),
            entry("a", b"second"),
            symlink("b", "a"),
            entry("b", b"file"),
            directory("c"),
            entry("c/d", b"x"),
            entry("c", b"file"),
            entry("d", b"x"),
            directory("d"),
            entry("d/e", b"y"),
        )
    )
    assert (target / "a").read_bytes() == b"second"
    assert (target / "b").read_bytes() == b"file"
    assert not (target / "b").is_symlink()
    assert (target / "c").read_bytes() == b"file"
    assert (target / "d/e").read_bytes() == b"y"


def test_a_second_entry_for_a_directory_keeps_its_content_and_replaces_its_metadata(layers: Layers) -> None:
    target = layers.unpack(
        pax((b"SCHILY.xattr.user.old", b"1"))
        + header(b"a", kind=b"5", mode=b"0000777\0")
        + header(b"a/b")
        + pax((b"SCHILY.xattr.user.new", b"2"))
        + header(b"a", kind=b"5", mode=b"0000700\0", uid=b"0000003\0")
        + END
    )
    assert (target / "a/b").exists()
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o700
    assert (target / "a").stat().st_uid == 3
    assert os.listxattr(target / "a") == ["user.new"]


def test_a_new_entry_is_not_written_through_a_hard_link(layers: Layers) -> None:
    target = layers.unpack(
        archive(entry("a", b"first", mode=0o644), hard_link("b", "a"), entry("b", b"second", mode=0o600))
    )
    assert (target / "a").read_bytes() == b"first"
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o644
    assert (target / "b").read_bytes() == b"second"


def test_a_hard_link_is_one_file_with_its_source(layers: Layers) -> None:
    target = layers.unpack(
        archive(entry("dir/a", b"x"), hard_link("b", "/dir/a"), symlink("s", "nowhere"), hard_link("t", "./s"))
    )
    assert (target / "dir/a").samefile(target / "b")
    assert (target / "t").is_symlink()


def test_a_hard_link_to_itself_or_again_changes_nothing(layers: Layers) -> None:
    target = layers.unpack(archive(entry("a", b"x"), hard_link("a", "a"), hard_link("b", "a"), hard_link("b", "a")))
    assert (target / "a").read_bytes() == b"x"
    assert (target / "a").stat().st_nlink == 2


@pytest.mark.parametrize("source", ["missing", "dir", ".", "../canary/file", "gone", "dir/../a", "a/b"])
def test_a_hard_link_needs_a_file_of_the_same_layer(layers: Layers, source: str) -> None:
    layers.refuse(archive(entry("a"), directory("dir"), entry(".wh.gone"), hard_link("b", source)), "hard link")


def test_a_hard_link_may_not_replace_the_directory_that_holds_its_source(layers: Layers) -> None:
    layers.refuse(archive(entry("a/b", b"x"), hard_link("a", "a/b")), "replace")


def test_hard_links_resolve_their_source_inside_the_layer(layers: Layers) -> None:
    outward = str(layers.canary)
    layers.refuse(archive(symlink("out", outward), hard_link("b", "out/file")), "not in this layer")
    target = layers.unpack(archive(symlink("out", outward), hard_link("b", "out")))
    assert (target / "b").is_symlink()


# Symlinks among the parents


def test_parents_that_are_symlinks_are_resolved_inside_the_layer(layers: Layers) -> None:
    target = layers.unpack(
        archive(
            directory("usr/lib"),
            symlink("lib", "usr/lib"),
            entry("lib/x", b"1"),
            symlink("abs", "/usr/lib"),
            entry("abs/y", b"2"),
            symlink("up", "../../usr/./lib/../lib"),
            entry("up/z", b"3"),
        )
    )
    assert sorted(path.name for path in (target / "usr/lib").iterdir()) == ["x", "y", "z"]
    assert (target / "lib").is_symlink()


def test_a_dangling_parent_is_made_where_the_symlink_points(layers: Layers) -> None:
    target = layers.unpack(archive(symlink("lib", "usr/lib"), entry("lib/a/x", b"1")))
    assert (target / "usr/lib/a/x").read_bytes() == b"1"


def test_a_parent_is_looked_up_again_after_it_was_replaced(layers: Layers) -> None:
    target = layers.unpack(
        archive(
            directory("one"),
            directory("two"),
            symlink("s", "one"),
            entry("s/a"),
            symlink("s", "two"),
            entry("s/b"),
        )
    )
    assert (target / "one/a").exists()
    assert (target / "two/b").exists()


@pytest.mark.parametrize(
    "hop",
    ["{canary}", "../canary", "../../../../../../..{canary}", "/proc/self/cwd", "/proc/self/root{canary}"],
)
@pytest.mark.parametrize(
    "victim",
    [
        lambda hop: [symlink("s", hop), entry("s/file", b"evil")],
        lambda hop: [symlink("s", hop + "/file"), entry("s", b"evil")],
        lambda hop: [symlink("s", hop + "/new"), entry("s", b"evil")],
        lambda hop: [symlink("s", hop), directory("s", uid=7), entry("s/file", b"evil")],
        lambda hop: [symlink("s", hop), entry("s/.wh.file")],
        lambda hop: [symlink("s", hop), entry("s/.wh..wh..opq")],
        lambda hop: [symlink("a", "b"), symlink("b", hop), entry("a/file", b"evil"), entry("a/.wh.sub")],
        lambda hop: [symlink("s", hop + "/file"), hard_link("t", "s"), entry("t", b"evil")],
        lambda hop: [
            symlink("s", hop + "/sub/setuid"),
            entry("s", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        ],
    ],
)
def test_nothing_outside_is_touched_through_a_symlink(
    layers: Layers, hop: str, victim: Callable[[str], list[Spec]]
) -> None:
    with contextlib.suppress(StorageError):
        layers.unpack(archive(*victim(hop.format(canary=layers.canary))))


def test_a_loop_of_symlinks_is_refused(layers: Layers) -> None:
    layers.refuse(archive(symlink("a", "b"), symlink("b", "a"), entry("a/x")), "too many symlinks")


def test_a_file_is_no_parent(layers: Layers) -> None:
    layers.refuse(archive(entry("a"), entry("a/b")), "not a directory")
