"""What a writable layer changes, on real directories. The merged view below is a real overlay."""

import os
import stat
from pathlib import Path

import pytest

from hyrun import _core

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="overlays and whiteouts need root"
)


class Trees:
    """A writable layer above two layers; each is filled by paths, where one that ends with a slash is a directory."""

    def __init__(self, base: Path) -> None:
        self.upper, self.top, self.bottom = (base / name for name in ("upper", "top", "bottom"))
        for tree in (self.upper, self.top, self.bottom):
            tree.mkdir()

    def fill(self, tree: Path, *paths: str) -> None:
        for path in paths:
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            if path.endswith("/"):
                (tree / path).mkdir(exist_ok=True)
            else:
                (tree / path).touch()

    def white_out(self, tree: Path, path: str) -> None:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        os.mknod(tree / path, stat.S_IFCHR, 0)

    def changes(self, *lowerdirs: Path) -> list[str]:
        descriptor = os.open(self.upper, os.O_RDONLY | os.O_DIRECTORY)
        try:
            lower = [str(path) for path in lowerdirs or (self.top, self.bottom)]
            return [f"{kind} {path}" for kind, path in _core.tree_changes(descriptor, lower)]
        finally:
            os.close(descriptor)


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def test_what_is_below_in_any_layer_is_changed_and_the_rest_added(trees: Trees) -> None:
    trees.fill(trees.top, "a/one", "b/")
    trees.fill(trees.bottom, "a/two", "c")
    trees.fill(trees.upper, "a/one", "a/two", "a/three", "b/x", "d/e/f")
    expected = ["C /a", "C /a/one", "A /a/three", "C /a/two", "C /b", "A /b/x", "A /d", "A /d/e", "A /d/e/f"]
    assert trees.changes() == expected


def test_paths_are_sorted_component_by_component(trees: Trees) -> None:
    trees.fill(trees.upper, "a/b", "a.c", "a-d")
    assert trees.changes() == ["A /a", "A /a/b", "A /a-d", "A /a.c"]


def test_a_whiteout_is_a_deletion_of_what_was_visible(trees: Trees) -> None:
    trees.fill(trees.bottom, "gone", "twice")
    trees.white_out(trees.top, "twice")
    for name in ("gone", "twice", "never"):
        trees.white_out(trees.upper, name)
    trees.fill(trees.upper, "file")
    os.setxattr(trees.upper / "file", "trusted.overlay.whiteout", b"y")
    assert trees.changes() == ["D /gone"]
    trees.fill(trees.top, "file")
    assert trees.changes() == ["D /file", "D /gone"]


def test_an_opaque_directory_deletes_what_it_hides_at_every_depth(trees: Trees) -> None:
    trees.fill(trees.top, "d/kept", "d/gone", "d/sub/kept", "d/sub/gone", "d/whole/x")
    trees.fill(trees.bottom, "d/low", "d/sub/low")
    trees.fill(trees.upper, "d/kept", "d/new", "d/sub/kept")
    os.setxattr(trees.upper / "d", "trusted.overlay.opaque", b"y")
    assert trees.changes() == [
        *("C /d", "D /d/gone", "C /d/kept", "D /d/low", "A /d/new"),
        *("C /d/sub", "D /d/sub/gone", "C /d/sub/kept", "D /d/sub/low", "D /d/whole"),
    ]


def test_a_change_of_kind_is_a_change(trees: Trees) -> None:
    trees.fill(trees.top, "was-file", "was-directory/x")
    trees.fill(trees.upper, "was-file/new", "was-directory")
    (trees.upper / "link").symlink_to("/etc")
    assert trees.changes() == ["A /link", "C /was-directory", "C /was-file", "A /was-file/new"]


def test_deep_trees_are_walked_there_and_back(trees: Trees) -> None:
    chain = "/".join(["n"] * 60)
    trees.fill(trees.top, f"{chain[:99]}/below")
    trees.fill(trees.upper, f"{chain}/end", f"{chain[:99]}/z", "z")
    found = trees.changes()
    assert found.count("A /z") == 1
    assert [line for line in found if line.startswith("C")] == [
        "C /" + "/".join(["n"] * depth) for depth in range(1, 51)
    ]
    assert f"A /{chain}/end" in found
    assert f"A /{chain[:99]}/z" in found


def test_a_single_layer_is_seen_without_what_is_mounted_in_it(trees: Trees) -> None:
    trees.fill(trees.upper, "proc/version", "etc/passwd")
    assert trees.changes(Path("/")) == ["C /etc", "C /etc/passwd", "C /proc", "A /proc/version"]


def test_layers_inside_of_the_lowest_one_are_merged_with_it(trees: Trees) -> None:
    trees.fill(trees.top, "from-the-layer")
    trees.fill(trees.upper, "from-the-layer", "etc/passwd", "seen-nowhere-else")
    assert trees.changes(trees.top, Path("/")) == [
        "C /etc",
        "C /etc/passwd",
        "C /from-the-layer",
        "A /seen-nowhere-else",
    ]
    root = _core.open_root([str(trees.top), "/"])
    try:
        assert {"from-the-layer", "etc"} <= set(os.listdir(root))
    finally:
        os.close(root)
