"""Arguments and options that several commands have, each defined once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from . import completion


def _one(metavar: str, help: str, offered: Callable[..., list[str]]) -> Any:
    return typer.Argument(metavar=metavar, help=help, show_default=False, autocompletion=offered)


_CONTAINER = "Name, id or unique beginning of an id."
_CONTAINERS = "Names, ids or unique beginnings of ids."

#: A container, whatever its state; the shell offers all of them.
Container = Annotated[str, _one("CONTAINER", _CONTAINER, completion.containers)]
Containers = Annotated[list[str], _one("CONTAINER...", _CONTAINERS, completion.containers)]
#: The shell offers those that run.
ActiveContainer = Annotated[str, _one("CONTAINER", _CONTAINER, completion.active)]
ActiveContainers = Annotated[list[str], _one("CONTAINER...", _CONTAINERS, completion.active)]
#: The shell offers the names of images.
Image = Annotated[str, _one("IMAGE", "Name or id.", completion.images)]
Images = Annotated[list[str], _one("IMAGE...", "Names or ids.", completion.images)]
Volumes = Annotated[list[str], _one("VOLUME...", "Names.", completion.volumes)]
#: How progress is shown; see `hyrun.progress`.
Progress = Annotated[
    str,
    typer.Option("--progress", metavar="auto|tty|plain|json", help="How progress is shown, on stderr."),
]
#: What `stop` and `restart` do before they kill.
StopTimeout = Annotated[
    int | None,
    typer.Option(
        "--timeout",
        "--time",
        "-t",
        metavar="SECONDS",
        help="Until SIGKILL; -1: never. 10 unless its own says else.",
    ),
]
StopSignal = Annotated[
    str | None,
    typer.Option("--signal", "-s", metavar="SIGNAL", help="Its own stop signal, else SIGTERM, otherwise."),
]
