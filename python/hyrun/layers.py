"""Layers: unpacked once, named by the digest of their uncompressed tar (the diff id), never written again.

``layers/<diff id>/`` holds ``diff``, the tree; ``layer.json``; and ``blob``, the bytes as a registry gave them
(compressed), where those were kept: with them the layer can be pushed again under the digest it came with.
"""

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

#: Where damaged layers are put, below the root, while running containers still have them mounted.
DAMAGED = "damaged"


class Layer(NamedTuple):
    """A layer that is in the store: its diff id in hexadecimal, and the bytes of its uncompressed tar."""

    diff_id: str
    size: int


class Blob(NamedTuple):
    """The bytes of a layer as they travel: an open file, the caller's to close, its digest and its length."""

    fd: int
    digest: str
    size: int


def present(store: Store, diff_id: str) -> bool:
    """Tell whether the layer (hexadecimal diff id) is there; it is there whole or not at all."""
    directory = store.path("layers", diff_id)
    return os.path.isfile(manifest_path(directory)) and os.path.isdir(os.path.join(directory, "diff"))


def sound(store: Store, diff_id: str, *, contents: bool, meter: _core.Meter | None = None) -> bool:
    """Tell whether the layer (hexadecimal diff id) is there and still what its manifest says.

    ``contents``: by every byte, which takes as long as reading them, and not only by names, lengths, owners and times.
    """
    directory = store.path("layers", diff_id)
    if not present(store, diff_id):
        return False
    try:
        return _core.verify_manifest(directory, manifest_path(directory), contents=contents, meter=meter).count == 0
    except (StorageError, OSError):
        return False


def add(
    store: Store,
    fd: int,
    *,
    offset: int | None = None,
    length: int | None = None,
    diff_id: str | None = None,
    digest: str | None = None,
    keep: str | None = None,
    cancellation: _core.Cancellation | None = None,
    meter: _core.Meter | None = None,
    replace: bool = False,
) -> Layer:
    """Unpack a layer tar (plain, gzip, zstd) and publish it, unless the store has it already.

    ``fd`` is read from ``offset`` for ``length`` bytes, or as a stream without them. ``diff_id`` and ``digest`` (of the
    bytes as they are, compressed) are what the image promises, both ``sha256:<hex>``; StorageError when the content is
    another. With a known diff id, two processes unpack the same layer once. ``cancellation`` ends the call early, with
    StorageError; ``meter`` counts what was read. Hold ``image_store.publishing`` around this and the record, or the
    layer may be swept in between. ``keep`` is the path of a file with the bytes that ``digest`` is of: it becomes the
    layer's ``blob``, too. ``replace``: the one that is there is damaged, and is set aside.
    """
    unpack = partial(
        _core.unpack_layer,
        fd,
        offset=offset,
        length=length,
        flush=syncing(),
        cancellation=cancellation,
        meter=meter,
    )
    if diff_id is None:
        return _unpack(store, unpack, None, digest, keep)
    name = diff_id.removeprefix("sha256:")
    if present(store, name) and not replace:
        return find(store, name)
    with lock(store, "layer", name, given_up=None if cancellation is None else lambda: cancellation.cancelled):
        if present(store, name) and not replace:
            return find(store, name)
        return _unpack(store, unpack, name, digest, keep, replace=replace)


def _unpack(
    store: Store,
    unpack: Callable[..., _core.Unpacked],
    wanted: str | None,
    digest: str | None,
    keep: str | None,
    *,
    replace: bool = False,
) -> Layer:
    with staging(store) as directory:
        target = os.path.join(directory, "layer")
        # The directory of a layer is its root directory's parent: only hyrun's own user passes it.
        os.mkdir(target, 0o700)
        os.mkdir(os.path.join(target, "diff"), 0o755)
        unpacked = unpack(os.path.join(target, "diff"), recipe=target)
        if digest is not None and unpacked.digest != digest:
            raise StorageError(f"layer: its bytes have the digest {unpacked.digest}, the image wants {digest}")
        name = unpacked.diff_id.removeprefix("sha256:")
        if wanted is not None and name != wanted:
            raise StorageError(f"layer: its content has the diff id sha256:{name}, the image wants sha256:{wanted}")
        if keep is not None:
            # A second name: the first one goes when the layer is published, so that no kill loses the bytes.
            os.link(keep, os.path.join(target, "blob"))
        else:
            digest = None
        if wanted is not None:
            return publish(store, target, name, size=unpacked.size, digest=digest, replace=replace)
        with lock(store, "layer", name):
            return publish(store, target, name, size=unpacked.size, digest=digest)


def publish(
    store: Store, directory: str, name: str, *, size: int, digest: str | None = None, replace: bool = False
) -> Layer:
    """Rename a finished layer (a directory with ``diff/`` in it) to its place; hold its lock.

    ``name`` is the diff id in hexadecimal, ``size`` the bytes of the uncompressed tar, ``digest`` that of the
    file ``blob`` if the directory has one. When the layer has come into being meanwhile, the directory stays
    where it is and the one in the store is returned, unless that is the damaged one to ``replace``.
    """
    if present(store, name) and not replace:
        return find(store, name)
    descriptor = os.open(
        os.path.join(directory, "layer.json"), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
    )
    with open(descriptor, "w", encoding="ascii") as file:
        json.dump({"size": size} if digest is None else {"size": size, "digest": digest}, file)
    # Reads what was just written, from memory, while the disk is busy with it: this is also the layer's syncfs.
    _core.write_manifest(directory, manifest_path(directory), size=size, sync=syncing())
    if os.path.lexists(store.path("layers", name)):
        set_aside(store, name)  # the rest of a layer that lost something: what is unpacked now mends it
    os.rename(directory, store.path("layers", name))
    if syncing():
        sync_directory(store.path("layers"))
    return Layer(name, size)


def set_aside(store: Store, name: str) -> str:
    """Take a damaged layer out of the way, so that the next load unpacks it again; return where it is now.

    By rename, in one step: containers that have it mounted go on with what is left of it, and those that start
    later find the new one at the same path.
    """
    os.makedirs(store.path(DAMAGED), mode=0o700, exist_ok=True)
    target = store.path(DAMAGED, f"{name}.{os.urandom(6).hex()}")
    os.rename(store.path("layers", name), target)
    return target


def manifest_path(directory: str) -> str:
    """Return the path of the manifest in a layer's directory: what there was in it when it was unpacked."""
    return os.path.join(directory, "manifest")


def find(store: Store, name: str) -> Layer:
    """Return a layer that is there; ``name`` is its diff id in hexadecimal."""
    try:
        with open(store.path("layers", name, "layer.json"), "rb") as file:
            return Layer(name, int(json.load(file)["size"]))
    except (OSError, ValueError, KeyError, TypeError):
        # Only the figure shown by `images` is lost: nothing to fail for.
        return Layer(name, 0)


def kept(store: Store, name: str) -> Blob | None:
    """Return the bytes of a layer as a registry gave them, opened; None when they were not kept."""
    directory = store.path("layers", name)
    try:
        with open(os.path.join(directory, "layer.json"), "rb") as file:
            digest = json.load(file)["digest"]
        fd = os.open(os.path.join(directory, "blob"), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return Blob(fd, str(digest), os.fstat(fd).st_size)


def syncing() -> bool:
    """Tell whether writes are made durable: HYRUN_SYNC=off is for stores that nobody keeps (CI, tests)."""
    return os.environ.get("HYRUN_SYNC") != "off"
