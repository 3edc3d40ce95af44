"""The layers of an archive into the store, several at once."""

import os
from collections.abc import Sequence

from hyrun import _core
from hyrun.layers import Layer, add, find, present, sound
from hyrun.progress import Progress
from hyrun.store import Store

from .found import FoundLayer

#: Stored bytes from which on a layer is worth a thread.
_LARGE = 1 << 20
#: Layers at once: each has a few threads of its own, and 17 MiB of buffers.
_AT_ONCE = 4


def unpack(store: Store, layers: Sequence[FoundLayer], progress: Progress) -> dict[str, Layer]:
    """Add all layers to the store and return them by diff id, up to four at once, no more than there are cores.

    Equal layers are unpacked once. Each layer is a part of ``progress``, by its bytes in the archive. The first error
    (or what a signal handler raises) ends the others and is raised when they have ended; what they had begun is removed
    then. Hold ``image_store.publishing``.
    """
    wanted = {layer.diff_id: layer for layer in layers}
    for layer in wanted.values():
        progress.item(_shown(layer), "Waiting", layer.member.length)
    # The largest first: then no long one begins when all others are done.
    todo = sorted(wanted.values(), key=lambda layer: -layer.member.length)
    count = min(sum(layer.member.length >= _LARGE for layer in todo), len(os.sched_getaffinity(0)), _AT_ONCE)
    if count > 1:
        return _unpack_in_threads(store, todo, count, progress)
    return {layer.diff_id: _add(store, layer, None, progress) for layer in todo}


def _unpack_in_threads(store: Store, todo: list[FoundLayer], count: int, progress: Progress) -> dict[str, Layer]:
    # Takes longer to import than a small image takes to load.
    from concurrent.futures import ThreadPoolExecutor, as_completed

    cancellation = _core.Cancellation()
    done = {}
    with ThreadPoolExecutor(count, thread_name_prefix="hyrun-layer") as pool:
        waiting = {pool.submit(_add, store, layer, cancellation, progress): layer for layer in todo}
        try:
            # As they come: nothing was cancelled before the first error, so it is nobody's consequence.
            for future in as_completed(waiting):
                done[waiting[future].diff_id] = future.result()
        except BaseException:
            cancellation.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return done


def _add(store: Store, layer: FoundLayer, cancellation: _core.Cancellation | None, progress: Progress) -> Layer:
    name, shown = layer.diff_id.removeprefix("sha256:"), _shown(layer)
    here = present(store, name)
    if here:
        # Whoever loads an image once more may do so because it is damaged.
        meter = _core.Meter()
        progress.aside(shown, "Verifying", find(store, name).size, meter)
        if sound(store, name, contents=True, meter=meter):
            progress.item(shown, "Already exists")
            return find(store, name)
    meter = _core.Meter()
    progress.item(shown, "Loading layer")
    progress.follow(shown, meter)
    fd = layer.member.open()
    try:
        added = add(
            store,
            fd,
            offset=layer.member.offset,
            length=layer.member.length,
            diff_id=layer.diff_id,
            digest=layer.digest,
            cancellation=cancellation,
            meter=meter,
            replace=here,
        )
    finally:
        os.close(fd)
    progress.item(shown, "Layer loaded")
    return added


def _shown(layer: FoundLayer) -> str:
    """Return what docker calls a layer."""
    return layer.diff_id.removeprefix("sha256:")[:12]
