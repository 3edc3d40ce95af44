"""The question before something is removed."""

from __future__ import annotations

import sys

import typer

from hyrun.errors import InvalidArgument

from . import output


def confirm(command: str, warning: str, *, force: bool) -> None:
    """Ask before something is removed, unless ``force``; refuse when nobody can be asked."""
    if force:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise InvalidArgument(f"{command} removes data, and nobody can be asked here: add --force")
    output.message(f"WARNING! {warning}")
    if not typer.confirm("Are you sure you want to continue?", err=True):
        raise typer.Exit  # nothing is what was asked for
