"""Registries of one session, and images in them."""

import random
from collections.abc import Iterator

import pytest

from e2e.command import Hyrun
from e2e.registries import Content
from support import images
from support.faults import Faults
from support.registry import Registry

#: Bytes of the layer that is long enough to be cut.
BIG = 3 << 20


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


@pytest.fixture
def box(hyrun: Hyrun, plain: Registry) -> Iterator[str]:
    """The name of the image; afterwards nothing of a download is left."""
    yield f"{plain.host}/team/box:1"
    assert not (hyrun.root / "partial").exists() or hyrun.left("partial") == set()


@pytest.fixture
def pulled(hyrun: Hyrun, plain: Registry, content: Content) -> str:
    """An image that was pulled from the registry, with the bytes of all of its layers."""
    # The base came with archives, without a registry's bytes: of this store it is not kept.
    for name in hyrun.lines("images", "-q"):
        hyrun("rmi", "-f", name)
    hyrun("pull", "-q", f"{plain.host}/team/box:1")
    return f"{plain.host}/team/box:1"
