"""A store with an image for tests of the Python functions."""

import os
from collections.abc import Iterator

import pytest

from hyrun.archives.loading import load
from hyrun.store import Store
from support import images


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the image busybox."""
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    top = tmp_path_factory.mktemp("api")
    rootfs = images.busybox_rootfs_tar(top / "rootfs.tar")
    images.docker_archive(top / "busybox.tar", [rootfs.read_bytes()], {"Cmd": ["sh"]}, ["busybox:latest"])
    (top / "run").mkdir(mode=0o700)
    store = Store(str(top / "root"), str(top / "run")).prepare()
    load(store, str(top / "busybox.tar"))
    return store


@pytest.fixture(autouse=True)
def place(loaded: Store, monkeypatch: pytest.MonkeyPatch, _no_default_store: None) -> Iterator[Store]:
    """That store is the default one, and every run leaves it as it was."""
    monkeypatch.setenv("HYRUN_ROOT", loaded.root)
    monkeypatch.setenv("HYRUN_RUN", loaded.run)
    yield loaded
    left = {kind: os.listdir(loaded.path(kind)) for kind in ("containers", "names", "volumes", "tmp")}
    assert left == {kind: [] for kind in left}
    assert set(os.listdir(loaded.run)) <= {"events.log"}
