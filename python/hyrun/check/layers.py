"""Layers: every file against the manifest that was written when the layer was unpacked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from hyrun import _core, layers
from hyrun.errors import StorageError
from hyrun.garbage import unlink_missing_ok
from hyrun.image_users import layers_in_use
from hyrun.progress import Progress
from hyrun.store import Store, write_atomic
from hyrun.volume_users import read_object

from .blobs import damage_of_blob, digest_of
from .finding import Finding
from .images import Images

#: Names of one layer that a sentence lists.
_SHOWN = 3


def find(store: Store, images: Images, progress: Progress) -> Iterator[Finding]:
    """Yield what is wrong with the layers that images or containers refer to.

    Each layer is a part of ``progress``.
    """
    names: dict[str, list[str]] = {}
    for image, record in images.records.items():
        for layer in record["layers"]:
            names.setdefault(layer, []).extend(images.shown(image))
    used = layers_in_use(store) or {}
    every = sorted({*names, *used})
    for layer in every:
        progress.item(layer[:12], "Waiting", layers.find(store, layer).size)
    for layer in every:
        progress.item(layer[:12], "Checking")
        meter = _core.Meter()
        progress.follow(layer[:12], meter)
        finding = _check(store, layer, meter)
        progress.item(layer[:12], "Checked")
        if finding is not None:
            finding.images = sorted(set(names.get(layer, ())))
            finding.containers = [identifier[:12] for identifier in used.get(layer, ())]
            if finding.advice:
                named = [name for name in finding.images if not name.startswith("sha256:")]
                finding.advice = f"hyrun load -i ARCHIVE, or hyrun pull {named[0] if named else 'IMAGE'}"
            yield finding


def _check(store: Store, layer: str, meter: _core.Meter) -> Finding | None:
    problem = damage(store, layer, meter)
    if problem is None:
        return _check_figures(store, layer)
    if not os.path.lexists(store.path("layers", layer)):
        return Finding("layer-missing", f"sha256:{layer}", problem, advice="again")

    finding = Finding("layer-damaged", f"sha256:{layer}", problem, advice="again")

    def mend() -> str | None:
        if not os.path.lexists(store.path("layers", layer)) or damage(store, layer) is None:
            return None
        if _unpacked_again(store, layer):
            finding.advice = ""
            return "unpacked again from the bytes that the registry gave"
        layers.set_aside(store, layer)
        return "set aside"

    finding.mend = mend
    return finding


def _unpacked_again(store: Store, layer: str) -> bool:
    """Unpack a layer from its compressed bytes if those were kept and are whole; the diff id tells.

    OSError, of a full disk say, leaves the layer and those bytes for the next repair.
    """
    path = store.path("layers", layer, "blob")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        digest = f"sha256:{digest_of(path)}"
        layers.add(
            store,
            fd,
            offset=0,
            length=os.fstat(fd).st_size,
            diff_id=f"sha256:{layer}",
            digest=digest,
            keep=path,
            replace=True,
        )
    except StorageError:
        return False
    finally:
        os.close(fd)
    return True


def damage(store: Store, layer: str, meter: _core.Meter | None = None) -> str | None:
    """Return what is wrong with a layer (hexadecimal), None when every file of it is as it was unpacked."""
    directory = store.path("layers", layer)
    if not os.path.lexists(directory):
        return "is missing"
    if not os.path.isdir(os.path.join(directory, "diff")):
        return "has no files any more"
    try:
        verified = _core.verify_manifest(directory, layers.manifest_path(directory), meter=meter)
    except FileNotFoundError:
        return "has no manifest: nobody can tell what belongs in it"
    except (StorageError, OSError) as error:
        return f"cannot be checked: {error}"
    if not verified.count:
        return None
    # Names come from images: shown as what they are, not as what a terminal makes of them.
    shown = [
        f"{ascii(path.removeprefix('diff/'))[1:-1] or '/'}: {what}" for path, what in verified.differences[:_SHOWN]
    ]
    more = f", and {verified.count - len(shown)} more" if verified.count > len(shown) else ""
    return f"is damaged: {'; '.join(shown)}{more}"


def _check_figures(store: Store, layer: str) -> Finding | None:
    """Check what is beside the tree: layer.json (the manifest has its size as well), and the blob if it was kept."""
    directory = store.path("layers", layer)
    figures = read_object(os.path.join(directory, "layer.json"))
    size = _size_of(layers.manifest_path(directory))
    blob, digest = os.path.join(directory, "blob"), figures.get("digest")
    if digest is not None and os.path.exists(blob) and damage_of_blob(blob, str(digest)[7:]) is not None:

        def forget() -> str:
            _write_figures(directory, {"size": size})
            unlink_missing_ok(blob)
            return "kept bytes removed: a push compresses the layer anew"

        return Finding("layer-blob", f"sha256:{layer}", "the bytes kept for a push are damaged", mend=forget)
    if figures.get("size") == size:
        return None

    def write() -> str:
        known = {"digest": f"sha256:{digest_of(blob)}"} if os.path.exists(blob) else {}
        _write_figures(directory, {"size": size, **known})
        return "figures written again"

    return Finding("layer-figures", f"sha256:{layer}", "its layer.json is damaged or missing", mend=write)


def _write_figures(directory: str, figures: dict[str, object]) -> None:
    write_atomic(os.path.join(directory, "layer.json"), json.dumps(figures).encode(), sync=layers.syncing())


def _size_of(manifest: str) -> int:
    """Return the bytes of the plain tar, from the first line of a manifest that has been verified."""
    with open(manifest, "rb") as file:
        return int(file.readline().split()[-1])
