"""Layers, packed from real trees; read back by hyrun, GNU tar, bsdtar and umoci."""

import gzip
import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from hyrun import _core
from hyrun.errors import StorageError
from support.nodes import NAMES, Node, add_socket, listing, make, nodes

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)

_SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
#: One of everything, for the programs that are too slow to be asked often.
EVERYTHING = [
    Node(b"a", "directory", b"", 0o2755, 1000, 1_234_567_890_123_456_789, ("user.colour",)),
    Node(b"a/b", "file", b"content", 0o4755, 1000, 1_234_567_890_000_000_001, ("security.capability", "user.colour")),
    Node(b"a/c.d", "symlink", b"../nowhere", 0, 5, 7_000_000_000, ()),
    Node(b"a/" + b"i" * 120, "directory", b"", 0o700, 2**31, 0, ()),
    Node(b"a/" + b"i" * 120 + b"/-e", "file", b"x" * 5000, 0o600, 0, -2_000_000_000, ()),
    Node(b"b", "fifo", b"", 0o640, 0, 1, ()),
    Node("gä".encode(), "file", b"utf-8", 0o644, 0, 10**18, ()),
    Node(b" f\n", "link", b"", 0, 0, 0, ()),
    Node(b"-e", "file", b"", 0o1000, 0o10000000, 10**18, ()),
]

#: What shrinks and what does not, in more than one piece of a gzip member.
MIXED = os.urandom(700_000) + b"line\n" * 500_000 + os.urandom(600_000)


def plain_of(data: bytes, compression: object) -> bytes:
    """Return what other programs than hyrun read."""
    if compression == "zstd":
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    return gzip.decompress(data) if compression == "gzip" else data


def packed(tree: Path, **options: object) -> bytes:
    """Return the tar of a tree, after a look at what the function says of it."""
    with tempfile.TemporaryFile() as file:
        descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
        try:
            result = _core.pack_layer(descriptor, file.fileno(), **options)  # type: ignore[arg-type]
        finally:
            os.close(descriptor)
        file.seek(0)
        data = file.read()
    assert result.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert result.compressed_size == len(data)
    plain = plain_of(data, options.get("compression"))
    assert result.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert result.size == len(plain)
    return data


def unpacked(data: bytes, target: Path, recipe: Path | None = None, *, threads: bool = False) -> Path:
    """Unpack a tar into a new directory. A stream has threads whatever its length."""
    target.mkdir()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        offset = None if threads else 0
        _core.unpack_layer(file.fileno(), str(target), offset=offset, recipe=None if recipe is None else str(recipe))
    return target


both_ways = pytest.mark.parametrize("threads", [False, True], ids=["one thread", "several"])


def assembled(recipe: Path, tree: Path, **options: str) -> bytes:
    """Return the tar that a layer was unpacked from."""
    descriptors = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (recipe, tree)]
    try:
        with tempfile.TemporaryFile() as file:
            _core.assemble_layer(*descriptors, file.fileno(), **options)
            file.seek(0)
            return file.read()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    """A directory for many trees."""
    yield tmp_path
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An empty tree."""
    tree = tmp_path / "tree"
    tree.mkdir()
    return tree


def directory(fresh: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=fresh))


# Round trips


@_SETTINGS
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


@_SETTINGS
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
    for tree, names in zip(trees, (NAMES, NAMES[::-1]), strict=True):
        tree.mkdir()
        make(tree, [Node(name, "file", b"same", 0o644, 0, 5, ()) for name in names])
        os.utime(tree, ns=(0, 0))
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


# Recipes


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


@_SETTINGS
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
