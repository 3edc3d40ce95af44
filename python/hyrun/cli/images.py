"""`load`, `import`, `images`, `tag`, `rmi` and the group `image`: docker's words, docker's columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from hyrun.errors import HyrunError, NotFound

from . import completion
from .arguments import Image, Images, Progress
from .context import store

_PANEL = "Images"
group = typer.Typer(no_args_is_help=True, help="Work with images. Example: hyrun image ls")
_HEADERS = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
_COLUMNS = ["Repository", "Tag", "ID", "CreatedSince", "Size"]


def load(
    input_: Annotated[
        str, typer.Option("--input", "-i", metavar="FILE", help="Archive or directory; - is stdin.")
    ] = "-",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    platform: Annotated[
        str | None, typer.Option(metavar="OS/ARCH[/VARIANT]", help="Images for another machine than this one.")
    ] = None,
    progress_: Progress = "auto",
) -> None:
    """Load images from a docker save archive or an OCI layout.

    Example: docker save busybox | hyrun load
    """
    from hyrun.archives.loading import load as load_archive
    from hyrun.platforms import parse_platform
    from hyrun.progress import progress

    wanted = parse_platform(platform) if platform else None
    with progress(progress_, quiet=quiet) as shown:
        lines = load_archive(store(), input_, platform=wanted, progress=shown)
    _print(lines)


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Tar of a root file system; - is stdin.")],
    reference: Annotated[str | None, typer.Argument(metavar="[NAME[:TAG]]", help="Name of the image.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--change", "-c", help="Dockerfile instruction, such as 'CMD [\"sh\"]'."),
    ] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Comment kept in the history.")] = None,
    progress_: Progress = "auto",
) -> None:
    """Make an image from the tar of a root file system.

    Example: tar -C rootfs -c . | hyrun import -c 'CMD ["sh"]' - mine
    """
    from hyrun.archives.rootfs import import_rootfs
    from hyrun.progress import progress

    with progress(progress_) as shown:
        made = import_rootfs(store(), file, reference, changes=change or (), message=message, progress=shown)
    _print([made])


def images(
    pattern: Annotated[
        str | None,
        typer.Argument(metavar="[REPOSITORY[:TAG]]", help="Only these names.", autocompletion=completion.images),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only ids.")] = False,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Full ids.")] = False,
    digests: Annotated[bool, typer.Option("--digests", help="Show manifest digests.")] = False,
    all_: Annotated[
        bool,
        typer.Option("--all", "-a", help="Accepted as docker has it: there are no intermediate images here."),
    ] = False,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            "-f",
            help="dangling=, label=, reference=, before=, since=, until=",
            metavar="KEY=VALUE",
        ),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="table, json, or a Go template such as '{{.Repository}}'.")
    ] = None,
) -> None:
    """List images.

    Example: hyrun images --format '{{.Repository}}:{{.Tag}} {{.Size}}'
    """
    from hyrun.filters import parse
    from hyrun.image_list import FILTERS, rows

    from .output import emit, message

    headers, columns = list(_HEADERS), list(_COLUMNS)
    if digests:
        headers.insert(2, "DIGEST")
        columns.insert(2, "Digest")
    # One damaged image does not hide the others.
    found = rows(store(), parse(filter_ or (), FILTERS), pattern, complain=lambda error: message(f"hyrun: {error}"))
    items = [_shown(row, no_trunc=no_trunc) for row in found]
    if quiet and format_ is None:
        # One id per line, once for each name: docker does the same.
        _print([item["ID"] for item in items])
        return
    emit(format_, headers=headers, columns=columns, items=items, quiet_key="ID" if quiet else None)


def tag(
    source: Image,
    target: Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="The further name.")],
) -> None:
    """Give an image one more name.

    Example: hyrun tag busybox registry.example.com/tools/busybox:1
    """
    from hyrun.image_store import tag_image

    tag_image(store(), source, target)


def rmi(
    names: Images,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Remove all names of an id; what is not there is no error.")
    ] = False,
) -> None:
    """Remove names, and images with their last name.

    Example: hyrun rmi busybox
    """
    from hyrun.image_store import remove

    from .output import message

    failed = False
    for name in names:
        try:
            _print(remove(store(), name, force=force))
        except HyrunError as error:
            message(f"hyrun: {error}")
            # What is not there is as gone as it can be (docker).
            failed |= not (force and isinstance(error, NotFound))
    if failed:
        raise typer.Exit(1)


def inspect(
    names: Images,
    format_: Annotated[
        str | None, typer.Option("--format", "-f", help="json, or a Go template such as '{{.Id}}'.")
    ] = None,
) -> None:
    """Show everything about images, as JSON.

    Example: hyrun image inspect -f '{{json .Config.Env}}' busybox
    """
    from hyrun.image_inspect import view

    from .output import emit, message, print_json

    found: list[dict[str, Any]] = []
    failed = False
    for name in names:
        try:
            found.append(view(store(), name))
        except HyrunError as error:
            message(f"hyrun: {error}")
            failed = True
    if format_ is None:
        print_json(found)
    elif found:
        emit(format_, headers=["ID"], columns=["Id"], items=found)
    if failed:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands of images, and the group ``image``, to the application."""
    for name, function in _TOP.items():
        app.command(name, rich_help_panel=_PANEL)(function)
    for name, function in _GROUP.items():
        group.command(name)(function)
    app.add_typer(group, name="image", rich_help_panel=_PANEL)


_TOP: dict[str, Callable[..., None]] = {
    "load": load,
    "import": import_,
    "images": images,
    "tag": tag,
    "rmi": rmi,
}
_GROUP: dict[str, Callable[..., None]] = {
    "ls": images,
    "inspect": inspect,
    "rm": rmi,
    "tag": tag,
    "load": load,
    "import": import_,
}


def _shown(row: dict[str, Any], *, no_trunc: bool) -> dict[str, Any]:
    """Turn a row into the fields of docker's --format, which are text."""
    from hyrun.units import created_at

    from .output import ago, short_id, size

    length = size(row["Size"])
    return {
        "Containers": str(row["Containers"]),
        "CreatedAt": created_at(row["Created"]),
        "CreatedSince": ago(row["Created"]),
        "Digest": row["Digest"],
        "ID": row["Id"] if no_trunc else short_id(row["Id"]),
        "Repository": row["Repository"],
        "SharedSize": "N/A",
        "Size": length,
        "Tag": row["Tag"],
        "UniqueSize": "N/A",
        "VirtualSize": length,
    }


def _print(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)
