"""`commit`, `diff` and `export`: what is in a container, as an image, a list or a tar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from . import containers
from .arguments import Container, Progress
from .context import store

_PANEL = "Containers"


def commit(
    container: Container,
    reference: Annotated[str | None, typer.Argument(metavar="[NAME[:TAG]]", help="Name of the image.")] = None,
    author: Annotated[str, typer.Option("--author", "-a", help="Who made it, such as 'A <a@example.org>'.")] = "",
    message: Annotated[str, typer.Option("--message", "-m", help="Comment kept in the history.")] = "",
    change: Annotated[
        list[str] | None,
        typer.Option("--change", "-c", help="Dockerfile instruction, such as 'CMD [\"sh\"]'."),
    ] = None,
    pause: Annotated[
        bool, typer.Option("--pause/--no-pause", "-p", help="Hold a running container still meanwhile.")
    ] = True,
    progress_: Progress = "auto",
) -> None:
    """Make an image of a container: its writable layer and its configuration.

    What was mounted (volumes, binds, tmpfs) is not in it. A running container is paused meanwhile; with --no-pause it
    goes on, and a file that it writes at that moment may be in the image in part.

    Example: hyrun commit -m 'with tools' -c 'CMD ["sh"]' mossy_beacon tools:1
    """
    from hyrun.commit import commit as make_image
    from hyrun.container_list import find
    from hyrun.pause import paused
    from hyrun.progress import progress

    from .output import message as tell

    where = store()
    record = find(where, container)
    with progress(progress_) as shown:
        made = make_image(
            where,
            record,
            reference,
            author=author,
            message=message,
            changes=change or (),
            pause=paused if pause and record.active else None,
            progress=shown,
        )
    if made.mounts:
        tell(f"hyrun: not in the image, because it was mounted: {', '.join(made.mounts)}")
    _tell_left_out(made.sockets, made.attributes)
    typer.echo(made.image_id)


def diff(container: Container) -> None:
    """List what a container has changed: A added, C changed, D deleted.

    Example: hyrun diff mossy_beacon
    """
    from hyrun.container_list import find
    from hyrun.export import diff as changes

    from .complaint import visible

    for kind, path in changes(find(store(), container)):
        typer.echo(f"{kind} {visible(path)}")


def export(
    container: Container,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="A file instead of standard output.")
    ] = None,
    progress_: Progress = "auto",
) -> None:
    """Write a container's whole root file system as a tar; data of volumes is not in it.

    Example: hyrun export mossy_beacon | tar -t
    """
    from hyrun.container_list import find
    from hyrun.export import export as write
    from hyrun.progress import progress

    from .destination import destination, feeds_another

    where = store()
    record = find(where, container)
    with (
        destination(output) as target,
        progress(progress_, quiet=progress_ == "auto" and feeds_another(target)) as shown,
    ):
        written = write(where, record, target, progress=shown)
    _tell_left_out(written.sockets, written.attributes)


def _tell_left_out(sockets: int, attributes: int) -> None:
    from .output import message as tell

    if sockets:
        tell(f"hyrun: left out: {sockets} socket{'s' * (sockets != 1)}: an archive cannot hold one")
    if attributes:
        tell(f"hyrun: left out: {attributes} attribute{'s' * (attributes != 1)} with = in the name")


_COMMANDS: dict[str, Callable[..., None]] = {"commit": commit, "diff": diff, "export": export}


def register(app: typer.Typer) -> None:
    """Add the commands to the application and to the group ``container``."""
    for name, function in _COMMANDS.items():
        app.command(name, rich_help_panel=_PANEL)(function)
        containers.group.command(name)(function)
