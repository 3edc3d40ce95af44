"""`hyrun container prune`: remove the containers that do not run."""

from __future__ import annotations

import os

from . import container_list, events
from .container_record import Record
from .store import Store
from .tree_size import disk_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def prune(store: Store, *, wanted: Callable[[Record], bool] = lambda record: True) -> list[tuple[str, int]]:
    """Remove the containers that have no owner and that ``wanted`` accepts; return id and bytes on disk of each.

    Their volumes stay, as with docker.
    """
    removed: list[tuple[str, int]] = []
    for record in container_list.list_all(store):
        if record.active or not wanted(record):
            continue
        size = disk_usage(f"{record.directory}/upper")
        descriptor = container_list.try_to_own(record)
        if descriptor is None:
            continue  # it was started meanwhile, or removed
        try:
            container_list.discard(store, record, volumes=False)
        finally:
            os.close(descriptor)
        removed.append((record.id, size))
    events.of_prune(store, "container", sum(size for _, size in removed))
    return removed
