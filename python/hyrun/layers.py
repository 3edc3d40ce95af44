"""Layers: unpacked once, named by the digest of their uncompressed tar (the diff id), never written again."""

import json
import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from . import _core
from .errors import StorageError
from .locks import lock
from .staging import staging
from .store import Store, sync_directory


class Layer(NamedTuple):
    """A layer that is in the store: its diff id in hexadecimal, and the bytes of its uncompressed tar."""

    diff_id: str
    size: int


def present(store: Store, diff_id: str) -> bool:
    """Tell whether the layer (hexadecimal diff id) is there; it is there whole or not at all."""
    return os.path.isdir(store.path("layers", diff_id, "diff"))


def add(
    store: Store,
    fd: int,
    *,
    offset: int | None = None,
    length: int | None = None,
    diff_id: str | None = None,
    digest: str | None = None,
    cancellation: _core.Cancellation | None = None,
) -> Layer:
    """Unpack a layer tar (plain, gzip, zstd) and publish it, unless the store has it already.

    ``fd`` is read from ``offset`` for ``length`` bytes, or as a stream without them. ``diff_id`` and
    ``digest`` (of the bytes as they are, compressed) are what the image promises, both ``sha256:<hex>``;
    StorageError when the content is another. With a known diff id, two processes unpack the same layer
    once. ``cancellation`` ends the call early, with StorageError. Hold ``image_store.publishing`` around this
    and the record, or the layer may be swept in between.
    """
    unpack = partial(_core.unpack_layer, fd, offset=offset, length=length, flush=syncing(), cancellation=cancellation)
    if diff_id is None:
        return _unpack(store, unpack, None, digest)
    name = diff_id.removeprefix("sha256:")
    if present(store, name):
        return find(store, name)
    with lock(store, "layer", name, given_up=None if cancellation is None else lambda: cancellation.cancelled):
        if present(store, name):
            return find(store, name)
        return _unpack(store, unpack, name, digest)


def _unpack(store: Store, unpack: Callable[[str], _core.Unpacked], wanted: str | None, digest: str | None) -> Layer:
    with staging(store) as directory:
        target = os.path.join(directory, "layer")
        # The directory of a layer is its root directory's parent: only hyrun's own user passes it.
        os.mkdir(target, 0o700)
        os.mkdir(os.path.join(target, "diff"), 0o755)
        unpacked = unpack(os.path.join(target, "diff"))
        if digest is not None and unpacked.digest != digest:
            raise StorageError(f"layer: its bytes have the digest {unpacked.digest}, the image wants {digest}")
        name = unpacked.diff_id.removeprefix("sha256:")
        if wanted is not None and name != wanted:
            raise StorageError(f"layer: its content has the diff id sha256:{name}, the image wants sha256:{wanted}")
        if wanted is not None:
            return publish(store, target, name, size=unpacked.size)
        with lock(store, "layer", name):
            return publish(store, target, name, size=unpacked.size)


def publish(store: Store, directory: str, name: str, *, size: int) -> Layer:
    """Rename a finished layer (a directory with ``diff/`` in it) to its place; hold its lock.

    ``name`` is the diff id in hexadecimal, ``size`` the bytes of the uncompressed tar. When the layer has
    come into being meanwhile, the directory stays where it is and the one in the store is returned.
    """
    if present(store, name):
        return find(store, name)
    descriptor = os.open(
        os.path.join(directory, "layer.json"), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
    )
    with open(descriptor, "w", encoding="ascii") as file:
        json.dump({"size": size}, file)
    if syncing():
        _core.sync_file_system(directory)
    os.rename(directory, store.path("layers", name))
    if syncing():
        sync_directory(store.path("layers"))
    return Layer(name, size)


def find(store: Store, name: str) -> Layer:
    """Return a layer that is there; ``name`` is its diff id in hexadecimal."""
    try:
        with open(store.path("layers", name, "layer.json"), "rb") as file:
            return Layer(name, int(json.load(file)["size"]))
    except (OSError, ValueError, KeyError, TypeError):
        # Only the figure shown by `images` is lost: nothing to fail for.
        return Layer(name, 0)


def syncing() -> bool:
    """Tell whether writes are made durable: HYRUN_SYNC=off is for stores that nobody keeps (CI, tests)."""
    return os.environ.get("HYRUN_SYNC") != "off"
