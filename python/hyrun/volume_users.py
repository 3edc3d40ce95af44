"""Which containers reference which volumes: read from their records, so nothing can disagree with them."""

from __future__ import annotations

import os

from ._core import parse_json
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def users(store: Store, *, ignore: str = "") -> dict[str, list[str]]:
    """Return volume name → ids of the containers that reference it, running or not, but ``ignore``."""
    found: dict[str, list[str]] = {}
    for identifier, names in references(store):
        for name in names if identifier != ignore else ():
            found.setdefault(name, []).append(identifier)
    return found


def references(store: Store, *, only: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the id of each container and the names of its volumes.

    ``only`` is a volume's name: a record that does not hold it anywhere is not parsed, and yields no name.
    Records that are missing or damaged (half made, or being removed) are left out.
    """
    for identifier in sorted(os.listdir(store.path("containers"))):
        mounts = read_object(_record(store, identifier), only=only.encode()).get("Mounts")
        names = [
            mount["Name"]
            for mount in (mounts if isinstance(mounts, list) else ())
            if isinstance(mount, dict) and mount.get("Type") == "volume" and isinstance(mount.get("Name"), str)
        ]
        yield identifier, list(dict.fromkeys(names))


def describe(store: Store, identifier: str) -> str:
    """Return how a message names a container: its name and 12 digits of its id."""
    name = read_object(_record(store, identifier)).get("Name")
    return f"{name.lstrip('/')} ({identifier[:12]})" if isinstance(name, str) and name else identifier[:12]


def read_object(path: str, *, only: bytes = b"") -> dict[str, Any]:
    """Return the JSON object in a file; empty when missing, damaged, or without the bytes ``only`` in it."""
    try:
        with open(path, "rb") as file:
            text = file.read()
        found = parse_json(text) if only in text else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _record(store: Store, identifier: str) -> str:
    return store.path("containers", identifier, "config.json")
