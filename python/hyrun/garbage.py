"""What nobody refers to any more: layers, blobs, half-written files, old locks. Marked and swept.

Whoever makes an image holds the lock ``image``/``all`` shared, from the first look at a layer to the last tag
(``image_store.publishing``); the sweep holds it alone. So a layer that no record lists yet is never taken for
garbage, however long its download takes. `run` holds no lock: it writes its record first and then looks whether the
image is there, and removal takes the image's record away first and then looks for containers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

from .claims import claimed
from .container_directory import try_lock
from .errors import NotFound, StorageError
from .image_config import parse_config
from .image_users import configs, layers_in_use, layers_of, users
from .images import full_name, read_record, read_tag, record_path
from .layers import DAMAGED, syncing
from .locks import lock
from .staging import Trash, sweep
from .store import Store, sync_directory

#: The end of the name that a record has while its image is being removed.
REMOVING = ".removing"


def sweep_now(store: Store) -> None:
    """Remove what killed commands left behind, unless somebody is publishing at this moment."""
    sweep(store)
    collect(store)


def collect(store: Store, *, wait: bool = False) -> list[str] | None:
    """Remove what nobody refers to; return the layers (hexadecimal) that went.

    None when somebody is publishing: the next command that removes or loads something finds it as well. ``wait``
    until they have done.
    """
    store.make_directories()  # whichever somebody removed
    with ExitStack() as stack:
        # What is moved away is removed at the end, after the locks: a large tree takes long.
        trash = stack.enter_context(Trash(store))
        try:
            with lock(store, "image", "all", wait=wait), lock(store, "image", "records"):
                return move_away(store, trash.take)
        except BlockingIOError:
            return None


def move_away(store: Store, take: Callable[[str], None]) -> list[str]:
    """Find and ``take`` all garbage; hold both locks of images alone. Return the layers (hexadecimal) that went."""
    finish_removals(store)
    for directory in ("images", "tags", "blobs/sha256"):
        for name in store.files(directory):
            if name.startswith("."):
                unlink_missing_ok(store.path(directory, name))
    marked = mark(store)
    if marked is None:
        return []
    layers, blobs = marked
    going = sorted(set(os.listdir(store.path("layers"))) - layers)
    for name in going:
        take(store.path("layers", name))
    if going and syncing():
        sync_directory(store.path("layers"))
    for name in set(store.files("blobs/sha256")) - blobs:
        unlink_missing_ok(store.path("blobs/sha256", name))
    _forget_locks(store)
    _drop_damaged(store, take)
    return going


def mark(store: Store) -> tuple[set[str], set[str]] | None:
    """Return the layers and the blobs (hexadecimal) that images or containers refer to.

    None when a record of either cannot be read: nobody knows what it refers to until it is cured.
    """
    used = layers_in_use(store)
    if used is None:
        return None
    layers = {*used, *claimed(store)}
    blobs: set[str] = set()
    for name in store.files("images"):
        if not name.endswith(".json") or name.startswith("."):
            continue
        try:
            record = read_record(store, name.removesuffix(".json"))
        except NotFound:
            continue
        except StorageError:
            return None
        layers.update(record["layers"])
        blobs.update(digest[7:] for digest in (record["id"], record["digest"]) if digest is not None)
    for name in _without_record(store):
        layers.update(_layers_of_configuration(store, name))
        blobs.add(name)
    return layers, blobs


def _without_record(store: Store) -> set[str]:
    """Return the images (hexadecimal) of names and containers that lost their record: a check makes it again."""
    wanted = {image[7:] for image in users(store) if image.startswith("sha256:")}
    wanted.update(image for tag in store.files("tags") if (image := _meant(store, tag)))
    return {name for name in wanted if not os.path.lexists(record_path(store, name))}


def _layers_of_configuration(store: Store, name: str) -> list[str]:
    try:
        with open(store.path("blobs", "sha256", name), "rb") as file:
            return parse_config(file.read())["diff_ids"]
    except (OSError, StorageError):
        return []


def finish_removals(store: Store) -> None:
    """Finish what a killed removal has begun, unless a container was made of the image meanwhile.

    Hold the lock ``image``/``records``.
    """
    for file in store.files("images"):
        if not file.startswith(".") or not file.endswith(REMOVING):
            continue
        name = file[1 : -len(REMOVING)]
        hidden = store.path("images", file)
        if not os.path.exists(record_path(store, name)):
            if f"sha256:{name}" in users(store):
                os.rename(hidden, record_path(store, name))
                continue
            for tag in store.files("tags"):
                if _meant(store, tag) == name:
                    unlink_missing_ok(store.path("tags", tag))
            unlink_missing_ok(store.path("blobs", "sha256", name))
        unlink_missing_ok(hidden)


def _meant(store: Store, file: str) -> str | None:
    """Return the image (hexadecimal) that a file in ``tags`` names; None for none."""
    try:
        return read_tag(store, full_name(file))
    except StorageError:
        return None


def unlink_missing_ok(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _forget_locks(store: Store) -> None:
    """Remove the locks of layers that are gone, but those that somebody holds."""
    present = set(os.listdir(store.path("layers")))
    for name in os.listdir(store.path("locks")):
        if name.startswith("layer-") and name[6:] not in present:
            try:
                with lock(store, "layer", name[6:], wait=False):
                    unlink_missing_ok(store.path("locks", name))
            except BlockingIOError:
                continue


def _drop_damaged(store: Store, take: Callable[[str], None]) -> None:
    """Remove layers that were set aside, unless a running container still has them mounted."""
    try:
        names = os.listdir(store.path(DAMAGED))
    except FileNotFoundError:
        return
    mounted = running_layers(store) if names else set()
    for name in names:
        if name.partition(".")[0] not in mounted:
            take(store.path(DAMAGED, name))


def running_layers(store: Store) -> set[str]:
    """Return the layers (hexadecimal, and ``skeleton``) of containers that somebody owns at this moment."""
    found: set[str] = set()
    for identifier, config in configs(store):
        try:
            descriptor = try_lock(store.path("containers", identifier))
        except FileNotFoundError:
            continue
        if descriptor is not None:
            os.close(descriptor)
        elif config is not None:
            found.update(layers_of(store, config), ("skeleton",))
    return found
