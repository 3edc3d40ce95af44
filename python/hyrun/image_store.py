"""Images in the store: publishing, naming and removing them.

What keeps layers alive is a record that lists them. A layer without one is either being published or rubbish
(``garbage``), so whoever publishes holds the lock ``image``/``all`` shared, from the first look at a layer to the
last tag. Records and tags themselves change under ``image``/``records``, which nobody holds for longer than it takes
to write a few small files: a removal does not wait for somebody else's download.
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from . import events
from .errors import Conflict, InUse, InvalidArgument, NotFound, StorageError
from .garbage import REMOVING, collect, sweep_now, unlink_missing_ok
from .image_config import ImageConfig, Record, parse_config
from .image_users import UNREADABLE, users
from .images import HOST, full_name, lookup, read_record, read_tag, record_path, resolve, tag_path
from .layers import Layer, syncing
from .locks import lock
from .references import Reference, is_id_prefix, parse
from .store import Store, sync_directory, write_atomic

__all__ = [
    "UNREADABLE",
    "new_reference",
    "publish",
    "publishing",
    "put_blob",
    "recording",
    "records",
    "refuse_reserved",
    "remove",
    "sweep_now",
    "tag",
    "tag_digest",
    "tag_image",
    "tags",
    "users",
]

#: How long a removal waits for another sweep before it leaves its own layers to the next one, in seconds.
_SWEEP_PATIENCE = 0.5


@contextmanager
def publishing(store: Store) -> Iterator[None]:
    """Hold off the sweep of layers while an image is made from them: load, import, commit, pull."""
    store.make_directories()  # whichever somebody removed
    with lock(store, "image", "all", exclusive=False):
        yield


class _Held(threading.local):
    """The stores whose records this thread is changing."""

    def __init__(self) -> None:
        self.roots: set[str] = set()


_held = _Held()


@contextmanager
def recording(store: Store) -> Iterator[None]:
    """Change records and tags; several changes inside of one such block are one for everybody else."""
    if store.root in _held.roots:
        yield
        return
    with lock(store, "image", "records"):
        _held.roots.add(store.root)
        try:
            yield
        finally:
            _held.roots.discard(store.root)


def put_blob(store: Store, data: bytes) -> str:
    """Keep a manifest or a configuration as it is; return its digest, ``sha256:<hex>``."""
    import hashlib

    name = hashlib.sha256(data).hexdigest()
    path = store.path("blobs", "sha256", name)
    try:
        with open(path, "rb") as file:
            whole = file.read(len(data) + 1) == data
    except OSError:
        whole = False
    # One that is damaged is mended by whoever brings the image again.
    if not whole:
        write_atomic(path, data, sync=syncing())
    return f"sha256:{name}"


def publish(
    store: Store, config: bytes, layers: Sequence[Layer], *, manifest: bytes | None = None, base: str = ""
) -> str:
    """Make an image of layers that are in the store (lowest first); return its id, ``sha256:<hex>``.

    ``config`` is the OCI configuration as bytes, the id is its digest. Order: blobs, then the record. Hold
    ``publishing`` since before the layers were looked for. Raises StorageError when both do not fit together.
    ``base`` is the caller's own word, never an archive's: whoever runs the image sees that directory.
    """
    checked = parse_config(config)
    if [layer.diff_id for layer in layers] != checked["diff_ids"]:
        raise StorageError("the configuration's diff ids are not those of the layers")
    # overlayfs refuses one directory twice (ELOOP). The upper of two equal layers hides all of the lower one.
    topmost = list(dict.fromkeys(layer.diff_id for layer in reversed(layers)))
    with recording(store):
        image_id = put_blob(store, config)
        # An archive without a manifest does not take away the one that is known of the same image.
        digest = _known_digest(store, image_id) if manifest is None else put_blob(store, manifest)
        record = make_record(image_id, checked, topmost, sum(layer.size for layer in layers), digest)
        if base:
            record["base"] = base
        _write_record(store, record)
    return image_id


def _known_digest(store: Store, image_id: str) -> str | None:
    try:
        return read_record(store, image_id[7:])["digest"]
    except (NotFound, StorageError, KeyError):
        return None


def make_record(image_id: str, checked: ImageConfig, layers: list[str], size: int, digest: str | None) -> Record:
    """Return the record of an image; ``layers`` are topmost first, ``size`` is in bytes of their plain tars."""
    return {
        "id": image_id,
        "layers": layers,
        "config": checked["config"],
        "architecture": checked["architecture"],
        "os": checked["os"],
        "variant": checked["variant"],
        "created": checked["created"],
        "author": checked["author"],
        "size": size,
        "history": checked["history"],
        "digest": digest,
    }


def tag(store: Store, reference: Reference, image_id: str) -> None:
    """Let a reference mean the image ``sha256:<hex>``.

    Raises InvalidArgument for a name nobody may take, NotFound when the image was removed meanwhile.
    """
    refuse_reserved(reference)
    with recording(store):
        if not os.path.exists(record_path(store, image_id[7:])):
            raise NotFound(f"no image {image_id} here: it was removed just now; try again")
        write_atomic(tag_path(store, reference.full()), f"{image_id}\n".encode("ascii"), sync=syncing())


def tag_digest(store: Store, reference: Reference, digest: str, image_id: str) -> None:
    """Let ``NAME@digest`` mean the image as well: by that digest the registry of ``reference`` knows it.

    It may be the digest of an index, which nothing else here tells. A name that is too long for a file goes without.
    Raises NotFound when the image was removed meanwhile.
    """
    pinned = Reference(reference.domain, reference.path, None, digest)
    if _fits(pinned):
        tag(store, pinned, image_id)


def refuse_reserved(reference: Reference) -> None:
    """Raise InvalidArgument for a name that no image of the store may have."""
    if reference.familiar() == f"{HOST}:latest":
        raise InvalidArgument(f"{HOST} is reserved: it means this machine's own root file system: take another name")
    if not _fits(reference):
        raise InvalidArgument(f"reference {reference.familiar()} is too long for a file name: shorten it")


def _fits(reference: Reference) -> bool:
    # NAME_MAX is 255; a temporary name is the longest of all.
    return len(reference.full()) + 2 * reference.full().count("/") <= 230


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
    with recording(store):
        image = lookup(store, source)
        reference = new_reference(target)
        tag(store, reference, image.id)
    events.of_image(store, "tag", image.id, reference.familiar(), image.config.get("Labels"))


def records(store: Store) -> list[Record]:
    """Return the records of all images, the newest first; StorageError when one is damaged."""
    found, damaged = readable_records(store)
    if damaged:
        raise damaged[0]
    return found


def readable_records(store: Store) -> tuple[list[Record], list[StorageError]]:
    """Return the records of all images that can be read, the newest first, and what is wrong with the others."""
    found, damaged = [], []
    for name in _listed(store, "images", ".json"):
        try:
            found.append(read_record(store, name))
        except NotFound:
            continue  # removed since
        except StorageError as error:
            damaged.append(error)
    return sorted(found, key=lambda record: (record["created"], record["id"]), reverse=True), damaged


def tags(store: Store) -> dict[str, list[Reference]]:
    """Return the references of all images by image id, sorted by name; a damaged tag is of no image."""
    found: dict[str, list[Reference]] = {}
    for name in sorted(_listed(store, "tags", "")):
        full = full_name(name)
        try:
            reference, image = parse(full), read_tag(store, full)
        except (InvalidArgument, StorageError):
            continue
        if image is not None:
            found.setdefault(f"sha256:{image}", []).append(reference)
    return found


def remove(store: Store, text: str, *, force: bool = False) -> list[str]:
    """Remove a reference, and the image with its last one (docker rmi); return docker's lines.

    ``NAME@DIGEST`` is a reference of its own; those of a repository go with its last tag.

    Raises NotFound; Conflict when ``text`` is an id, or a digest of no reference, and the image has names that have to
    be said (``force`` removes all of them); InUse when a container, running or not, is made from it: ``force`` does not
    change that.
    """
    if text == HOST:
        raise InvalidArgument(f"{HOST} cannot be removed: it is this machine's own root file system")
    with recording(store):
        lines, deleted = _remove(store, text, force=force)
    if deleted:
        lines += [f"Deleted: sha256:{layer}" for layer in _collect(store)]
    return lines


def _remove(store: Store, text: str, *, force: bool) -> tuple[list[str], bool]:
    """Remove names and the record; return docker's lines, and whether the image itself is gone."""
    try:
        name = resolve(store, text)
    except StorageError:
        return [drop_tag(store, parse(text), "")], False  # damaged: there is nothing behind it to look for
    image_id = f"sha256:{name}"
    references = tags(store).get(image_id, [])
    chosen = _chosen(store, text, name)
    if chosen is None:
        if not force and (("@" in text and references) or not _single(references)):
            listed = ", ".join(reference.familiar() for reference in references)
            names, those = ("the name", "that") if len(references) == 1 else ("several names", "those")
            raise Conflict(f"image {text} has {names}: {listed}: remove {those}, or use --force")
        going = references
    else:
        same = [each for each in references if each.name() == chosen.name() and each != chosen]
        with_it = chosen.tag is not None and all(each.tag is None for each in same)
        going = [chosen, *same] if with_it else [chosen]
    last = len(going) >= len(references)
    lines = (
        drop_image(store, name, text, going) if last else [drop_tag(store, reference, image_id) for reference in going]
    )
    sync_names(store)
    return lines, last


def _collect(store: Store) -> list[str]:
    """Sweep; somebody else's sweep is waited for, somebody's download is not."""
    end = time.monotonic() + _SWEEP_PATIENCE
    while (going := collect(store)) is None and time.monotonic() < end:
        time.sleep(0.01)
    return going or []


def _chosen(store: Store, text: str, name: str) -> Reference | None:
    """Return the reference when ``text`` is one, and None when it is an id or the beginning of one."""
    prefix = text.removeprefix("sha256:")
    if len(prefix) == 64 and is_id_prefix(prefix):
        return None
    try:
        reference = parse(text)
    except InvalidArgument:
        return None
    pinned = reference.pinned()
    return pinned if read_tag(store, pinned.full()) == name else None


def _single(references: Sequence[Reference]) -> bool:
    """Tell whether an image is called one thing only, as docker sees it: one repository, and one tag of it at most."""
    return len({each.name() for each in references}) <= 1 and sum(each.tag is not None for each in references) <= 1


def _refuse_used(store: Store, image_id: str, text: str) -> None:
    found = users(store)
    if unreadable := found.get(UNREADABLE):
        raise StorageError(f"container {unreadable[0]}: its config.json is damaged: hyrun rm {unreadable[0]} first")
    if names := found.get(image_id):
        listed = ", ".join(sorted(names))
        raise InUse(f"image {text} is used by container {listed}: hyrun rm that first")


def drop_tag(store: Store, reference: Reference, image_id: str, labels: Mapping[str, str] | None = None) -> str:
    """Remove a name; return docker's line. Hold ``recording``. ``image_id`` is what it meant, "" if nobody knows."""
    unlink_missing_ok(tag_path(store, reference.full()))
    events.of_image(store, "untag", image_id, reference.familiar(), labels)
    return f"Untagged: {reference.familiar()}"


def drop_image(store: Store, name: str, text: str, references: Sequence[Reference]) -> list[str]:
    """Remove the image ``name`` (hexadecimal) with its names, unless a container uses it: InUse. Return docker's lines.

    ``text`` is how the caller calls it. Hold ``recording``; nothing here needs room on the disk. The record is
    hidden first: from then on the image is gone, and should this process be killed, ``garbage.finish_removals``
    does the rest. The caller syncs (``sync_names``) before layers go: a power cut must not leave a record without
    them.
    """
    _refuse_used(store, f"sha256:{name}", text)
    digest, labels = None, None
    try:
        record = read_record(store, name)
        digest, labels = record["digest"], record["config"].get("Labels")
    except (NotFound, StorageError):
        pass  # damaged, or missing
    hidden = store.path("images", f".{name}{REMOVING}")
    try:
        os.rename(record_path(store, name), hidden)
    except FileNotFoundError:
        pass
    try:
        # A container made since the first look has found the record gone, or is seen here: see Image.present.
        _refuse_used(store, f"sha256:{name}", text)
    except BaseException:
        if os.path.exists(hidden):
            os.rename(hidden, record_path(store, name))
        raise
    lines = [drop_tag(store, reference, f"sha256:{name}", labels) for reference in references]
    unlink_missing_ok(hidden)
    for blob in (f"sha256:{name}", digest):
        if blob is not None:
            unlink_missing_ok(store.path("blobs", "sha256", blob[7:]))
    events.of_image(store, "delete", f"sha256:{name}", f"sha256:{name}", labels)
    return [*lines, f"Deleted: sha256:{name}"]


def sync_names(store: Store) -> None:
    """Make durable that records and tags are gone."""
    if syncing():
        sync_directory(store.path("images"))
        sync_directory(store.path("tags"))


def _write_record(store: Store, record: Record) -> None:
    write_atomic(record_path(store, record["id"][7:]), json.dumps(record).encode(), sync=syncing())


def _listed(store: Store, directory: str, suffix: str) -> list[str]:
    names = store.files(directory)
    return [name.removesuffix(suffix) for name in names if name.endswith(suffix) and not name.startswith(".")]
