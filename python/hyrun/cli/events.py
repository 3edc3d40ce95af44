"""`events`: what has happened and what happens, in docker's words."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hyrun import event_filters, event_log, filters, moments
from hyrun.errors import InvalidArgument
from hyrun.event_log import Event

from . import output, system
from .complaint import visible
from .context import store


def events(
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Also what was since then: 10m, 2026-01-31T12:00:00Z."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="End then; also what was before.")
    ] = None,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", "-f", metavar="KEY=VALUE", help="container, event, image, label, scope, type or volume."
        ),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="json|TEMPLATE", help="For instance '{{.Action}} {{.Actor.ID}}'.")
    ] = None,
) -> None:
    """Show what happens to containers, images and volumes, until it is interrupted.

    Example: hyrun events --since 10m --filter event=die --format '{{json .}}'
    """
    wanted = filters.parse(filter_ or (), event_filters.FILTERS)
    start = None if since is None else moments.parse(since, "--since")
    end = None if until is None else moments.parse(until, "--until")
    if start is not None and end is not None and start > end:
        raise InvalidArgument(f"--since {since} is after --until {until}: there is nothing between them")
    if format_ is not None and format_.strip().startswith("table"):
        raise InvalidArgument("--format table: events have no table: write json or a template")
    descriptor = sys.stdout.fileno() if sys.stdout is not None else -1
    for found in event_log.stream(store(), since=start, until=end, output=descriptor):
        shown = [event for event in found if event_filters.matches(event, wanted)]
        if not shown:
            continue
        if format_ is None:
            output.print_lines([_line(event) for event in shown])
        else:
            output.emit(format_, headers=[], columns=[], items=[*shown])


def _line(event: Event) -> str:
    """Return an event as docker prints it."""
    attributes = ", ".join(f"{key}={value}" for key, value in sorted(event.attributes.items()))
    text = f"{moments.show_local(event.moment)} {event['Type']} {event['Action']} {event.id}"
    return visible(f"{text} ({attributes})" if attributes else text)


def register(app: typer.Typer) -> None:
    """Add the command to the application, and to the group ``system``."""
    app.command("events", rich_help_panel="Containers")(events)
    system.group.command("events")(events)
