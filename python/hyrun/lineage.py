"""What a container or an image stands on: its parent's configuration, its layers, a directory of this machine."""

from __future__ import annotations

from typing import Any, NamedTuple

from .documents import parse_object
from .errors import InvalidArgument, StorageError
from .image_config import parse_config
from .images import HOST, read_record
from .layers import Layer, find
from .platforms import machine
from .store import Store


class Parent(NamedTuple):
    """An image as the beginning of another one. ``layers`` are lowest first; ``base`` is "" for a whole image."""

    document: dict[str, Any]
    layers: list[Layer]
    base: str


def parent_of(store: Store, config: dict[str, Any]) -> Parent:
    """Return what the container with that record was made from. StorageError when it is damaged."""
    image = config.get("Image") or ""
    if image.startswith("sha256:"):
        return parent(store, image[7:])
    layers = config.get("Layers") or []
    if image != HOST and not layers:
        raise StorageError(f"container {config.get('Name')}: its record does not say what it was made from")
    base = "/" if image == HOST else layers[0]
    return Parent({"architecture": machine(), "os": "linux"}, [], base)


def parent(store: Store, name: str) -> Parent:
    """Return the image ``name`` (hexadecimal id). Raises NotFound, StorageError."""
    base = read_record(store, name).get("base", "")
    data = read_config(store, name)
    return Parent(
        parse_object(data, "image configuration"), [find(store, item) for item in parse_config(data)["diff_ids"]], base
    )


def read_config(store: Store, name: str) -> bytes:
    """Return the configuration of the image ``name`` (hexadecimal id), byte for byte. Raises StorageError."""
    try:
        with open(store.path("blobs", "sha256", name), "rb") as file:
            return file.read()
    except OSError as error:
        raise StorageError(
            f"image sha256:{name}: its configuration: {error.strerror}: hyrun load the image again"
        ) from None


def refuse_unportable(base: str, what: str, instead: str) -> None:
    """Raise InvalidArgument for what is not whole without a directory of this machine."""
    if base:
        root = "this machine's own root file system" if base == "/" else f"the directory {base}"
        raise InvalidArgument(f"{what} stands on {root}, which is in no layer: {instead}")
