"""How much a container takes: what it wrote, and that with its image below."""

from __future__ import annotations

from . import images, tree_size
from .container_record import Record
from .errors import HyrunError
from .store import Store


def written(record: Record) -> int:
    """Return the bytes of the files in a container's writable layer (docker's SizeRw); a hard link counts once."""
    return tree_size.length(f"{record.directory}/upper")


def of_image(store: Store, record: Record) -> int:
    """Return the bytes of a container's image; 0 for this machine's own root, and for one that is gone."""
    image = record.config.get("Image")
    if not isinstance(image, str) or not image.startswith("sha256:"):
        return 0
    try:
        return images.read_record(store, image[7:])["size"]
    except HyrunError:
        return 0
