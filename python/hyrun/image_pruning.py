"""`image prune`: remove the images that no container uses, and the layers that go with them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from . import events, garbage, layers, moments
from .container_record import Record
from .errors import InUse
from .filters import match_labels
from .image_list import created, is_dangling, until
from .image_store import drop_image, readable_records, recording, sync_names, tags, users
from .locks import lock
from .registry import partial
from .staging import Trash, sweep
from .store import Store

#: What `prune --filter` knows, as docker.
FILTERS = frozenset(("label", "label!", "until"))


class Pruned(NamedTuple):
    """What went: lines as docker prints them, and the bytes that are free now."""

    lines: list[str]
    size: int


class Wanted:
    """The conditions of ``--filter`` (``filters.parse`` with ``FILTERS``): all of them must hold."""

    def __init__(self, filters: Mapping[str, Sequence[str]]) -> None:
        self._labels = filters.get("label", ())
        self._without = filters.get("label!", ())
        self._limit = min((until(value) for value in filters.get("until", ())), default=None)

    def labels(self, found: Mapping[str, str] | None) -> bool:
        """Tell whether the labels of an object pass."""
        return match_labels(found, self._labels) and not any(match_labels(found, [text]) for text in self._without)

    def container(self, record: Record) -> bool:
        """Tell whether a container passes."""
        labels = record.config.get("Labels")
        return self.labels(labels if isinstance(labels, dict) else None) and self.age(record.created)

    def age(self, moment: int) -> bool:
        """Tell whether something made at that moment (nanoseconds since 1970) is old enough."""
        return self._limit is None or moment < self._limit


def prune_images(store: Store, wanted: Wanted, *, everything: bool) -> Pruned:
    """Remove the images without a tag (``everything``: all) that no container uses, and all garbage.

    What interrupted pulls have left goes as well, as far as ``wanted`` asks for no label and they are old enough. Waits
    until nobody loads or pulls: what has no name yet is about to get one.
    """
    sweep(store)
    lines: list[str] = []
    with ExitStack() as stack:
        trash = stack.enter_context(Trash(store))
        with lock(store, "image", "all"), recording(store):
            named, used = tags(store), users(store)
            for record in readable_records(store)[0]:
                image_id, references = record["id"], named.get(record["id"], [])
                if not (everything or is_dangling(references)) or image_id in used:
                    continue
                if not wanted.labels(record["config"].get("Labels")) or not wanted.age(created(record)):
                    continue
                try:
                    gone = drop_image(store, image_id[7:], image_id, references)
                except InUse:
                    continue  # a container came
                lines += [f"{line[0].lower()}{line[1:]}" for line in gone]
            sync_names(store)
            sizes = {name: layers.find(store, name).size for name in os.listdir(store.path("layers"))}
            going = garbage.move_away(store, trash.take)
    freed = sum(sizes[name] for name in going)
    freed += partial.prune(store, lambda age: wanted.labels(None) and wanted.age(_ago(age)))
    events.of_prune(store, "image", freed)
    return Pruned([*lines, *(f"deleted: sha256:{name}" for name in going)], freed)


def _ago(seconds: float) -> int:
    return time.time_ns() - int(seconds * moments.SECOND)
