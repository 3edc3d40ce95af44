"""`run`, `create` and `exec` as Typer commands, made of the tables in `flags`: help, completion, words for mistakes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from hyrun.store import Store

from . import completion, flags
from .context import current

#: Behind IMAGE everything is the container's, also what looks like a flag of ours.
SETTINGS = {"allow_interspersed_args": False, "ignore_unknown_options": False}

RUN = """Create and run a new container from IMAGE.

Examples:

  hyrun run --rm busybox echo hello

  hyrun run -v /home:/test -v /data busybox ls /test

  hyrun run -it --rm busybox sh

  hyrun run -d --name web --restart on-failure:3 busybox httpd -f -p 80

  hyrun run --rm -i --timeout 10 python:3.13-slim python - < script.py

  hyrun run --rm host uname -a        (this machine's own root file system as the image)
"""

CREATE = """Create a container without starting it, and print its id.

Example: hyrun create --name web -v /srv:/www busybox httpd -f -h /www
"""

EXEC = """Run a command in a container that is running.

Examples:

  hyrun exec -it web sh

  hyrun exec -u 1000 -w /tmp -e LANG=C web id
"""

_TYPES: dict[str, Any] = {
    flags.SWITCH: bool,
    flags.ON: bool,
    flags.VALUE: str | None,
    flags.LIST: list[str] | None,
}
_DEFAULTS: dict[str, Any] = {flags.SWITCH: False, flags.ON: True, flags.VALUE: None, flags.LIST: None}


def command(
    table: tuple[flags.Flag, ...],
    help: str,
    metavar: str,
    execute: Callable[[Store, dict[str, Any], list[str]], int],
) -> Callable[..., None]:
    """Return the function that Typer makes a command of: the flags of ``table``, then the container's words."""

    def call(ctx: typer.Context, **values: Any) -> None:
        words = values.pop("words") or []
        for flag in table:
            if flag.kind == flags.LIST:
                values[flag.field] = list(values[flag.field] or ())
        current.exit_with_cause = True
        raise typer.Exit(execute(Store(current.root), values, list(words)))

    parameters = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for flag in table:
        # Docker's --switch=false is the fast parser's; Typer shows one name.
        names = [f"--{flag.name}", *([f"-{flag.letter}"] if flag.letter else [])]
        names += [f"--{alias}" for alias, name in flags.ALIASES.items() if name == flag.name]
        if flag.kind == flags.ON:
            names = [f"--{flag.name}/--no-{flag.name}"]
        option = typer.Option(
            *names,
            help=flag.help,
            metavar=flag.metavar or None,
            rich_help_panel=flag.panel,
            autocompletion=completion.volumes if flag.name == "volume" else None,
        )
        parameters.append(_parameter(flag.field, Annotated[_TYPES[flag.kind], option], _DEFAULTS[flag.kind]))
    offered = completion.runnable if metavar.startswith("IMAGE") else completion.entered
    argument = typer.Argument(metavar=metavar, show_default=False, help="Options stop here.", autocompletion=offered)
    parameters.append(_parameter("words", Annotated[list[str] | None, argument], None))
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__doc__ = help
    return call


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
