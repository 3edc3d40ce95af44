"""`run` as a Typer command, made of the table in `flags`: help, completion and the words for mistakes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from hyrun.store import Store

from . import flags
from .context import current

#: Behind IMAGE everything is the container's, also what looks like a flag of ours.
SETTINGS = {"allow_interspersed_args": False, "ignore_unknown_options": False}

EXAMPLES = """Create and run a new container from IMAGE, in the foreground.

Examples:

  hyrun run --rm busybox echo hello

  hyrun run -v /home:/test -v /data busybox ls /test

  hyrun run --rm -i --timeout 10 python:3.13-slim python - < script.py

  hyrun run --rm host uname -a        (this machine's own root file system as the image)
"""

_TYPES: dict[str, Any] = {flags.SWITCH: bool, flags.VALUE: str | None, flags.LIST: list[str] | None}
_DEFAULTS: dict[str, Any] = {flags.SWITCH: False, flags.VALUE: None, flags.LIST: None}


def command() -> Callable[..., None]:
    """Return the function that Typer makes the command of."""

    def run(ctx: typer.Context, **values: Any) -> None:
        from .run import run as execute

        words = values.pop("words") or []
        for flag in flags.RUN:
            if flag.kind == flags.LIST:
                values[flag.field] = list(values[flag.field] or ())
        current.exit_with_cause = True
        raise typer.Exit(execute(Store(current.root), values, list(words)))

    parameters = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for flag in flags.RUN:
        names = [f"--{flag.name}", *([f"-{flag.letter}"] if flag.letter else [])]
        option = typer.Option(*names, help=flag.help, metavar=flag.metavar or None, rich_help_panel=flag.panel)
        parameters.append(_parameter(flag.field, Annotated[_TYPES[flag.kind], option], _DEFAULTS[flag.kind]))
    argument = typer.Argument(metavar="IMAGE [COMMAND] [ARG]...", show_default=False, help="Options stop here.")
    parameters.append(_parameter("words", Annotated[list[str] | None, argument], None))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = EXAMPLES
    return run


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
