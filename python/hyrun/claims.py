"""Layers that somebody is about to make an image of, and that the sweep therefore leaves.

For work that takes long, such as a download: whoever removes an image should not have to wait for it. The claim
is a file in the staging directory of the work, so it goes with it, and with the sweep when its owner was killed.
"""

import os
from collections.abc import Iterable

from .store import Store

_FILE = "claim"


def claim(directory: str, diff_ids: Iterable[str]) -> None:
    """Keep layers (hexadecimal diff ids), found or made from now on, while the staging directory is there.

    Hold ``image_store.publishing`` for this call, so that no sweep has looked for claims already.
    """
    with open(os.path.join(directory, _FILE), "x", encoding="ascii") as file:
        file.write("\n".join(diff_ids))


def claimed(store: Store) -> set[str]:
    """Return the layers that are claimed; call it with the lock of the sweep."""
    found: set[str] = set()
    for name in os.listdir(store.path("tmp")):
        try:
            with open(store.path("tmp", name, _FILE), encoding="ascii") as file:
                found.update(file.read().split())
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found
