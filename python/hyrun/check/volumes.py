"""Volumes: their record, their data, and those that containers miss."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from hyrun import volumes
from hyrun.container_directory import try_lock
from hyrun.errors import InvalidArgument
from hyrun.store import Store, write_atomic
from hyrun.volume_record import encode, timestamp
from hyrun.volume_users import describe, read_object
from hyrun.volumespec import check_name

from .finding import Finding


def find(store: Store) -> Iterator[Finding]:
    """Yield what is wrong with volumes."""
    used = volumes.users(store)
    present = sorted(os.listdir(store.path("volumes")))
    for name in present:
        containers = [describe(store, identifier) for identifier in used.get(name, ())]
        directory = store.path("volumes", name)
        try:
            check_name(name)
        except InvalidArgument:
            yield Finding(
                "volume-foreign", name, "is no volume of hyrun's", harmless=True, advice=f"look at {directory}"
            )
            continue
        if not os.path.isdir(directory):
            yield Finding("volume-foreign", name, "is no directory", harmless=True, advice=f"look at {directory}")
            continue
        found = read_object(f"{directory}/volume.json")
        if found.get("name") != name and os.path.isdir(directory):
            yield Finding(
                "volume-record",
                name,
                "its volume.json is missing or damaged: the labels are lost, the data is not",
                containers=containers,
                mend=partial(_write_record, store, name),
            )
        if not os.path.isdir(f"{directory}/_data") and os.path.isdir(directory):
            yield Finding(
                "volume-data",
                name,
                "has no data directory: what was in it is lost",
                containers=containers,
                mend=partial(_make_data, store, name),
            )
    for name in sorted(set(used) - set(present)):
        # A container names its volumes before it makes them, and is gone after them.
        if volumes.exists(store, name) or not all(_has_ended(store, identifier) for identifier in used[name]):
            continue
        yield Finding(
            "volume-missing",
            name,
            "is missing, and a container uses it: what was in it is lost",
            containers=[describe(store, identifier) for identifier in used[name]],
            mend=partial(_ensure, store, name),
        )


def _has_ended(store: Store, identifier: str) -> bool:
    """Tell whether a container is there and nobody owns it: nothing of it is being made or removed."""
    try:
        descriptor = try_lock(store.path("containers", identifier))
    except OSError:
        return False
    if descriptor is None:
        return False
    try:
        return os.path.exists(store.path("containers", identifier, "config.json"))
    finally:
        os.close(descriptor)


def _write_record(store: Store, name: str) -> str | None:
    directory = store.path("volumes", name)
    if not os.path.isdir(directory) or read_object(f"{directory}/volume.json").get("name") == name:
        return None
    created = timestamp(os.stat(directory).st_ctime_ns)
    # As a named one: nobody can tell, and prune leaves those alone.
    write_atomic(f"{directory}/volume.json", encode(name, created, None, anonymous=False))
    return "record written again"


def _make_data(store: Store, name: str) -> str | None:
    data = volumes.data_path(store, name)
    if not os.path.isdir(os.path.dirname(data)) or os.path.isdir(data):
        return None
    os.mkdir(data, 0o755)
    os.chmod(data, 0o755)
    return "an empty one made"


def _ensure(store: Store, name: str) -> str | None:
    return "an empty one made" if volumes.ensure(store, name) else None
