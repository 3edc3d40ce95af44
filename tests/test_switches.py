"""Docker's way to write a switch, translated into Typer's."""

import pytest
import typer.main

from hyrun.cli import switches
from hyrun.cli.app import app
from hyrun.errors import InvalidArgument


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ("attach --sig-proxy=false web", "attach --no-sig-proxy web"),
        ("attach --sig-proxy=true web", "attach --sig-proxy web"),
        ("ps --all=true", "ps --all"),
        ("ps --all=false", "ps"),
        ("container ls --all=1", "container ls --all"),
        ("ps --filter=name=true", "ps --filter=name=true"),
        ("ps --filter label=all=true", "ps --filter label=all=true"),
        ("ps --all=T", "ps --all"),
        ("ps -a=true", "ps -a"),
        ("ps -aq=false", "ps -a"),
        ("history -H=false x", "history --no-human x"),
        ("ps -f=name=x", "ps -f=name=x"),
        ("ps -n=3", "ps -n=3"),
        ("rm -- --force=true", "rm -- --force=true"),
        ("nosuch --all=true", "nosuch --all=true"),
    ],
)
def test_switches(arguments: str, result: str) -> None:
    assert switches.translate(typer.main.get_command(app), arguments.split()) == result.split()


def test_anything_else_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="--all=perhaps"):
        switches.translate(typer.main.get_command(app), ["ps", "--all=perhaps"])
