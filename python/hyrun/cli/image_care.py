"""``image prune``, ``image diff`` and ``image tree``."""

from __future__ import annotations

from typing import Annotated

import typer

from hyrun.errors import InvalidArgument

from . import completion, images, output
from .confirmation import confirm
from .context import store
from .system import show

_Format = Annotated[str | None, typer.Option("--format", metavar="FORMAT", help="json, or a Go template.")]


def prune(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="All that no container uses, not only those without a tag.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
    filter_: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="until=, label= or label!=")
    ] = None,
) -> None:
    """Remove images that no container uses, and the layers that go with them."""
    from hyrun import filters, image_pruning

    wanted = image_pruning.Wanted(filters.parse(filter_ or (), image_pruning.FILTERS))
    kind = "images without at least one container associated to them" if everything else "dangling images"
    confirm("image prune", f"This will remove all {kind}.", force=force)
    removed = image_pruning.prune_images(store(), wanted, everything=everything)
    show("Deleted Images:", removed.lines)
    typer.echo(f"Total reclaimed space: {output.size(removed.size)}")


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Name or id.", autocompletion=completion.images)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Name or id.", autocompletion=completion.images)],
    format_: _Format = None,
) -> None:
    """Show which files were added (A), changed (C) or removed (D) from one image to another."""
    from hyrun.image_tree import compare

    items = [{"Kind": kind, "Path": path} for kind, path in compare(store(), old, new)]
    output.emit(format_ or "{{.Kind}} {{.Path}}", headers=["KIND", "PATH"], columns=["Kind", "Path"], items=items)


def tree(format_: Annotated[str | None, typer.Option("--format", metavar="json", help="Only json.")] = None) -> None:
    """Show images as a tree of the layers they share, with the size of each."""
    from hyrun.image_tree import Node
    from hyrun.image_tree import tree as grow

    found = grow(store())
    if format_ == "json":
        output.print_json([node.view() for node in found], indent=None)
        return
    if format_ is not None:
        raise InvalidArgument(f"--format {format_} is not supported by image tree: write json, or leave it out")

    # By a list and not by recursion: an image may have 499 layers.
    pending: list[tuple[Node, str, str]] = [(node, "", "") for node in reversed(found)]
    while pending:
        node, first, rest = pending.pop()
        layers, size = 1, node.size
        # Layers that only ever come together are one line.
        while not node.images and len(node.children) == 1:
            (node,) = node.children.values()
            layers, size = layers + 1, size + node.size
        count = f" ({layers} layers)" if layers > 1 else ""
        names = f"  {', '.join(node.images)}" if node.images else ""
        typer.echo(f"{first}{output.short_id(node.layer)} {output.size(size)}{count}{names}")
        children = list(node.children.values())
        for child in reversed(children):
            last = child is children[-1]
            pending.append((child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")))


def register(app: typer.Typer) -> None:
    """Add the commands to the group ``image``; nothing of them stands at the top, ``app`` is as everywhere."""
    group = images.group
    group.command("list", hidden=True)(images.images)
    group.command("remove", hidden=True)(images.rmi)
    group.command("prune", epilog="Example: hyrun image prune --all --force --filter until=24h")(prune)
    group.command("diff", epilog="Example: hyrun image diff busybox:1.36 busybox:1.37")(diff)
    group.command("tree", epilog="Example: hyrun image tree")(tree)
