"""What the shell offers when somebody presses TAB: names that are there. Quick, and never a word of complaint."""

from __future__ import annotations

import os

import typer

from hyrun.images import HOST, full_name
from hyrun.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def containers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the names of all containers; ids once a beginning of one has been typed."""
    store = _store(ctx)
    return _beginning(_names(store, "names"), incomplete) or _ids(store, incomplete)


def active(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the names of the containers that run: their state is in the run directory."""
    from hyrun.container_names import target

    store = _store(ctx)
    running = {name[:-5] for name in _listed(store.run) if len(name) == 69 and name.endswith(".json")}
    found = []
    for name in _beginning(_names(store, "names"), incomplete):
        try:
            if target(store, name) in running:
                found.append(name)
        except OSError:
            continue
    return found or [identifier for identifier in _ids(store, incomplete) if _has_beginning(running, identifier)]


def images(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the names of images as they are typed: ``busybox``, ``busybox:latest``."""
    from hyrun.errors import HyrunError
    from hyrun.references import parse

    names = set()
    for name in _names(_store(ctx), "tags"):
        try:
            familiar = parse(full_name(name)).familiar()
        except HyrunError:
            continue
        if "@" in familiar and "@" not in incomplete:
            continue
        names.add(familiar if ":" in incomplete else familiar.removesuffix(":latest"))
    return _beginning(names, incomplete)


def volumes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the names of volumes."""
    return _beginning(_names(_store(ctx), "volumes"), incomplete)


def runnable(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer images for `run` and `create`, and ``host``; what stands behind the image is the container's."""
    if ctx.params.get("words") or ctx.params.get("rootfs"):
        return []
    return sorted([*images(ctx, incomplete), *_beginning([HOST], incomplete)])


def entered(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the containers that run for `exec`; what stands behind the container is the command's."""
    return [] if ctx.params.get("words") else active(ctx, incomplete)


def sides(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer containers for `cp`, once a beginning has been typed: otherwise the shell offers files."""
    return [f"{name}:" for name in containers(ctx, incomplete)] if incomplete else []


def objects(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer what `inspect` takes: containers, images, volumes."""
    return [*containers(ctx, incomplete), *images(ctx, incomplete), *volumes(ctx, incomplete)]


def _store(ctx: typer.Context) -> Store:
    """Return the store that the line to be completed is about, without making it."""
    root = ctx.find_root().params.get("root")
    return Store(root if isinstance(root, str) else None)


def _names(store: Store, directory: str) -> list[str]:
    return _listed(store.path(directory))


def _listed(path: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError:
        return []


def _ids(store: Store, incomplete: str) -> list[str]:
    if not incomplete:
        return []
    return [name[:12] for name in _names(store, "containers") if name.startswith(incomplete)]


def _has_beginning(names: Iterable[str], beginning: str) -> bool:
    return any(name.startswith(beginning) for name in names)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
