"""Images beside each other: as a tree of the layers they share, and file by file."""

from __future__ import annotations

import os
from typing import Any

from . import _core, layers
from .errors import InvalidArgument
from .image_inspect import shown_names
from .image_store import readable_records, tags
from .images import HOST, lookup
from .store import Store


class Node:
    """A layer on top of those above it in the tree; ``images`` are the names of those whose topmost it is."""

    def __init__(self, layer: str, size: int) -> None:
        self.layer = layer
        self.size = size
        self.images: list[str] = []
        self.children: dict[str, Node] = {}

    def view(self) -> dict[str, Any]:
        """Return it for ``--format json``."""
        return {
            "Layer": f"sha256:{self.layer}",
            "Size": self.size,
            "Images": self.images,
            "Children": [child.view() for child in self.children.values()],
        }


def tree(store: Store) -> list[Node]:
    """Return the lowest layers of all images, each with what stands on it; sizes are bytes of the plain tars."""
    top = Node("", 0)
    named = tags(store)
    for record in reversed(readable_records(store)[0]):
        node = top
        for layer in reversed(record["layers"]):
            if layer not in node.children:
                node.children[layer] = Node(layer, layers.find(store, layer).size)
            node = node.children[layer]
        node.images += [reference.familiar() for reference in shown_names(named.get(record["id"], []))] or [
            record["id"][:19]
        ]
    return list(top.children.values())


def compare(store: Store, old: str, new: str) -> list[tuple[str, str]]:
    """Return what differs from the image ``old`` to the image ``new``: ``A``, ``C`` or ``D``, and the path.

    Sorted by path; contents, types, modes, owners and xattrs count, times do not. Errors as ``images.lookup``.
    """
    if HOST in (old, new):
        raise InvalidArgument(
            f"{HOST} cannot be compared: it changes while one looks; tar the tree and hyrun import it"
        )
    one, other = lookup(store, old), lookup(store, new)
    left = _core.open_root(one.own_layers(store))
    try:
        right = _core.open_root(other.own_layers(store))
        try:
            return [(kind, f"/{path}") for kind, path in _core.compare_trees(left, right)]
        finally:
            os.close(right)
    finally:
        os.close(left)
