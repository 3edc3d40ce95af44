"""``hyrun system`` (df, prune, check, info), and `info` and `version` at the top."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hyrun.errors import InvalidArgument

from . import output
from .arguments import Progress
from .confirmation import confirm
from .context import store

group = typer.Typer(no_args_is_help=True, help="Look after the store. Example: hyrun system df")
_PANEL = "System"

_Format = Annotated[str | None, typer.Option("--format", "-f", metavar="FORMAT", help="json, or a Go template.")]
_Force = Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")]


@group.command(epilog="Example: hyrun system df -v")
def df(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Each image, container and volume.")] = False,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="table, json, or a Go template.")
    ] = None,
) -> None:
    """Show what the store takes on the disk, and how much of it nobody uses."""
    from hyrun.usage import Usage

    usage = Usage(store())
    if verbose:
        _df_verbose(usage, format_)
        return
    output.emit(
        format_,
        headers=["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"],
        columns=["Type", "TotalCount", "Active", "Size", "Reclaimable"],
        items=[
            {
                "Type": kind.name,
                "TotalCount": str(kind.total),
                "Active": str(kind.active),
                "Size": output.size(kind.size),
                "Reclaimable": output.size(kind.reclaimable)
                + (f" ({kind.reclaimable * 100 // kind.size}%)" if kind.size else ""),
            }
            for kind in usage.kinds()
        ],
    )


def _df_verbose(usage: Any, format_: str | None) -> None:
    images = [_sized(row, "Size", "SharedSize", "UniqueSize") for row in usage.images()]
    for row in images:
        row["CreatedSince"] = output.ago(row["Created"])
        row["ID"] = output.short_id(row["ID"])
    containers = [_sized(row, "Size") for row in usage.containers()]
    volumes = [_sized(row, "Size") for row in usage.volumes()]
    if format_ not in (None, "table"):
        whole = {"Images": images, "Containers": containers, "Volumes": volumes, "BuildCache": []}
        output.emit(format_, headers=[], columns=[], items=[whole])
        return
    typer.echo("Images space usage:\n")
    headers = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"]
    columns = ["Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"]
    output.emit(None, headers=headers, columns=columns, items=images)
    typer.echo("\nContainers space usage:\n")
    headers = ["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"]
    columns = ["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"]
    output.emit(None, headers=headers, columns=columns, items=containers)
    typer.echo("\nLocal Volumes space usage:\n")
    output.emit(None, headers=["VOLUME NAME", "LINKS", "SIZE"], columns=["Name", "Links", "Size"], items=volumes)
    typer.echo("\nBuild cache usage: 0B")


def _sized(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {**row, **{key: output.size(row[key]) for key in keys}}


@group.command(epilog="Example: hyrun system prune --all --force --filter until=24h")
def prune(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="All images that no container uses, not only those without a tag.")
    ] = False,
    force: _Force = False,
    volumes: Annotated[bool, typer.Option("--volumes", help="Anonymous volumes as well.")] = False,
    filter_: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="until=, label= or label!=")
    ] = None,
) -> None:
    """Remove containers that have ended, images that nobody uses, and all leftovers."""
    from hyrun import filters, image_pruning, pruning

    parsed = filters.parse(filter_ or (), image_pruning.FILTERS)
    if volumes and "until" in parsed:
        raise InvalidArgument("filter until is not supported with --volumes: prune volumes by hyrun volume prune")
    wanted = image_pruning.Wanted(parsed)
    kinds = ["all stopped containers"]
    if volumes:
        kinds.append("all anonymous volumes not used by at least one container")
    kinds.append(
        "all images without at least one container associated to them" if everything else "all dangling images"
    )
    confirm("system prune", "This will remove:\n" + "\n".join(f"  - {kind}" for kind in kinds), force=force)
    where = store()
    removed = pruning.prune(where, wanted=wanted.container)
    show("Deleted Containers:", [identifier for identifier, _ in removed])
    size = sum(amount for _, amount in removed)
    if volumes:
        from hyrun.volumes import prune as prune_volumes

        gone = prune_volumes(where, wanted=lambda volume: wanted.labels(volume.labels))
        show("Deleted Volumes:", [name for name, _ in gone])
        size += sum(amount for _, amount in gone)
    images = image_pruning.prune_images(where, wanted, everything=everything)
    show("Deleted Images:", images.lines)
    typer.echo(f"Total reclaimed space: {output.size(size + images.size)}")


def show(title: str, lines: list[str]) -> None:
    """Print what was removed under its title, as docker does; nothing for nothing."""
    if lines:
        typer.echo("\n".join((title, *lines, "")))


@group.command(epilog="Example: hyrun system check --repair")
def check(
    repair: Annotated[
        bool, typer.Option("--repair", "-r", help="Mend what can be mended without the network.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    progress_: Progress = "auto",
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="json (one object a line), or a Go template.")
    ] = None,
) -> None:
    """Find damage to images, layers, containers and volumes: every file is read.

    Exit status 1 when something is damaged, or still is after the repair.
    """
    from hyrun.check.checking import check as check_store
    from hyrun.progress import progress

    where = store()
    with progress(progress_, quiet=quiet) as shown:
        report = check_store(where, repair=repair, progress=shown)
    if format_ is not None:
        output.emit(format_, headers=[], columns=[], items=[finding.view() for finding in report.findings])
    else:
        output.emit("{{.Text}}", headers=[], columns=[], items=[{"Text": _told(item)} for item in report.findings])
    if not report.complete:
        output.message("Something is being loaded or pulled at this moment: garbage was not looked for.")
    if not report.findings:
        output.message("No damage was found.")
    elif not repair and any(finding.mend or finding.harmless for finding in report.findings):
        output.message("hyrun system check --repair mends what needs no network.")
    if not report.healthy:
        raise typer.Exit(1)


def _told(finding: Any) -> str:
    name = finding.name
    if name.startswith("sha256:"):
        name = output.short_id(name)
    lines = [f"{finding.subject} {name}: {finding.problem}"]
    if finding.images:
        lines.append(f"  images: {', '.join(finding.images)}")
    if finding.containers:
        lines.append(f"  containers: {', '.join(finding.containers)}")
    if finding.done:
        lines.append(f"  repaired: {finding.done}")
    if finding.advice:
        lines.append(f"  to do: {finding.advice}")
    return "\n".join(lines)


def info(format_: _Format = None) -> None:
    """Show what is in the store and which machine this is."""
    from hyrun.host_info import info as look

    found = look(store())
    if format_ is not None:
        output.emit(format_, headers=[], columns=[], items=[found])
        return
    labels = {"DockerRootDir": "Root Dir", "NCPU": "CPUs", "MemTotal": "Total Memory", "OSType": "OSType"}
    for key, value in found.items():
        if value is None:
            continue
        shown = output.size(value) if key == "MemTotal" else value
        if isinstance(shown, list):
            shown = ", ".join(": ".join(item) if isinstance(item, list) else str(item) for item in shown)
        typer.echo(f"{labels.get(key) or _words(key)}: {shown}")


def version(format_: _Format = None) -> None:
    """Show the version of hyrun and of what it runs on."""
    from hyrun.host_info import version as look

    found = look()
    if format_ is not None:
        output.emit(format_, headers=[], columns=[], items=[found])
        return
    for half, fields in found.items():
        typer.echo(f"{half}:")
        for key, value in fields.items():
            typer.echo(f" {_words(key) + ':':<16}{value}")


def _words(key: str) -> str:
    """Return ``KernelVersion`` as two words."""
    import re

    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key)


def register(app: typer.Typer) -> None:
    """Add the group ``system``, and `info` and `version`, to the application."""
    app.command("info", rich_help_panel=_PANEL, epilog="Example: hyrun info --format '{{.Images}}'")(info)
    app.command("version", rich_help_panel=_PANEL, epilog="Example: hyrun version --format '{{.Client.Version}}'")(
        version
    )
    group.command("info", epilog="Example: hyrun system info --format json")(info)
    app.add_typer(group, name="system", rich_help_panel=_PANEL)
