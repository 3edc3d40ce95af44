"""How much a container takes: what it wrote, and that with its image below."""

from __future__ import annotations

import os

from . import images
from .container_record import Record
from .errors import HyrunError
from .store import Store


def written(record: Record) -> int:
    """Return the bytes of the files in a container's writable layer (docker's SizeRw); a hard link counts once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    pending = [f"{record.directory}/upper"]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:  # removed meanwhile, or a path too long to name
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
            except OSError:
                continue
            if status.st_nlink > 1:
                if (key := (status.st_dev, status.st_ino)) in seen:
                    continue
                seen.add(key)
            total += status.st_size
    return total


def of_image(store: Store, record: Record) -> int:
    """Return the bytes of a container's image; 0 for this machine's own root, and for one that is gone."""
    image = record.config.get("Image")
    if not isinstance(image, str) or not image.startswith("sha256:"):
        return 0
    try:
        return images.read_record(store, image[7:])["size"]
    except HyrunError:
        return 0
