"""Which image a name means. The hot path of `run`: it imports next to nothing and scans nothing."""

from __future__ import annotations

import os

from .errors import ImageNotFound, InvalidArgument, NotFound, StorageError
from .references import is_id_prefix, parse
from .store import Store

TYPE_CHECKING = False  # typing costs 5 ms to import; type checkers know this name
if TYPE_CHECKING:
    from .image_config import Config, Record

#: The word that means this machine's own root file system as an image.
HOST = "host"
#: What docker gives a container whose image sets none (moby, oci/defaults.go).
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: What is in a record, as `image_store.make_record` writes it.
_MEMBERS = (
    ("layers", list),
    ("config", dict),
    ("architecture", str),
    ("os", str),
    ("variant", str),
    ("created", str),
    ("author", str),
    ("size", int),
    ("history", list),
    ("digest", (str, type(None))),
)


class Image:
    """What `run` needs of an image.

    ``id`` is ``sha256:<hex>`` (or ``host``); ``layers`` are diff ids in hexadecimal, topmost first;
    ``config`` is the ``config`` object of the OCI image configuration, type-checked when the image was
    published. ``base`` is a directory of this machine below all layers, "" for an image that is whole without one.
    """

    __slots__ = ("base", "config", "id", "layers")

    def __init__(self, image_id: str, layers: list[str], config: Config, base: str = "") -> None:
        self.id = image_id
        self.layers = layers
        self.config = config
        self.base = base

    def lowerdirs(self, store: Store) -> list[str]:
        """Return the absolute paths of the layers, topmost first, as overlayfs wants them."""
        own = self.own_layers(store)
        return [*own, *store.mount_points(self.base)]

    def own_layers(self, store: Store) -> list[str]:
        """Return the paths of what is the image's alone: where its accounts and its volumes' content are."""
        layers = [f"{store.root}/layers/{layer}/diff" for layer in self.layers]
        return [*layers, self.base] if self.base else layers

    def present(self, store: Store) -> bool:
        """Tell whether the image is still there.

        Who refers to an image (a container's config.json) asks this *after* writing the reference: removal
        first takes the record away and then looks for references, so one of the two always sees the other.
        """
        return self.id == HOST or os.path.exists(record_path(store, self.id[7:]))


def lookup(store: Store, text: str) -> Image:
    """Return the image that ``text`` means.

    It is ``host``, a full id, a reference, or the unique beginning of an id, tried in this order. The order
    is docker's. Raises NotFound, InvalidArgument (no reference at all, or the beginning of several ids) and
    StorageError (a damaged record).
    """
    if text == HOST:
        return Image(HOST, [], host_config(), "/")
    record = read_record(store, resolve(store, text))
    return Image(record["id"], record["layers"], record["config"], record.get("base", ""))


def host_config() -> Config:
    """Return the configuration of an image that is a directory of the host."""
    return {"Env": [DEFAULT_PATH], "Cmd": ["/bin/sh"]}


def resolve(store: Store, text: str) -> str:
    """Return the id in hexadecimal that ``text`` means; errors as in ``lookup``. ``host`` has none."""
    prefix = text.removeprefix("sha256:")
    hexadecimal = is_id_prefix(text)
    if len(prefix) == 64 and hexadecimal:
        if os.path.exists(record_path(store, prefix)):
            return prefix
        # What `images --digests` shows is accepted as well: the digest of a manifest.
        if (found := _with_digest(store, f"sha256:{prefix}")) is not None:
            return found
        raise NotFound(f"no image {text} here: hyrun images lists what there is")
    try:
        reference = parse(text)
    except InvalidArgument:
        if not hexadecimal:
            raise
        reference = None
    if reference is not None:
        if reference.digest is None:
            found = read_tag(store, reference.full())
        else:
            found = read_tag(store, reference.pinned().full()) or _with_digest(store, reference.digest)
        if found is not None:
            return found
    if hexadecimal:
        matches = _with_prefix(store, prefix)
        if len(matches) == 1:
            return matches[0]
        if matches:
            listed = ", ".join(f"sha256:{name[:24]}" for name in matches)
            raise InvalidArgument(f"image {text} is ambiguous: {listed}: write more digits")
    if reference is None or text.startswith("sha256:"):
        raise NotFound(f"no image {text} here: hyrun images lists what there is")
    name = reference.familiar()
    raise ImageNotFound(f"no image {name} here: hyrun pull, load or import it first")


def record_path(store: Store, name: str) -> str:
    """Return the path of the record of the image with the id ``name`` (hexadecimal)."""
    return f"{store.root}/images/{name}.json"


def tag_path(store: Store, full: str) -> str:
    """Return the path of the file that says which image the full reference means."""
    return f"{store.root}/tags/{full.replace('%', '%25').replace('/', '%2F')}"


def full_name(file: str) -> str:
    """Return the full reference that the name of such a file stands for."""
    return file.replace("%2F", "/").replace("%25", "%")


def read_tag(store: Store, full: str) -> str | None:
    """Return the id in hexadecimal that a full reference means, or None."""
    try:
        with open(tag_path(store, full), "rb") as file:
            content = file.read(80).decode("ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"tag {full}: {error.strerror}") from None
    except UnicodeDecodeError:
        content = ""
    name = content.removeprefix("sha256:")
    if len(name) != 64 or not is_id_prefix(name):
        raise StorageError(f"tag {full} is damaged: load the image again, or hyrun rmi {full}")
    return name


def read_record(store: Store, name: str) -> Record:
    """Return the record of the image ``name`` (hexadecimal id), as it was checked when it was written."""
    from ._core import parse_json

    what = f"record of image sha256:{name}"
    try:
        with open(record_path(store, name), "rb", buffering=0) as file:
            record: Record | None = parse_json(file.read())
    except FileNotFoundError:
        raise NotFound(f"no image sha256:{name} here: it was removed; hyrun load it again") from None
    except OSError as error:
        raise StorageError(f"{what}: {error.strerror}") from None
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("id") != f"sha256:{name}" or not _is_whole(record):
        raise StorageError(f"{what} is damaged: hyrun system check --repair, or load the image again")
    return record


def _is_whole(record: Record) -> bool:
    """Tell whether a record has all its members, of the types that those have (`image_store.make_record`)."""
    return all(isinstance(record.get(member), kinds) for member, kinds in _MEMBERS)


def _with_digest(store: Store, digest: str) -> str | None:
    """Return the id of the image whose manifest, or index, has that digest: it says more than the name before it."""
    for file in store.files("tags"):
        if file.endswith(f"@{digest}") and (found := read_tag(store, full_name(file))):
            return found
    for name in _with_prefix(store, ""):
        try:
            if read_record(store, name)["digest"] == digest:
                return name
        except (NotFound, StorageError):
            continue  # removed since, or damaged: it is not the one that is asked for, or nobody can tell
    return None


def _with_prefix(store: Store, prefix: str) -> list[str]:
    return sorted(name[:-5] for name in store.files("images") if name.startswith(prefix) and len(name) == 69)
