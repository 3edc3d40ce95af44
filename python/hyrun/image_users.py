"""Which containers use which images and layers: read from their records, so nothing can disagree with them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from . import records
from .container_directory import try_lock
from .store import Store

#: The key in ``users`` of containers whose config.json says nothing.
UNREADABLE = "unreadable"
#: How long a record may be half written by a container that is being made, in seconds.
_PATIENCE = 2.0


def users(store: Store) -> dict[str, list[str]]:
    """Return the names of the containers, running or not, by the id of their image (or ``UNREADABLE``)."""
    found: dict[str, list[str]] = {}
    for identifier, config in configs(store):
        if config is None:
            found.setdefault(UNREADABLE, []).append(identifier)
        else:
            shown = str(config.get("Name") or identifier[:12]).lstrip("/")
            found.setdefault(str(config.get("Image", "")), []).append(shown)
    return found


def layers_in_use(store: Store) -> dict[str, list[str]] | None:
    """Return the ids of the containers by the layers (hexadecimal) that they name; None when one says nothing."""
    found: dict[str, list[str]] = {}
    for identifier, config in configs(store):
        if config is None:
            return None
        for name in layers_of(store, config):
            found.setdefault(name, []).append(identifier)
    return found


def layers_of(store: Store, config: dict[str, Any]) -> list[str]:
    """Return the layers of the store (hexadecimal) that a container's record names, topmost first."""
    prefix = store.path("layers", "")
    listed = config.get("Layers")
    paths = [path for path in (listed if isinstance(listed, list) else ()) if isinstance(path, str)]
    return [path[len(prefix) :].partition("/")[0] for path in paths if path.startswith(prefix)]


def configs(store: Store) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield the id and the record of each container; None for a record that cannot be read.

    A container without record is left out: it is being made (it asks ``Image.present`` afterwards), or removed.
    """
    try:
        names = os.listdir(store.path("containers"))
    except FileNotFoundError:
        return
    for name in names:
        config = read_config(store, name)
        if config is not None or os.path.exists(store.path("containers", name, "config.json")):
            yield name, config


def read_config(store: Store, identifier: str) -> dict[str, Any] | None:
    """Return the record of a container, waiting while its owner is writing it; None when missing or damaged."""
    directory = store.path("containers", identifier)
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            config = records.read(f"{directory}/config.json")
        except OSError:
            return None
        if config is not None or not os.path.exists(f"{directory}/config.json"):
            return config
        if time.monotonic() > end or not _is_owned(directory):
            # Once more: it may have been finished between the two looks.
            return records.read(f"{directory}/config.json")
        time.sleep(0.002)


def _is_owned(directory: str) -> bool:
    try:
        descriptor = try_lock(directory)
    except OSError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
