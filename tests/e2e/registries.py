"""Fixtures: registries of one session, and images in them. Import them into the test modules that use them."""

import gzip
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support import images
from support.faults import Faults
from support.registry import Registry

#: Bytes of the layer that is long enough to be cut.
BIG = 3 << 20


class Content(NamedTuple):
    """What is in ``team/box:1``, and where: the layers lowest first, as their uncompressed tars."""

    layers: list[bytes]
    layout: Path
    image_id: str


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """An image of three layers: the base of all test images, a small one, 3 MiB that no compressor makes shorter."""
    top = tmp_path_factory.mktemp("content")
    base = images.busybox_rootfs_tar(top / "rootfs.tar").read_bytes()
    noise = random.Random(1).randbytes(BIG)
    small = images.tar_bytes([("data", None), ("data/word", b"hello\n")])
    layers = [base, small, images.tar_bytes([("data", None), ("data/noise", noise)])]
    image_id = images.oci_layout(top / "layout", layers, {"Cmd": ["sh"]}, ["box:1"])
    return Content(layers, top / "layout", image_id)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, content: Content) -> Iterator[Registry]:
    """A registry without TLS and logins, with ``team/box:1``; tests may add repositories of their own."""
    registry = Registry(tmp_path_factory.mktemp("registry"))
    try:
        registry.put(content.layout, "team/box:1")
        yield registry
    finally:
        registry.close()


@pytest.fixture
def faults(plain: Registry) -> Iterator[Faults]:
    """A server before that registry, which spoils what a test wants spoilt."""
    server = Faults(plain.host)
    try:
        yield server
    finally:
        server.close()


def layer_digests(content: Content) -> list[str]:
    """Return the digests of the layers as they are in the layout, lowest first."""
    return [images.sha256(gzip.compress(layer, mtime=0)) for layer in content.layers]


def small_layer(text: str) -> bytes:
    """Return the tar of a layer with one small file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("small")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()
