"""What `history` shows: how an image came about, the newest step first, with docker's fields."""

from __future__ import annotations

from typing import Any

from .images import HOST, read_record, resolve
from .lineage import parent
from .store import Store

_MISSING = "<missing>"


def rows(store: Store, text: str) -> list[dict[str, Any]]:
    """Return a row for each step of the image that ``text`` means; errors as ``images.lookup``.

    A row has ``Id`` (``<missing>`` for all but the newest, as in docker), ``Created`` (as in the configuration),
    ``CreatedBy``, ``Comment`` and ``Size`` (bytes of the step's layer). A layer that no step tells of has a row too.
    """
    if text == HOST:
        return []
    name = resolve(store, text)
    history = read_record(store, name)["history"]
    sizes = [layer.size for layer in parent(store, name).layers]
    found = []
    for step in history:
        size = 0 if step.get("empty_layer") or not sizes else sizes.pop(0)
        found.append(_row(step, size))
    found += [_row({}, size) for size in sizes]
    if found:
        found[-1]["Id"] = f"sha256:{name}"
    return found[::-1]


def _row(step: dict[str, object], size: int) -> dict[str, Any]:
    return {
        "Id": _MISSING,
        "Created": str(step.get("created", "")),
        "CreatedBy": str(step.get("created_by", "")),
        "Comment": str(step.get("comment", "")),
        "Size": size,
    }
