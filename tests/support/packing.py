"""Trees that are packed and unpacked again, and what is used for it."""

import gzip
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hyrun import _core
from support.nodes import Node

SETTINGS = settings(
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
