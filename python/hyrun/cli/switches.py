"""Docker's ``--switch=true`` and ``--switch=false``, which Typer writes ``--switch`` and ``--no-switch``."""

from __future__ import annotations

from typing import Any

_VALUES = {"true": True, "1": True, "false": False, "0": False}


def translate(command: Any, arguments: list[str]) -> list[str]:
    """Return the arguments with the switches of the command that they name in Typer's form.

    What stands behind ``--`` is left alone. ``command`` is the click command of the whole application.
    """
    known = _switches(command, arguments)
    result: list[str] = []
    for index, word in enumerate(arguments):
        if word == "--":
            return result + arguments[index:]
        name, equals, value = word.partition("=")
        if not equals or name not in known or value not in _VALUES:
            result.append(word)
        elif _VALUES[value]:
            result.append(name)
        elif known[name]:
            result.append(known[name])
        # A switch that is off is off without being mentioned.
    return result


def _switches(command: Any, arguments: list[str]) -> dict[str, str]:
    """Return the long names of the switches of the command that the words lead to, and what switches each off."""
    for word in arguments:
        if word.startswith("-"):
            continue
        below = getattr(command, "commands", {}).get(word)
        if below is None:
            break
        command = below
    found: dict[str, str] = {}
    for parameter in command.params:
        if getattr(parameter, "is_flag", False):
            off = next(iter(parameter.secondary_opts), "")
            found |= {name: off for name in parameter.opts if name.startswith("--")}
    return found
