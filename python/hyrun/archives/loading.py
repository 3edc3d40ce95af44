"""`hyrun load`: all images of an archive, or none of them."""

from contextlib import ExitStack

from hyrun import events
from hyrun.errors import StorageError
from hyrun.image_config import parse_config
from hyrun.image_store import publish, publishing, recording, refuse_reserved, sweep_now, tag
from hyrun.platforms import Platform
from hyrun.progress import Progress
from hyrun.staging import staging
from hyrun.store import Store

from . import docker, oci
from .found import Found
from .opening import open_source
from .source import Source
from .unpacking import unpack


def load(store: Store, path: str, *, platform: Platform | None = None, progress: Progress | None = None) -> list[str]:
    """Load a `docker save` archive or an OCI layout; ``-`` is standard input. Return docker's lines.

    The images are those for ``platform``, or for this machine; that there is none is an error.
    Each layer is a part of ``progress``, and so is an archive that has to be copied before it can be looked at (a
    pipe, a compressed one). Raises StorageError (damaged, hostile, foreign), NotFound, InvalidArgument. After an error
    the store has the images and the names it had before.
    """
    shown = progress or Progress()
    sweep_now(store)
    with ExitStack() as stack:
        # Staging is made under this lock only so that a sweep does not meet it half made.
        with publishing(store):
            directory = stack.enter_context(staging(store))
        source = open_source(path, directory, shown)
        stack.callback(source.close)
        found = images(source, platform)
        for image in found:
            for reference in image.references:
                refuse_reserved(reference)
        try:
            with publishing(store):
                return _publish(store, found, shown)
        except BaseException:
            sweep_now(store)
            raise


def images(source: Source, wanted: Platform | None = None) -> list[Found]:
    """Return what the archive holds: docker's manifest.json counts first, it has all the names."""
    found = docker.read(source, wanted)
    if found is None:
        found = oci.read(source, wanted)
    if found is None:
        raise StorageError(
            "archive has neither manifest.json nor index.json: hyrun load takes images (docker save, OCI "
            "layout); hyrun import takes a root file system"
        )
    return found


def _publish(store: Store, found: list[Found], progress: Progress) -> list[str]:
    layers = unpack(store, [layer for image in found for layer in image.layers], progress)
    lines = []
    # An image and its names at once: nobody comes in between and finds it without a name, or removes it.
    with recording(store):
        ids = [
            publish(store, image.config, [layers[layer.diff_id] for layer in image.layers], manifest=image.manifest)
            for image in found
        ]
        for image, image_id in zip(found, ids, strict=True):
            for reference in image.references:
                tag(store, reference, image_id)
                lines.append(f"Loaded image: {reference.familiar()}")
            if not image.references:
                lines.append(f"Loaded image ID: {image_id}")
    for image, image_id in zip(found, ids, strict=True):
        name = image.references[0].familiar() if image.references else image_id
        events.of_image(store, "load", image_id, name, parse_config(image.config)["config"].get("Labels"))
    return lines
