"""What the store takes on the disk, by kind and by object (docker system df)."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any, NamedTuple

from . import container_list, container_row, layers, tree_size, volumes
from .image_inspect import shown_names, split_name
from .image_store import readable_records, tags, users
from .store import Store


class Kind(NamedTuple):
    """One line of `system df`; sizes in bytes."""

    name: str
    total: int
    active: int
    size: int
    reclaimable: int


class Usage:
    """What takes how much, measured when this is made.

    Images are counted in the bytes of their layers' plain tars, each layer once; containers and volumes in what
    their files take on the disk.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._images = readable_records(store)[0]
        self._names = tags(store)
        self._used = users(store)
        self._containers = container_list.list_all(store)
        self._written = {
            record.id: tree_size.disk_usage(os.path.join(record.directory, "upper")) for record in self._containers
        }
        self._links = volumes.users(store)
        self._volumes = [(volume, tree_size.disk_usage(volume.path)) for volume in volumes.list_all(store)]
        self._sizes = {name: layers.find(store, name).size for image in self._images for name in image["layers"]}

    def kinds(self) -> list[Kind]:
        """Return one entry for each kind of object."""
        active = [image for image in self._images if image["id"] in self._used]
        kept = {name for image in active for name in image["layers"]}
        total = sum(self._sizes.values())
        running = [record for record in self._containers if record.status in ("running", "paused", "restarting")]
        written = sum(self._written.values())
        linked = [size for volume, size in self._volumes if volume.name in self._links]
        stored = sum(size for _, size in self._volumes)
        return [
            Kind("Images", len(self._images), len(active), total, total - sum(self._sizes[name] for name in kept)),
            Kind(
                "Containers",
                len(self._containers),
                len(running),
                written,
                written - sum(self._written[record.id] for record in running),
            ),
            Kind("Local Volumes", len(self._volumes), len(linked), stored, stored - sum(linked)),
            Kind("Build Cache", 0, 0, 0, 0),
        ]

    def images(self) -> list[dict[str, Any]]:
        """Return one row for each name of an image; sizes in bytes."""
        shared_by = Counter(name for image in self._images for name in image["layers"])
        found = []
        for image in self._images:
            shared = sum(self._sizes[name] for name in image["layers"] if shared_by[name] > 1)
            size = sum(self._sizes[name] for name in image["layers"])
            names = shown_names(self._names.get(image["id"], []))
            for repository, tag in [split_name(item) for item in names] or [("<none>", "<none>")]:
                found.append(
                    {
                        "Repository": repository,
                        "Tag": tag,
                        "ID": image["id"],
                        "Created": image["created"],
                        "Size": size,
                        "SharedSize": shared,
                        "UniqueSize": size - shared,
                        "Containers": len(self._used.get(image["id"], ())),
                    }
                )
        return found

    def containers(self) -> list[dict[str, Any]]:
        """Return one row for each container, as `ps` has it, with ``Size`` in bytes and ``LocalVolumes``."""
        found = []
        for record in self._containers:
            mounts = record.config.get("Mounts") or []
            local = sum(isinstance(mount, dict) and mount.get("Type") == "volume" for mount in mounts)
            row = container_row.row(self._store, record, no_trunc=False, sizes=False)
            found.append({**row, "Size": self._written[record.id], "LocalVolumes": local})
        return found

    def volumes(self) -> list[dict[str, Any]]:
        """Return one row for each volume; sizes in bytes."""
        return [
            {"Name": volume.name, "Links": len(self._links.get(volume.name, ())), "Size": size}
            for volume, size in self._volumes
        ]
