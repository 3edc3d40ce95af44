"""A layer that was unpacked is written again byte for byte, by its recipe."""

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given

from hyrun.errors import StorageError
from support.nodes import NAMES, Node, make, nodes
from support.packing import SETTINGS, assembled, both_ways, directory, fresh, packed, unpacked

__all__ = ["fresh"]

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


def archive(form: int, described: list[Node]) -> bytes:
    """Return the tar of a program that writes names in any order and more than once."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=form, errors="surrogateescape") as tar:
        for node in described:
            member = tarfile.TarInfo(os.fsdecode(node.path))
            member.uname, member.mode, member.mtime = "somebody", node.mode, abs(node.mtime) // 10**10
            if node.kind == "directory":
                member.type = tarfile.DIRTYPE
            elif node.kind == "symlink":
                member.type, member.linkname = tarfile.SYMTYPE, "b"
            elif node.kind == "link":
                member.type, member.linkname = tarfile.LNKTYPE, "a"
            elif node.kind == "whiteout":
                member.name = os.fsdecode(os.path.join(os.path.dirname(node.path), b".wh.a"))
            else:
                member.size = len(node.content)
            tar.addfile(member, io.BytesIO(node.content if member.size else b""))
    return output.getvalue()


_SHORT = [name for name in NAMES if len(name) < 100]


@SETTINGS
@given(described=nodes("file file directory symlink link whiteout"))
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@both_ways
def test_a_foreign_layer_is_written_again_byte_for_byte(
    fresh: Path, form: int, threads: bool, described: list[Node]
) -> None:
    data = archive(form, described) + b"something behind the end"
    top = directory(fresh)
    try:
        tree = unpacked(data, top / "diff", top, threads=threads)
    except StorageError:
        return  # a link to what is not there, say
    assert assembled(top, tree) == data
    assert gzip.decompress(assembled(top, tree, compression="gzip")) == data


@both_ways
def test_what_a_later_entry_replaced_is_still_written_again(tmp_path: Path, threads: bool) -> None:
    def file(path: bytes, content: bytes) -> Node:
        return Node(path, "file", content, 0o644, 0, 0, ())

    def kind(path: bytes, kind: str) -> Node:
        return Node(path, kind, b"", 0o755, 0, 0, ())

    data = archive(
        tarfile.GNU_FORMAT,
        [
            *(file(b"a", b"first"), file(b"a", b"second"), kind(b"a", "directory"), file(b"a/b", b"third")),
            *(file(b"a/c", b"fourth"), file(b"a/b", b"fifth"), kind(b"a", "symlink"), file(b"d", b"sixth")),
            *(kind(b"a", "directory"), file(b"a/b", b"seventh"), file(b"a/e", b"eighth"), kind(b"d", "symlink")),
        ],
    )
    tree = unpacked(data, tmp_path / "diff", tmp_path, threads=threads)
    assert sorted(path.name for path in tree.rglob("*")) == ["a", "b", "d", "e"]
    assert assembled(tmp_path, tree) == data


def test_gnu_s_sparse_files_are_written_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        for position in range(0, 40 << 20, 1 << 20):
            file.seek(position)
            file.write(b"island")
        file.truncate(50 << 20)
    command = ["tar", "-C", str(source), "--sparse", "--format=gnu", "-cf", "-", "."]
    data = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    assert len(data) < 1 << 20
    tree = unpacked(data, tmp_path / "diff", tmp_path)
    assert assembled(tmp_path, tree) == data


def test_a_changed_tree_does_not_fit_its_recipe(tmp_path: Path) -> None:
    data = archive(tarfile.GNU_FORMAT, [Node(b"a", "file", b"content", 0o644, 0, 0, ())])
    tree = unpacked(data, tmp_path / "diff", tmp_path)
    (tree / "a").write_bytes(b"CONTENT")
    assert assembled(tmp_path, tree) != data
    (tree / "a").write_bytes(b"cut")
    with pytest.raises(StorageError, match="recipe"):
        assembled(tmp_path, tree)
    (tree / "a").unlink()
    (tree / "a").symlink_to("/etc/passwd")
    with pytest.raises(StorageError, match="recipe"):
        assembled(tmp_path, tree)


@pytest.mark.parametrize("keep", [0, 5, 30, -1])
def test_a_recipe_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    data = archive(tarfile.GNU_FORMAT, [Node(b"a", "file", b"content", 0o644, 0, 0, ())])
    tree = unpacked(data, tmp_path / "diff", tmp_path)
    recipe = tmp_path / "recipe"
    recipe.write_bytes(recipe.read_bytes()[:keep] if keep >= 0 else b"x" + recipe.read_bytes()[1:])
    with pytest.raises(StorageError):
        assembled(tmp_path, tree)


def test_a_recipe_is_small(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    make(tree, [Node(b"%d" % number, "file", b"x", 0o644, 0, 0, ()) for number in range(500)])
    data = packed(tree)
    unpacked(data, tmp_path / "diff", tmp_path)
    assert (tmp_path / "recipe").stat().st_size < len(data) // 20
