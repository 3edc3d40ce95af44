"""Images in the store: publishing, naming and removing them.

What keeps layers alive is a record that lists them. A layer without one is either being published or
rubbish, so whoever publishes holds the lock ``image``/``all`` shared, from the first look at a layer to the
record, and the sweep holds it alone.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock

from . import _core
from .claims import claimed
from .errors import Conflict, InUse, InvalidArgument, NotFound, StorageError
from .image_config import Record, parse_config
from .images import HOST, lookup, read_record, read_tag, record_path, resolve, tag_path
from .layers import Layer, syncing
from .locks import lock
from .references import Reference, is_id_prefix, parse
from .staging import staging, sweep
from .store import Store, sync_directory, write_atomic

#: The key in ``users`` of containers whose config.json says nothing.
UNREADABLE = "unreadable"


@contextmanager
def publishing(store: Store) -> Iterator[None]:
    """Hold off the sweep of layers while an image is made from them: load, import, commit, pull."""
    with lock(store, "image", "all", exclusive=False):
        yield


def put_blob(store: Store, data: bytes) -> str:
    """Keep a manifest or a configuration as it is; return its digest, ``sha256:<hex>``."""
    import hashlib

    name = hashlib.sha256(data).hexdigest()
    path = store.path("blobs", "sha256", name)
    if not os.path.exists(path):
        write_atomic(path, data, sync=syncing())
    return f"sha256:{name}"


def publish(store: Store, config: bytes, layers: Sequence[Layer], *, manifest: bytes | None = None) -> str:
    """Make an image of layers that are in the store (lowest first); return its id, ``sha256:<hex>``.

    ``config`` is the OCI configuration as bytes, the id is its digest. Order: blobs, then the record. Hold
    ``publishing`` since before the layers were looked for. Raises StorageError when both do not fit together.
    """
    checked = parse_config(config)
    if [layer.diff_id for layer in layers] != checked["diff_ids"]:
        raise StorageError("the configuration's diff ids are not those of the layers")
    image_id = put_blob(store, config)
    # An archive without a manifest does not take away the one that is known of the same image.
    digest = _known_digest(store, image_id) if manifest is None else put_blob(store, manifest)
    # overlayfs refuses one directory twice (ELOOP). The upper of two equal layers hides all of the lower one.
    topmost = list(dict.fromkeys(layer.diff_id for layer in reversed(layers)))
    record: Record = {
        "id": image_id,
        "layers": topmost,
        "config": checked["config"],
        "architecture": checked["architecture"],
        "os": checked["os"],
        "variant": checked["variant"],
        "created": checked["created"],
        "author": checked["author"],
        "size": sum(layer.size for layer in layers),
        "history": checked["history"],
        "digest": digest,
    }
    _write_record(store, record)
    return image_id


def _known_digest(store: Store, image_id: str) -> str | None:
    try:
        return read_record(store, image_id[7:])["digest"]
    except (NotFound, StorageError):
        return None


def tag(store: Store, reference: Reference, image_id: str) -> None:
    """Let a reference mean the image ``sha256:<hex>``. Raises InvalidArgument for a name nobody may take."""
    refuse_reserved(reference)
    write_atomic(tag_path(store, reference.full()), f"{image_id}\n".encode("ascii"), sync=syncing())


def refuse_reserved(reference: Reference) -> None:
    """Raise InvalidArgument for a name that no image of the store may have."""
    if reference.familiar() == f"{HOST}:latest":
        raise InvalidArgument(f"{HOST} is reserved: it means this machine's own root file system: take another name")
    # NAME_MAX is 255; a temporary name is the longest of all.
    if len(reference.full()) + 2 * reference.full().count("/") > 230:
        raise InvalidArgument(f"reference {reference.familiar()} is too long for a file name: shorten it")


def new_reference(text: str) -> Reference:
    """Return the reference to give to an image. Raises InvalidArgument when nobody could look it up."""
    reference = parse(text)
    if reference.digest is not None:
        raise InvalidArgument(f"reference {text}: a digest cannot be given to an image, it has one: write NAME:TAG")
    if text.startswith("sha256:"):
        raise InvalidArgument(f"reference {text}: that reads as an id: write NAME[:TAG]")
    refuse_reserved(reference)
    return reference


def tag_image(store: Store, source: str, target: str) -> None:
    """Give the image that ``source`` means one more name (docker tag)."""
    if source == HOST:
        raise InvalidArgument(f"{HOST} cannot be tagged: it is not in the store: tar the tree and hyrun import it")
    with publishing(store):
        image = lookup(store, source)
        tag(store, new_reference(target), image.id)


def records(store: Store) -> list[Record]:
    """Return the records of all images, the newest first."""
    found = []
    for name in _listed(store, "images", ".json"):
        try:
            found.append(read_record(store, name))
        except NotFound:
            continue  # removed since
    return sorted(found, key=lambda record: (record["created"], record["id"]), reverse=True)


def tags(store: Store) -> dict[str, list[Reference]]:
    """Return the references of all images by image id, sorted by name; a damaged tag is of no image."""
    found: dict[str, list[Reference]] = {}
    for name in sorted(_listed(store, "tags", "")):
        full = name.replace("%2F", "/").replace("%25", "%")
        try:
            image = read_tag(store, full)
        except StorageError:
            continue
        if image is not None:
            found.setdefault(f"sha256:{image}", []).append(parse(full))
    return found


def users(store: Store) -> dict[str, list[str]]:
    """Return the names of the containers, running or not, by the id of their image (or ``UNREADABLE``)."""
    found: dict[str, list[str]] = {}
    for name in _listed(store, "containers", ""):
        try:
            with open(store.path("containers", name, "config.json"), "rb") as file:
                config = json.load(file)
        except FileNotFoundError:
            continue  # being made (it asks Image.present afterwards), or being removed
        except (OSError, ValueError):
            found.setdefault(UNREADABLE, []).append(name)
            continue
        if isinstance(config, dict):
            shown = str(config.get("Name") or name[:12]).lstrip("/")
            found.setdefault(str(config.get("Image", "")), []).append(shown)
    return found


def remove(store: Store, text: str, *, force: bool = False) -> list[str]:
    """Remove a reference, and the image with its last one (docker rmi); return docker's lines.

    Raises NotFound; Conflict when ``text`` is an id and several names have it (``force`` removes all of
    them); InUse when a container, running or not, is made from it: ``force`` does not change that.
    """
    if text == HOST:
        raise InvalidArgument(f"{HOST} cannot be removed: it is this machine's own root file system")
    with lock(store, "image", "all"):
        try:
            name = resolve(store, text)
        except StorageError:
            return [_drop_tag(store, parse(text))]  # damaged: there is nothing behind it to look for
        image_id = f"sha256:{name}"
        references = tags(store).get(image_id, [])
        chosen = _chosen(store, text, name)
        if chosen is None:
            if len(references) > 1 and not force:
                listed = ", ".join(reference.familiar() for reference in references)
                raise Conflict(f"image {text} has several names: {listed}: remove those, or use --force")
            going = references
        else:
            going = [chosen]
        last = len(going) >= len(references)
        if last:
            _refuse_used(store, image_id, text)
            _drop_record(store, name, text)
        lines = [_drop_tag(store, reference) for reference in going]
        if syncing():
            sync_directory(store.path("tags"))
        if last:
            lines.append(f"Deleted: {image_id}")
            lines += [f"Deleted: sha256:{layer}" for layer in _sweep_layers(store)]
        return lines


def sweep_now(store: Store) -> None:
    """Remove what killed commands left behind, unless somebody is publishing at this moment."""
    descriptor = os.open(store.path("locks", "image-all"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
        sweep(store)
        _sweep_layers(store)
    except BlockingIOError:
        pass  # the next command finds it as well
    finally:
        os.close(descriptor)


def _chosen(store: Store, text: str, name: str) -> Reference | None:
    """Return the reference when ``text`` is one, and None when it is an id or the beginning of one."""
    prefix = text.removeprefix("sha256:")
    if len(prefix) == 64 and is_id_prefix(prefix):
        return None
    try:
        reference = parse(text)
    except InvalidArgument:
        return None
    return reference if read_tag(store, reference.full()) == name else None


def _refuse_used(store: Store, image_id: str, text: str) -> None:
    found = users(store)
    if unreadable := found.get(UNREADABLE):
        raise StorageError(f"container {unreadable[0]}: its config.json is damaged: hyrun rm {unreadable[0]} first")
    if names := found.get(image_id):
        listed = ", ".join(sorted(names))
        raise InUse(f"image {text} is used by container {listed}: hyrun rm that first")


def _drop_tag(store: Store, reference: Reference) -> str:
    _unlink_missing_ok(tag_path(store, reference.full()))
    return f"Untagged: {reference.familiar()}"


def _drop_record(store: Store, name: str, text: str) -> None:
    try:
        record = read_record(store, name)
    except (NotFound, StorageError):
        # Damaged, or gone with a removal that was killed before it came to the tag.
        _unlink_missing_ok(record_path(store, name))
        _unlink_missing_ok(store.path("blobs", "sha256", name))
        return
    os.unlink(record_path(store, name))
    try:
        # A container made since the first look has found the record gone, or is seen here: see Image.present.
        _refuse_used(store, record["id"], text)
    except BaseException:
        _write_record(store, record)
        raise
    for digest in (record["id"], record["digest"]):
        if digest is not None:
            _unlink_missing_ok(store.path("blobs", "sha256", digest[7:]))


def _write_record(store: Store, record: Record) -> None:
    write_atomic(record_path(store, record["id"][7:]), json.dumps(record).encode(), sync=syncing())


def _sweep_layers(store: Store) -> list[str]:
    """Remove layers that no record lists, and half-written files; hold the lock ``image``/``all`` alone."""
    for directory in ("images", "tags", "blobs/sha256"):
        for entry in os.listdir(store.path(directory)):
            if entry.startswith("."):
                _unlink_missing_ok(store.path(directory, entry))
    try:
        used = {layer for record in records(store) for layer in record["layers"]}
    except StorageError:
        # A damaged record does not say which layers are its own: they stay until it is cured.
        return []
    going = sorted(set(os.listdir(store.path("layers"))) - used - claimed(store))
    if not going:
        return []
    with staging(store) as directory:
        # By rename first: a layer is there whole or not at all, even if this process dies now.
        for name in going:
            os.rename(store.path("layers", name), os.path.join(directory, name))
        if syncing():
            sync_directory(store.path("layers"))
        for name in going:
            _core.remove_tree(os.path.join(directory, name))
    return going


def _listed(store: Store, directory: str, suffix: str) -> list[str]:
    try:
        names = os.listdir(store.path(directory))
    except FileNotFoundError:
        return []
    return [name.removesuffix(suffix) for name in names if name.endswith(suffix) and not name.startswith(".")]


def _unlink_missing_ok(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
