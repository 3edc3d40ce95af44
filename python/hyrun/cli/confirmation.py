"""The question before something is removed."""

from __future__ import annotations

import sys

import typer

from . import output


def confirm(command: str, warning: str, *, force: bool) -> None:
    """Ask on stderr before something is removed, unless ``force``; exit with status 0 when the answer is no.

    The answer is a line of stdin, whatever that is. Its end is a no as well; the message then names ``command`` and the
    way round, since nobody may have been asked.
    """
    if force:
        return
    output.message(f"WARNING! {warning}")
    typer.echo("Are you sure you want to continue? [y/N] ", nl=False, err=True)
    # Bytes, and not many of them: it may be any file.
    answer = b"" if sys.stdin is None else sys.stdin.buffer.readline(100)
    if not answer.endswith(b"\n"):
        typer.echo(err=True)
    if not answer:
        output.message(f"{command}: no answer, nothing is removed: --force does not ask")
    if answer.strip().lower() not in (b"y", b"yes"):
        raise typer.Exit  # nothing is what was asked for
