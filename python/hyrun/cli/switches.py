"""Docker's ``--switch=true`` and ``-s=false``, which Typer writes ``--switch`` and ``--no-switch``."""

from __future__ import annotations

from typing import Any

from .flags import boolean


def translate(command: Any, arguments: list[str]) -> list[str]:
    """Return the arguments with the switches of the command that they name in Typer's form.

    What stands behind ``--`` is left alone. ``command`` is the click command of the whole application. Raises
    InvalidArgument for a switch that is set to neither true nor false.
    """
    known = _switches(command, arguments)
    result: list[str] = []
    for index, word in enumerate(arguments):
        if word == "--":
            return result + arguments[index:]
        name, equals, text = word.partition("=")
        if equals and name[:1] == "-" and name[1:2] not in ("", "-"):
            # Letters combine; the value is that of the last one.
            letters = [f"-{letter}" for letter in name[1:]]
            if all(letter in known for letter in letters):
                result += letters[:-1]
                name = letters[-1]
        if not equals or name not in known:
            result.append(word)
        elif boolean(text, name):
            result.append(name)
        elif known[name]:
            result.append(known[name])
        # A switch that is off is off without being mentioned.
    return result


def _switches(command: Any, arguments: list[str]) -> dict[str, str]:
    """Return the names of the switches of the command that the words lead to, and what switches each off."""
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
            found |= dict.fromkeys(parameter.opts, off)
    return found
