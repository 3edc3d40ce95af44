"""`save` and `history`: images for other engines, and how they came about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from . import completion, images
from .arguments import Image, Progress
from .context import store

_PANEL = "Images"


def save(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Names or ids; a name without tag is all.", autocompletion=completion.images
        ),
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="A file instead of standard output.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="docker-archive|oci", help="For docker load, or an OCI layout.")
    ] = "docker-archive",
    compression_format: Annotated[
        str | None, typer.Option(metavar="gzip|zstd", help="Of the layers of an OCI layout; gzip without it.")
    ] = None,
    progress_: Progress = "auto",
) -> None:
    """Write images to an archive that docker, podman, skopeo and hyrun load.

    Example: hyrun save -o busybox.tar busybox
    """
    from hyrun.archives.saving import save as write
    from hyrun.progress import progress

    from .destination import destination, feeds_another

    where = store()
    with (
        destination(output) as target,
        progress(progress_, quiet=progress_ == "auto" and feeds_another(target)) as shown,
    ):
        write(where, names, target, form=format_, compression=compression_format, progress=shown)


def history(
    name: Image,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only ids.")] = False,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Full ids and commands.")] = False,
    human: Annotated[
        bool, typer.Option("--human/--no-human", "-H", help="Sizes and times for people; --human=false for programs.")
    ] = True,
    format_: Annotated[
        str | None, typer.Option("--format", help="table, json, or a Go template such as '{{.CreatedBy}}'.")
    ] = None,
) -> None:
    """Show how an image came about, the newest step first.

    Example: hyrun history --no-trunc busybox
    """
    from hyrun.image_history import rows

    from .output import emit

    items = [_shown(row, no_trunc=no_trunc, human=human) for row in rows(store(), name)]
    emit(
        format_,
        headers=["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"],
        columns=["ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment"],
        items=items,
        quiet_key="ID" if quiet else None,
    )


def _shown(row: dict[str, Any], *, no_trunc: bool, human: bool) -> dict[str, Any]:
    from hyrun.units import created_on

    from .output import ago, short_id, size

    # Docker shows a tab as a space, and 45 characters.
    command = row["CreatedBy"].replace("\t", " ")
    if not no_trunc and len(command) > 45:
        command = command[:44] + "…"
    return {
        "ID": row["Id"] if no_trunc else short_id(row["Id"]) if row["Id"].startswith("sha256:") else row["Id"],
        "CreatedSince": ago(row["Created"]),
        "CreatedAt": created_on(row["Created"]),
        "CreatedBy": command,
        "Size": size(row["Size"]) if human else str(row["Size"]),
        "Comment": row["Comment"],
    }


_COMMANDS: dict[str, Callable[..., None]] = {"save": save, "history": history}


def register(app: typer.Typer) -> None:
    """Add the commands to the application and to the group ``image``."""
    for name, function in _COMMANDS.items():
        app.command(name, rich_help_panel=_PANEL)(function)
        images.group.command(name)(function)
