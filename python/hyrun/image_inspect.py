"""What `image inspect` shows: docker's names and shapes (Docker Engine API, ImageInspect)."""

import os
from typing import Any

from .errors import StorageError
from .image_config import Config, Record, parse_config
from .image_store import tags
from .images import DEFAULT_PATH, HOST, read_record, record_path, resolve
from .platforms import machine
from .references import Reference
from .store import Store


def view(store: Store, text: str) -> dict[str, Any]:
    """Return everything about the image that ``text`` means, ``host`` too; errors as ``images.lookup``."""
    if text == HOST:
        return _view(store, _host(), [], [])
    name = resolve(store, text)
    record = read_record(store, name)
    return _view(store, record, diff_ids(store, record), tags(store).get(record["id"], []))


def diff_ids(store: Store, record: Record) -> list[str]:
    """Return the diff ids of an image, lowest first, ``sha256:<hex>``: all of them, repeated ones too."""
    try:
        with open(store.path("blobs", "sha256", record["id"][7:]), "rb") as file:
            return [f"sha256:{name}" for name in parse_config(file.read())["diff_ids"]]
    except OSError as error:
        raise StorageError(
            f"image {record['id']}: its configuration: {error.strerror}: hyrun load the image again"
        ) from None


def repo_digests(record: Record, references: list[Reference]) -> list[str]:
    """Return ``NAME@sha256:…`` for each digest by which a registry knows an image."""
    known = digests(record, references)
    return [f"{each.familiar_name()}@{digest}" for each in _repositories(references) for digest in known[each.name()]]


def digests(record: Record, references: list[Reference]) -> dict[str, list[str]]:
    """Return the digests of an image by repository (``Reference.name``): those that were pulled and pushed.

    Of one that came otherwise, it is that of its manifest, if it has one.
    """
    found: dict[str, list[str]] = {each.name(): [] for each in references}
    for each in references:
        if each.digest is not None:
            found[each.name()].append(each.digest)
    if record["digest"] is None or any(found.values()):
        return found
    return {name: [record["digest"]] for name in found}


def shown_names(references: list[Reference]) -> list[Reference]:
    """Return the names that a list shows: a digest only where no tag of its repository stands for it."""
    tagged = {each.name() for each in references if each.tag is not None}
    return [each for each in references if each.tag is not None or each.name() not in tagged]


def _repositories(references: list[Reference]) -> list[Reference]:
    """Return one reference of each repository."""
    return list({each.name(): each for each in references}.values())


def split_name(reference: Reference) -> tuple[str, str]:
    """Return repository and tag in familiar form: ``("busybox", "latest")``; no tag is ``<none>``."""
    return Reference(reference.domain, reference.path, None, None).familiar(), reference.tag or "<none>"


def _view(store: Store, record: Record, layers: list[str], references: list[Reference]) -> dict[str, Any]:
    lowerdirs = [store.path("layers", layer, "diff") for layer in record["layers"]]
    if base := record.get("base") or (not lowerdirs and "/"):
        lowerdirs.append(base)
    data = {"UpperDir": lowerdirs[0]}
    if len(lowerdirs) > 1:
        data = {"LowerDir": ":".join(lowerdirs[1:]), **data}
    history = record["history"]
    shown: dict[str, Any] = {
        "Id": record["id"],
        "RepoTags": [reference.familiar() for reference in references if reference.tag is not None],
        "RepoDigests": repo_digests(record, references),
        "Comment": str(history[-1].get("comment", "")) if history else "",
        "Created": record["created"],
        "Author": record["author"],
        "Config": _config(record["config"]),
        "Architecture": record["architecture"],
        "Variant": record["variant"],
        "Os": record["os"],
        "Size": record["size"],
        "GraphDriver": {"Name": "overlay2", "Data": data},
        "RootFS": {"Type": "layers", "Layers": layers},
        "Metadata": {"LastTagTime": _changed(store, record)},
    }
    if not record["variant"]:
        del shown["Variant"]
    return shown


def _config(config: Config) -> dict[str, Any]:
    """Return the configuration with the members that scripts read even when they are empty."""
    shown: dict[str, Any] = {
        "User": "",
        "Env": [],
        "Cmd": None,
        "Volumes": None,
        "WorkingDir": "",
        "Entrypoint": None,
        "Labels": None,
    }
    shown.update(config)
    return shown


def _changed(store: Store, record: Record) -> str:
    from datetime import datetime, timezone

    try:
        seconds = os.stat(record_path(store, record["id"][7:])).st_mtime
    except FileNotFoundError:
        seconds = 0.0
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _host() -> Record:
    return {
        "id": HOST,
        "layers": [],
        "config": {"Env": [DEFAULT_PATH]},
        "architecture": machine(),
        "os": "linux",
        "variant": "",
        "created": "",
        "author": "",
        "size": 0,
        "history": [],
        "digest": None,
    }
