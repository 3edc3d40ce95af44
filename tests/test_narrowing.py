"""The part of the application that a call needs is what the whole has there."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from hyrun.cli.app import app
from hyrun.cli.narrowing import narrowed, words

WHOLE: Any = typer.main.get_command(app)


def _paths(command: Any = WHOLE, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield (*path, name)
        yield from _paths(inner, (*path, name))


def _found(command: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        command = command.commands[name]
    return command


@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(path)) for path in _paths()])
def test_a_command_is_the_same_alone(path: tuple[str, ...]) -> None:
    small: Any = typer.main.get_command(narrowed(app, [*path, "--flag", "ps"]))
    assert list(small.commands) == [path[0]]
    one, other = _found(small, path), _found(WHOLE, path)
    assert (one.name, one.help, one.callback is None) == (other.name, other.help, other.callback is None)
    assert [(each.name, each.opts) for each in one.params] == [(each.name, each.opts) for each in other.params]
    if len(path) > 1:
        assert list(_found(small, path[:1]).commands) == [path[1]]


@pytest.mark.parametrize("path", [[], ["nosuch"], ["--help"], ["container", "nosuch"], ["container", "--help"]])
def test_help_and_mistakes_have_all_of_it(path: list[str]) -> None:
    small: Any = typer.main.get_command(narrowed(app, path))
    if path[:1] == ["container"]:
        assert list(small.commands["container"].commands) == list(WHOLE.commands["container"].commands)
    else:
        assert list(small.commands) == list(WHOLE.commands)


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ("ps -a", "ps -a"),
        ("--debug ps", "ps"),
        ("--root /x --debug ps --root y", "ps --root y"),
        ("--root=/x rm x", "rm x"),
        ("--help", ""),
        ("", ""),
    ],
)
def test_options_before_the_command_are_left_out(arguments: str, left: str) -> None:
    assert words(arguments.split()) == left.split()
