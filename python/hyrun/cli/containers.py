"""`ps`, `rm`, `inspect`, `rename` and `port`, and the group `container` with `prune`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from hyrun import (
    container_filters,
    container_inspect,
    container_list,
    container_names,
    container_ports,
    container_row,
    filters,
    moments,
)
from hyrun.container_record import Record
from hyrun.errors import HyrunError, NotFound
from hyrun.store import Store

from . import completion, output
from .arguments import Container, Containers
from .confirmation import confirm
from .context import store as current_store

_PANEL = "Containers"
group = typer.Typer(no_args_is_help=True, help="Work with containers. Example: hyrun container ls -a")

_Format = Annotated[
    str | None, typer.Option("--format", "-f", metavar="json|TEMPLATE", help="For instance '{{.State.Status}}'.")
]
_Size = Annotated[bool, typer.Option("--size", "-s", help="Also how large it is.")]


def ps(
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Also those that are not running.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")] = False,
    last: Annotated[
        int, typer.Option("--last", "-n", metavar="N", help="The N made last, whatever their state; -1: no limit.")
    ] = -1,
    latest: Annotated[bool, typer.Option("--latest", "-l", help="The one made last, whatever its state.")] = False,
    size: _Size = False,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Print ids and commands in full.")] = False,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            "-f",
            metavar="KEY=VALUE",
            help="ancestor, before, exited, id, label, name, network, since, status or volume.",
        ),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="table|json|TEMPLATE", help="How to print it.")
    ] = None,
) -> None:
    """List containers. Example: hyrun ps -a --filter label=job"""
    store = current_store()
    wanted = filters.parse(filter_ or [], container_filters.FILTERS)
    found = container_list.list_all(store)
    test = container_filters.compile(store, wanted, found)
    limit = 1 if latest else last if last > 0 else None
    # Docker: a filter on the status looks at all of them, and so does a number of them.
    everything = show_all or limit is not None or container_filters.FOR_ALL & set(wanted)
    shown = [record for record in found if (everything or record.active) and test(record)][:limit]
    sizes = size or ".Size" in (format_ or "")
    headers = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    columns = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"]
    output.emit(
        format_,
        headers=[*headers, "SIZE"] if size else headers,
        columns=[*columns, "Size"] if size else columns,
        items=[container_row.row(store, record, no_trunc=no_trunc, sizes=sizes) for record in shown],
        quiet_key="ID" if quiet else None,
    )


def rm(
    names: Containers,
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


def rename(
    name: Container,
    new: Annotated[str, typer.Argument(metavar="NEW_NAME", help="Its name from now on.")],
) -> None:
    """Give a container another name, whether it runs or not. Example: hyrun rename mossy_beacon web"""
    store = current_store()
    container_names.rename(store, container_list.find(store, name), new)


def port(
    name: Container,
    private: Annotated[str | None, typer.Argument(metavar="[PORT[/PROTOCOL]]", help="Only this one.")] = None,
) -> None:
    """List which ports of a container are published where. Example: hyrun port web 80/tcp"""
    record = container_list.find(current_store(), name)
    ports = container_inspect.inspect(record)["NetworkSettings"]["Ports"]
    output.print_lines(container_ports.lines(ports, record.name, private))


def prune(
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
    filter_: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="until, label or label!.")
    ] = None,
) -> None:
    """Remove all containers that do not run. Example: hyrun container prune --force --filter until=24h"""
    wanted = filters.parse(filter_ or (), {"until", "label", "label!"})
    limits = [moments.parse(text, "--filter until=") for text in wanted.get("until", ())]
    confirm("container prune", "This will remove all stopped containers.", force=force)
    from hyrun import pruning

    def chosen(record: Record) -> bool:
        return (
            all(record.created <= limit for limit in limits)
            and filters.match_labels(record.labels, wanted.get("label", ()))
            and not any(filters.match_labels(record.labels, [text]) for text in wanted.get("label!", ()))
        )

    removed = pruning.prune(current_store(), wanted=chosen)
    if removed:
        typer.echo("\n".join(("Deleted Containers:", *(identifier for identifier, _ in removed), "")))
    typer.echo(f"Total reclaimed space: {output.size(sum(amount for _, amount in removed))}")


def inspect(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME|ID...", help="Containers, images or volumes.", autocompletion=completion.objects),
    ],
    format_: _Format = None,
    size: _Size = False,
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
            found.append(_look(store, name, type_, size=size))
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
    names: Containers,
    format_: _Format = None,
    size: _Size = False,
) -> None:
    """Show all that is known of containers. Example: hyrun container inspect -f '{{.State.ExitCode}}' web"""
    inspect(names, format_, size, "container")


def _look(store: Store, name: str, kind: str | None, *, size: bool) -> dict[str, Any]:
    """Return what the first kind that knows the name says; docker's order: container, image, volume."""
    from hyrun import image_inspect, volumes

    if kind in (None, "container"):
        try:
            record = container_list.find(store, name)
            return {
                **container_inspect.inspect(record),
                **(container_inspect.sizes(store, record) if size else {}),
            }
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


_TOP: dict[str, Callable[..., None]] = {"ps": ps, "rm": rm, "inspect": inspect, "rename": rename, "port": port}
_GROUP: dict[str, Callable[..., None]] = {
    "ls": ps,
    "rm": rm,
    "inspect": _inspect_container,
    "rename": rename,
    "port": port,
    "prune": prune,
}


def register(app: typer.Typer) -> None:
    """Add the commands to the application, at the top and as the group ``container``."""
    for name, function in _TOP.items():
        app.command(name, rich_help_panel=_PANEL)(function)
    group.command("list", hidden=True)(ps)
    group.command("ps", hidden=True)(ps)
    group.command("remove", hidden=True)(rm)
    for name, function in _GROUP.items():
        group.command(name)(function)
    app.add_typer(group, name="container", rich_help_panel=_PANEL)
