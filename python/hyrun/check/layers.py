"""Layers: every file against the manifest that was written when the layer was unpacked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

from hyrun import _core, layers
from hyrun.errors import StorageError
from hyrun.image_users import layers_in_use
from hyrun.store import Store, write_atomic

from .finding import Finding
from .images import Images

#: Names of one layer that a sentence lists.
_SHOWN = 3


def find(store: Store, images: Images, advance: Callable[[int], None]) -> Iterator[Finding]:
    """Yield what is wrong with the layers that images or containers refer to.

    ``advance`` is called with the bytes of each layer's tar once it has been read.
    """
    names: dict[str, list[str]] = {}
    for image, record in images.records.items():
        for layer in record["layers"]:
            names.setdefault(layer, []).extend(images.shown(image))
    used = layers_in_use(store) or {}
    for layer in sorted({*names, *used}):
        finding = _check(store, layer)
        if finding is not None:
            finding.images = sorted(set(names.get(layer, ())))
            finding.containers = [identifier[:12] for identifier in used.get(layer, ())]
            if finding.advice:
                named = [name for name in finding.images if not name.startswith("sha256:")]
                finding.advice = f"hyrun load -i ARCHIVE, or hyrun pull {named[0] if named else 'IMAGE'}"
            yield finding
        advance(layers.find(store, layer).size)


def _check(store: Store, layer: str) -> Finding | None:
    problem = damage(store, layer)
    if problem is None:
        return _check_figures(store, layer)
    if not os.path.lexists(store.path("layers", layer)):
        return Finding("layer-missing", f"sha256:{layer}", problem, advice="again")

    def set_aside() -> str | None:
        if not os.path.lexists(store.path("layers", layer)) or damage(store, layer) is None:
            return None
        layers.set_aside(store, layer)
        return "set aside"

    return Finding("layer-damaged", f"sha256:{layer}", problem, mend=set_aside, advice="again")


def damage(store: Store, layer: str) -> str | None:
    """Return what is wrong with a layer (hexadecimal), None when every file of it is as it was unpacked."""
    directory = store.path("layers", layer)
    if not os.path.lexists(directory):
        return "is missing"
    if not os.path.isdir(os.path.join(directory, "diff")):
        return "has no files any more"
    try:
        verified = _core.verify_manifest(os.path.join(directory, "diff"), layers.manifest_path(directory))
    except FileNotFoundError:
        return "has no manifest: nobody can tell what belongs in it"
    except (StorageError, OSError) as error:
        return f"cannot be checked: {error}"
    if not verified.count:
        return None
    # Names come from images: shown as what they are, not as what a terminal makes of them.
    shown = [f"{ascii(path)[1:-1] or '/'}: {what}" for path, what in verified.differences[:_SHOWN]]
    more = f", and {verified.count - len(shown)} more" if verified.count > len(shown) else ""
    return f"is damaged: {'; '.join(shown)}{more}"


def _check_figures(store: Store, layer: str) -> Finding | None:
    """`images` shows the size from layer.json; the manifest has it as well."""
    directory = store.path("layers", layer)
    verified_size = _size_of(layers.manifest_path(directory))
    if layers.find(store, layer).size == verified_size:
        return None

    def write() -> str:
        path = os.path.join(directory, "layer.json")
        write_atomic(path, json.dumps({"size": verified_size}).encode(), sync=layers.syncing())
        return "figure written again"

    return Finding("layer-figures", f"sha256:{layer}", "its layer.json is damaged or missing", mend=write)


def _size_of(manifest: str) -> int:
    """Return the bytes of the plain tar, from the first line of a manifest that has been verified."""
    with open(manifest, "rb") as file:
        return int(file.readline().split()[-1])
