"""`ps`, `rm` and `inspect`, and the group `container`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hyrun import container_inspect, container_list, filters
from hyrun.errors import HyrunError, NotFound
from hyrun.store import Store

from . import output
from .context import store as current_store

_PANEL = "Containers"
group = typer.Typer(no_args_is_help=True, help="Work with containers. Example: hyrun container ls -a")
_FILTERS = {"id", "name", "status", "label", "volume", "ancestor", "exited"}


def ps(
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Also those that are not running.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")] = False,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Print ids and commands in full.")] = False,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", "-f", metavar="KEY=VALUE", help="id, name, status, label, volume, ancestor or exited."
        ),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="table|json|TEMPLATE", help="How to print it.")
    ] = None,
) -> None:
    """List containers. Example: hyrun ps -a --filter label=job"""
    store = current_store()
    wanted = filters.parse(filter_ or [], _FILTERS)
    rows = []
    for record in container_list.list_all(store):
        # Docker: a filter on the status looks at all of them.
        if not show_all and record.status != "running" and not ({"status", "exited"} & set(wanted)):
            continue
        if container_inspect.matches(record, wanted):
            rows.append(container_inspect.row(record, no_trunc=no_trunc))
    output.emit(
        format_,
        headers=["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"],
        columns=["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"],
        items=rows,
        quiet_key="ID" if quiet else None,
    )


def rm(
    names: Annotated[list[str], typer.Argument(metavar="CONTAINER...", help="Names, ids or unique beginnings of ids.")],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Kill it first if it is running; ignore what is not there.")
    ] = False,
    volumes: Annotated[bool, typer.Option("--volumes", "-v", help="Remove its anonymous volumes as well.")] = False,
) -> None:
    """Remove containers. Example: hyrun rm -v mossy_beacon"""
    store = current_store()
    failed = False
    for name in names:
        try:
            container_list.remove(store, container_list.find(store, name), force=force, volumes=volumes)
        except NotFound as error:
            output.message(f"hyrun: {error}")
            failed = failed or not force
            continue
        except HyrunError as error:
            output.message(f"hyrun: {error}")
            failed = True
            continue
        typer.echo(name)
    if failed:
        raise typer.Exit(1)


def inspect(
    names: Annotated[list[str], typer.Argument(metavar="NAME|ID...", help="Containers, images or volumes.")],
    format_: Annotated[
        str | None,
        typer.Option("--format", "-f", metavar="json|TEMPLATE", help="For instance '{{.State.Status}}'."),
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="container|image|volume", help="Look at one kind only.")
    ] = None,
) -> None:
    """Show all that is known of containers, images and volumes. Example: hyrun inspect -f '{{json .Mounts}}' web"""
    if type_ not in (None, "container", "image", "volume"):
        raise typer.BadParameter(f"{type_!r} is not one of container, image and volume", param_hint="--type")
    store = current_store()
    found: list[dict[str, Any]] = []
    failed = False
    for name in names:
        try:
            found.append(_look(store, name, type_))
        except HyrunError as error:
            output.message(f"hyrun: {error}")
            failed = True
    if format_ is None:
        output.print_json(found)
    elif found:
        output.emit(format_, headers=["ID"], columns=["Id"], items=found)
    if failed:
        raise typer.Exit(1)


def _inspect_container(
    names: Annotated[list[str], typer.Argument(metavar="CONTAINER...", help="Names, ids or unique beginnings of ids.")],
    format_: Annotated[
        str | None,
        typer.Option("--format", "-f", metavar="json|TEMPLATE", help="For instance '{{.State.Status}}'."),
    ] = None,
) -> None:
    """Show all that is known of containers. Example: hyrun container inspect -f '{{.State.ExitCode}}' web"""
    inspect(names, format_, "container")


def _look(store: Store, name: str, kind: str | None) -> dict[str, Any]:
    """Return what the first kind that knows the name says; docker's order: container, image, volume."""
    from hyrun import image_inspect, volumes

    if kind in (None, "container"):
        try:
            return container_inspect.inspect(container_list.find(store, name))
        except NotFound:
            if kind:
                raise
    if kind in (None, "image"):
        try:
            return image_inspect.view(store, name)
        except HyrunError:
            if kind:
                raise
    try:
        return volumes.get(store, name).inspect()
    except HyrunError:
        if kind:
            raise
        raise NotFound(f"no such object: {name}: there is no container, image or volume of that name") from None


def register(app: typer.Typer) -> None:
    """Add the commands to the application, at the top and as the group ``container``."""
    app.command("ps", rich_help_panel=_PANEL)(ps)
    app.command("rm", rich_help_panel=_PANEL)(rm)
    app.command("inspect", rich_help_panel=_PANEL)(inspect)
    group.command("ls")(ps)
    group.command("list", hidden=True)(ps)
    group.command("ps", hidden=True)(ps)
    group.command("rm")(rm)
    group.command("inspect")(_inspect_container)
    app.add_typer(group, name="container", rich_help_panel=_PANEL)
