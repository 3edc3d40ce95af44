"""`import`: one layer from a tar of a root file system."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from hyrun import image_store
from hyrun.archives.rootfs import import_rootfs
from hyrun.errors import HyrunError, InvalidArgument, NotFound, NotSupported, StorageError
from hyrun.images import lookup
from hyrun.store import Store
from support.archives import LOWER, snapshot
from support.images import busybox_rootfs_tar, compress, sha256


def test_import_makes_one_layer_and_a_configuration(store: Store, tmp_path: Path) -> None:
    source = busybox_rootfs_tar(tmp_path / "rootfs.tar")
    image_id = import_rootfs(store, str(source), "mine", changes=['CMD ["sh"]', "ENV A=1"], message="made here")
    image = lookup(store, "mine")
    assert image.id == image_id
    assert image.config == {"Cmd": ["sh"], "Env": ["A=1"]}
    (layer,) = image.own_layers(store)
    assert Path(layer, "etc/hello").exists()
    assert not Path(layer, "test").exists()
    assert image_store.records(store)[0]["history"][0]["comment"] == "made here"


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, bz2.compress, lzma.compress, lambda data: compress(data, "zstd")],
    ids=["plain", "gz", "bz2", "xz", "zstd"],
)
def test_import_takes_compressed_files(store: Store, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "rootfs").write_bytes(pack(LOWER))
    import_rootfs(store, str(tmp_path / "rootfs"), "mine")
    assert lookup(store, "mine").layers == [sha256(LOWER)[7:]]


@pytest.mark.parametrize(
    ("source", "reference", "change", "kind"),
    [
        ("http://example.com/x.tar", None, "", NotSupported),
        ("/nonexistent", None, "", NotFound),
        ("/", None, "", InvalidArgument),
        ("good", "host", "", InvalidArgument),
        ("good", "Bad Name", "", InvalidArgument),
        ("good", "x", "RUN ls", InvalidArgument),
        ("bad", "x", "", StorageError),
    ],
)
def test_import_refused(
    store: Store, tmp_path: Path, source: str, reference: str | None, change: str, kind: type[HyrunError]
) -> None:
    (tmp_path / "good").write_bytes(LOWER)
    (tmp_path / "bad").write_bytes(LOWER[:700])
    path = str(tmp_path / source) if source in ("good", "bad") else source
    with pytest.raises(kind):
        import_rootfs(store, path, reference, changes=[change] if change else [])
    assert snapshot(store) == []
