"""Containers: their record, their layers, their writable layer, their name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from hyrun import container_directory, container_state, records
from hyrun.image_users import read_config
from hyrun.locks import lock
from hyrun.store import Store

from .finding import Finding

_HEX = frozenset("0123456789abcdef")


def find(store: Store) -> Iterator[Finding]:
    """Yield what is wrong with containers and their names."""
    for identifier in sorted(os.listdir(store.path("containers"))):
        directory = store.path("containers", identifier)
        if len(identifier) != 64 or not _HEX.issuperset(identifier) or not os.path.isdir(directory):
            yield Finding(
                "container-foreign", identifier, "is no container", harmless=True, advice=f"look at {directory}"
            )
            continue
        owned = _owned(directory)
        if owned is None:
            continue  # removed meanwhile
        config = read_config(store, identifier)
        if config is None or not isinstance(config.get("Name"), str):
            if not owned:
                yield _without_record(store, identifier)
            continue
        found = list(_check(store, identifier, config, owned=owned))
        # What is being removed loses one part after the other.
        if found and os.path.exists(f"{directory}/config.json") and not _owned(directory):
            yield from found
    yield from _names(store)
    yield from _states(store)


def _check(store: Store, identifier: str, config: dict[str, Any], *, owned: bool) -> Iterator[Finding]:
    directory = store.path("containers", identifier)
    name = f"{config['Name']} ({identifier[:12]})"
    if config.get("Id") != identifier or not isinstance(config.get("Layers"), list):
        yield Finding(
            "container-record",
            name,
            "its config.json is damaged",
            advice=f"save what it wrote from {directory}/upper, then hyrun rm {identifier[:12]}",
        )
        return
    if owned:
        return  # being made, running or being removed: nothing here is final
    for part in ("upper", "work"):
        if not os.path.isdir(f"{directory}/{part}"):
            problem = "has lost what it wrote" if part == "upper" else "has no work directory"
            yield Finding(
                f"container-{part}",
                name,
                problem,
                mend=partial(_make, directory, part, config),
            )
    if os.path.exists(f"{directory}/exit.json") and records.read(f"{directory}/exit.json") is None:
        yield Finding(
            "container-exit", name, "nobody knows how it ended: exit.json is damaged", mend=lambda: _end(directory)
        )
    link = store.path("names", config["Name"])
    if not os.path.lexists(link) and config["Name"]:
        yield Finding(
            "container-name", name, "its name leads nowhere", mend=lambda: _claim(store, config["Name"], identifier)
        )


def _without_record(store: Store, identifier: str) -> Finding:
    directory = store.path("containers", identifier)
    try:
        content = bool(os.listdir(f"{directory}/upper"))
    except OSError:
        content = False
    if not content and not os.path.exists(f"{directory}/config.json"):
        return Finding(
            "container-orphan",
            identifier[:12],
            "was never made: its maker was killed",
            harmless=True,
            mend=lambda: _discard(store, identifier),
        )
    advice = f"hyrun rm {identifier[:12]}"
    if content:
        advice = f"save what it wrote from {directory}/upper, then {advice}"
    return Finding("container-record", identifier[:12], "its config.json is damaged or missing", advice=advice)


def _names(store: Store) -> Iterator[Finding]:
    for name in sorted(os.listdir(store.path("names"))):
        try:
            identifier = container_directory.id_of_link(os.readlink(store.path("names", name)))
        except FileNotFoundError:
            continue
        except OSError:
            yield Finding(
                "name-foreign",
                name,
                "is no name of a container",
                harmless=True,
                advice=f"look at {store.path('names')}",
            )
            continue
        if not identifier or not os.path.isdir(store.path("containers", identifier)):
            yield Finding(
                "name-dangling",
                name,
                "is the name of nobody",
                harmless=True,
                mend=partial(_free, store, name),
            )


def _states(store: Store) -> Iterator[Finding]:
    for file in sorted(os.listdir(store.run)):
        identifier = file.partition(".")[0]
        if len(identifier) != 64 or not _HEX.issuperset(identifier):
            continue
        if not os.path.isdir(store.path("containers", identifier)):
            yield Finding(
                "state-orphan",
                file,
                "is of a container that is gone",
                harmless=True,
                mend=partial(_unlink_state, store, file, identifier),
            )


def _free(store: Store, name: str) -> str | None:
    link = store.path("names", name)
    with lock(store, "name", name):
        # A claim is made with the container's directory there.
        try:
            if os.path.isdir(store.path("containers", container_directory.id_of_link(os.readlink(link)))):
                return None
            os.unlink(link)
        except FileNotFoundError:
            return None
    return "removed"


def _unlink_state(store: Store, file: str, identifier: str) -> str | None:
    if os.path.isdir(store.path("containers", identifier)):
        return None
    try:
        os.unlink(os.path.join(store.run, file))
    except FileNotFoundError:
        return None
    return "removed"


def _owned(directory: str) -> bool | None:
    """Tell whether somebody holds the container's lock; None when the container is gone."""
    try:
        descriptor = container_directory.try_lock(directory)
    except OSError:
        return None
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _make(directory: str, part: str, config: dict[str, Any]) -> str | None:
    path = f"{directory}/{part}"
    if os.path.isdir(path):
        return None
    os.mkdir(path, 0o700)
    if part == "upper":
        # Its owner and mode are those of the container's root (containers.create does the same).
        status = os.stat(config["Layers"][0])
        os.chown(path, status.st_uid, status.st_gid)
        os.chmod(path, status.st_mode & 0o7777)
    return "an empty one made"


def _end(directory: str) -> str | None:
    if records.read(f"{directory}/exit.json") is not None:
        return None
    container_state.write_exit(directory, None, 0)
    return "ended with an unknown status"


def _claim(store: Store, name: str, identifier: str) -> str | None:
    try:
        os.symlink(container_directory.link_of_id(identifier), store.path("names", name))
    except FileExistsError:
        return None
    return "name made again"


def _discard(store: Store, identifier: str) -> str | None:
    try:
        descriptor = container_directory.try_lock(store.path("containers", identifier))
    except FileNotFoundError:
        return None
    if descriptor is None:
        return None
    try:
        container_directory.discard(store, identifier, "", [])
    finally:
        os.close(descriptor)
    return "removed"
