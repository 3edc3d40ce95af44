"""The part of the application that a call needs: making commands of all of them takes longer than most of them run."""

from __future__ import annotations

import copy
from typing import Any

import typer


def words(arguments: list[str]) -> list[str]:
    """Return the arguments from the command on: without the options that stand before it."""
    index = 0
    while index < len(arguments) and arguments[index][:1] == "-":
        index += 2 if arguments[index] == "--root" else 1
    return arguments[index:]


def narrowed(app: typer.Typer, path: list[str]) -> typer.Typer:
    """Return an application with the one command that ``path`` begins with; the whole one if it does not name any.

    Help of the whole, completion and the words for a name that is mistaken need all of them.
    """
    if not path or path[0][:1] == "-":
        return app
    commands = [info for info in app.registered_commands if _name(info) == path[0]]
    groups = [info for info in app.registered_groups if info.name == path[0]]
    if not commands and not groups:
        return app
    small = copy.copy(app)
    small.registered_commands = commands
    small.registered_groups = []
    for info in groups:
        group = copy.copy(info)
        if group.typer_instance is not None:
            group.typer_instance = narrowed(group.typer_instance, path[1:])
        small.registered_groups.append(group)
    return small


def _name(info: Any) -> str:
    """Return what a command is called: Typer derives it from the function's name unless it was given."""
    return str(info.name or info.callback.__name__.lower().replace("_", "-"))
