"""``hyrun volume``: make, list, inspect and remove volumes, with Docker's columns and exit codes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hyrun import filters, volumes
from hyrun.errors import HyrunError, InvalidArgument, NotFound
from hyrun.store import Store
from hyrun.volumes import Volume

from . import output
from .arguments import Volumes
from .confirmation import confirm
from .context import store
from .refusals import refuse

app = typer.Typer(name="volume", help="Work with volumes. Example: hyrun volume ls", no_args_is_help=True)

_Format = Annotated[str | None, typer.Option("--format", "-f", metavar="FORMAT", help="json, or a Go template.")]


@app.command(epilog="Example: hyrun volume create --label project=web data")
def create(
    name: Annotated[str | None, typer.Argument(metavar="[VOLUME]", show_default=False)] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY[=VALUE]", help="Set a label.")] = None,
    driver: Annotated[str, typer.Option("--driver", "-d", help="Only local.")] = "local",
) -> None:
    """Create a volume and print its name; without a name, an anonymous one."""
    if driver != "local":
        refuse(f"--driver {driver}", "volume create", "leave it out, volumes are local")
    labels = {key: value for key, _, value in (text.partition("=") for text in label or ())}
    if "" in labels:
        raise InvalidArgument("--label needs a name before the =: write --label KEY=VALUE")
    typer.echo(volumes.create(store(), name or None, labels=labels).name)


@app.command("ls", epilog="Example: hyrun volume ls --filter dangling=true -q")
@app.command("list", hidden=True, epilog="Example: hyrun volume ls --filter dangling=true -q")
def list_(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only names.")] = False,
    filter: Annotated[
        list[str] | None,
        typer.Option("--filter", "-f", metavar="KEY=VALUE", help="dangling, driver, label or name."),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="table, json, or a Go template.")
    ] = None,
) -> None:
    """List volumes."""
    wanted = filters.parse(filter or (), {"dangling", "driver", "label", "name"})
    where = store()
    dangling = filters.boolean(wanted, "dangling", default=False) if "dangling" in wanted else None
    used = volumes.users(where) if dangling is not None else {}
    output.emit(
        format,
        headers=["DRIVER", "VOLUME NAME"],
        columns=["Driver", "Name"],
        items=[
            _row(volume)
            for volume in volumes.list_all(where)
            if (dangling is None or dangling == (volume.name not in used))
            and ("driver" not in wanted or volume.driver in wanted["driver"])
            and ("name" not in wanted or any(_named(volume, pattern) for pattern in wanted["name"]))
            and filters.match_labels(volume.labels, wanted.get("label", ()))
        ],
        quiet_key="Name" if quiet else None,
    )


@app.command(epilog="Example: hyrun volume inspect --format '{{.Mountpoint}}' data")
def inspect(names: Volumes, format: _Format = None) -> None:
    """Print what is known of volumes as a JSON array, or by a template."""
    where = store()
    found: list[dict[str, object]] = []
    errors: list[HyrunError] = []
    for name in names:
        try:
            found.append(volumes.get(where, name).inspect())
        except (InvalidArgument, NotFound) as error:
            errors.append(error)
    if format is None or format == "json":
        output.print_json(found, indent=4 if format is None else None)
    else:
        output.emit(format, headers=[], columns=[], items=found)
    _fail(errors)


@app.command("rm", epilog="Example: hyrun volume rm data cache")
@app.command("remove", hidden=True, epilog="Example: hyrun volume rm data cache")
def remove(
    names: Volumes,
    force: Annotated[bool, typer.Option("--force", "-f", help="A volume that is not there is fine.")] = False,
) -> None:
    """Remove volumes with their data. One that a container references, running or not, stays."""
    where = store()
    errors: list[HyrunError] = []
    for name in names:
        try:
            _remove(where, name, force)
            typer.echo(name)
        except HyrunError as error:
            errors.append(error)
    _fail(errors)


def _remove(where: Store, name: str, force: bool) -> None:
    try:
        volumes.remove(where, name)
    except NotFound:
        if not force:
            raise


@app.command(epilog="Example: hyrun volume prune --all --force --filter label=project=web")
def prune(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Named volumes as well.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
    filter: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="label, label! or all.")
    ] = None,
) -> None:
    """Remove the anonymous volumes, or all, that no container references."""
    wanted = filters.parse(filter or (), {"all", "label", "label!"})
    everything = everything or filters.boolean(wanted, "all", default=False)
    kind = "all" if everything else "anonymous"
    confirm("volume prune", f"This will remove {kind} local volumes not used by at least one container.", force=force)
    removed = volumes.prune(
        store(),
        everything=everything,
        wanted=lambda volume: (
            filters.match_labels(volume.labels, wanted.get("label", ()))
            and not any(filters.match_labels(volume.labels, [text]) for text in wanted.get("label!", ()))
        ),
    )
    if removed:
        typer.echo("\n".join(("Deleted Volumes:", *(name for name, _ in removed), "")))
    typer.echo(f"Total reclaimed space: {output.size(sum(amount for _, amount in removed))}")


def _fail(errors: list[HyrunError]) -> None:
    for error in errors:
        output.message(f"hyrun: {error}")
    if errors:
        raise typer.Exit(1)


def _row(volume: Volume) -> dict[str, Any]:
    """Return the fields of ``ls --format``; what Docker has for clusters is N/A."""
    return {
        "Availability": "N/A",
        "Driver": volume.driver,
        "Group": "N/A",
        "Label": lambda key: volume.labels.get(key, ""),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(volume.labels.items())),
        "Links": "N/A",
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    }


def _named(volume: Volume, pattern: str) -> bool:
    """Tell whether a name filter matches: a part of the name, or a regular expression."""
    import re

    try:
        return pattern in volume.name or re.search(pattern, volume.name) is not None
    except re.error:
        return False
