"""`logs`: what a container wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from hyrun import container_list, moments
from hyrun.errors import InvalidArgument

from .arguments import Container
from .containers import group
from .context import store as current_store


def logs(
    name: Container,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the container has ended.")] = False,
    tail: Annotated[str, typer.Option("--tail", "-n", metavar="N|all", help="Only the last N lines.")] = "all",
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Put the time before each line.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="10m, 2026-01-31T12:00:00Z, or seconds since 1970.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="As --since.")] = None,
) -> None:
    """Print what a container wrote: its stdout to stdout, its stderr to stderr.

    Example: hyrun logs -f --tail 20 --since 10m web
    """
    count = _count(tail)
    start = None if since is None else moments.parse(since, "--since")
    end = None if until is None else moments.parse(until, "--until")
    from hyrun.logs import Printer, show

    store = current_store()
    record = container_list.find(store, name)
    printer = Printer(1, 2, timestamps=timestamps, since=start, until=end)
    show(store, record, printer, output=1, follow=follow, tail=count)


def _count(text: str) -> int | None:
    """Return how many lines --tail means; None for all of them, which docker writes -1 as well."""
    if text in ("all", "-1"):
        return None
    if text.isascii() and text.isdecimal() and len(text) < 19:
        return int(text)
    raise InvalidArgument(f"--tail {text}: write a number of lines, or all")


def register(app: typer.Typer) -> None:
    """Add the command to the application, at the top and to the group ``container``."""
    app.command("logs", rich_help_panel="Containers")(logs)
    group.command("logs")(logs)
