"""`hyrun export` and `hyrun diff`: a container's whole root file system as a tar, and what it has changed."""

from __future__ import annotations

import os

from . import _core
from .container_list import Record
from .container_size import of_image, written
from .lineage import parent_of, refuse_unportable
from .progress import Progress
from .store import Store

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def export(store: Store, record: Record, target: int, *, progress: Progress | None = None) -> _core.Packed:
    """Write the merged root file system of a container, running or not, to a descriptor as a tar.

    Data of volumes is not in it. It is read through a read-only overlay that is mounted nowhere. The container is the
    one part of ``progress``. Raises InvalidArgument for a container whose root is this machine's.
    """
    base = parent_of(store, record.config).base
    refuse_unportable(base, f"container {record.name}", "tar that tree with what you need of it")
    root = _core.open_root([f"{record.directory}/upper", *record.config["Layers"]])
    try:
        meter = _core.Meter()
        shown = progress or Progress()
        # What hides something of the image makes this too much.
        shown.item(record.name, "Exporting", lambda: written(record) + of_image(store, record))
        shown.follow(record.name, meter)
        return _core.pack_layer(root, target, whiteouts=False, meter=meter)
    finally:
        os.close(root)


def diff(record: Record) -> list[tuple[str, str]]:
    """Return what a container has changed: ``A``, ``C`` or ``D``, and the path (docker diff)."""
    upper = os.open(f"{record.directory}/upper", _DIRECTORY)
    try:
        return _core.tree_changes(upper, record.config["Layers"])
    finally:
        os.close(upper)
