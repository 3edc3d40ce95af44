"""`stop`, `kill` and `wait`."""

from __future__ import annotations

from typing import Annotated

import typer

from hyrun import container_list, signal_names, stopping, waiting
from hyrun.errors import HyrunError

from . import output
from .arguments import ActiveContainers, Containers, StopSignal, StopTimeout
from .containers import group
from .context import store as current_store

_PANEL = "Containers"


def stop(
    names: ActiveContainers,
    timeout: StopTimeout = None,
    signal: StopSignal = None,
) -> None:
    """Ask containers to end, kill those that do not, and wait until they have ended.

    Example: hyrun stop -t 2 web worker
    """
    number = None if signal is None else signal_names.parse(signal)
    store = current_store()
    errors: list[HyrunError] = []
    found = []
    for name in names:
        try:
            found.append((name, container_list.find(store, name)))
        except HyrunError as error:
            errors.append(error)
    results = stopping.stop(store, [record for _, record in found], signal=number, timeout=timeout)
    for (name, _), failure in zip(found, results, strict=True):
        if failure is None:
            typer.echo(name)
        else:
            errors.append(failure)
    _fail(errors)


def kill(
    names: ActiveContainers,
    signal: Annotated[
        str, typer.Option("--signal", "-s", metavar="SIGNAL", help="A name, with or without SIG, or a number.")
    ] = "KILL",
) -> None:
    """Send a signal to the first process of containers, SIGKILL by default.

    Example: hyrun kill -s HUP web
    """
    number = signal_names.parse(signal)
    store = current_store()
    errors: list[HyrunError] = []
    for name in names:
        try:
            stopping.kill(store, container_list.find(store, name), number)
            typer.echo(name)
        except HyrunError as error:
            errors.append(error)
    _fail(errors)


def wait(names: Containers) -> None:
    """Wait until containers have ended, one after the other, and print their exit statuses.

    Example: test "$(hyrun wait job)" = 0
    """
    store = current_store()
    errors: list[HyrunError] = []
    for name in names:
        try:
            typer.echo(str(waiting.wait(store, container_list.find(store, name))))
        except HyrunError as error:
            errors.append(error)
    _fail(errors)


def _fail(errors: list[HyrunError]) -> None:
    for error in errors:
        output.message(f"hyrun: {error}")
    if errors:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to the application, at the top and to the group ``container``."""
    for function in (stop, kill, wait):
        app.command(function.__name__, rich_help_panel=_PANEL)(function)
        group.command(function.__name__)(function)
