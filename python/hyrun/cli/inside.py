"""Commands that look into a container, or act on it, from outside: `cp`, `top`, `stats`, `pause` and `unpause`."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from hyrun import container_list
from hyrun.container_list import Record
from hyrun.errors import HyrunError
from hyrun.store import Store

from . import completion, output
from .arguments import ActiveContainer, ActiveContainers
from .complaint import visible
from .containers import group
from .context import store as current_store

_PANEL = "Containers"
#: Seconds between two looks at what containers use.
_INTERVAL = 1.0
_HEADERS = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
_COLUMNS = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"]


def cp(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="CONTAINER:PATH, a path here, or - for a tar.", autocompletion=completion.sides
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="DST", help="The other side: one of the two is in a container.", autocompletion=completion.sides
        ),
    ],
    archive: Annotated[
        bool, typer.Option("--archive", "-a", help="Keep user and group ids, set-id bits and file capabilities.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow-link", "-L", help="Copy what a symlink SRC leads to.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not say what was copied.")] = False,
) -> None:
    """Copy files and directories between a container, running or not, and this machine.

    A directory is copied into a DST that exists and becomes a DST that does not; SRC/. is what is in it.
    """
    from hyrun import cp

    store = current_store()
    # A copy may take minutes in one system call: Ctrl-C ends it at once. Nothing has to be put in order.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        copied = cp.copy(store, source, target, archive=archive, follow=follow)
    except BrokenPipeError:
        raise typer.Exit(output.pipe_closed()) from None
    for device in copied.devices:
        output.message(f"hyrun: left out {device}: devices are not copied")
    if not quiet and target != "-" and sys.stdout is not None and sys.stdout.isatty():
        output.message(f"Successfully copied {output.size(copied.bytes)} to {target}")


def top(
    name: ActiveContainer,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[PS OPTIONS]", help="For this machine's ps, for instance -o pid,cmd.")
    ] = None,
) -> None:
    """Show the processes of a container as this machine sees them."""
    from hyrun import top

    store = current_store()
    titles, rows = top.top(store, container_list.find(store, name), options or ())
    output.table(titles, rows)


def pause(names: ActiveContainers) -> None:
    """Stop all processes of containers until unpause."""
    from hyrun import pause

    _each(names, pause.pause)


def unpause(names: ActiveContainers) -> None:
    """Let paused containers go on."""
    from hyrun import pause

    _each(names, pause.unpause)


def stats(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONTAINER...]", help="All that run, unless some are named.", autocompletion=completion.active
        ),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Also those that are not running.")] = False,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print it once and end.")] = False,
    no_trunc: Annotated[bool, typer.Option("--no-trunc", help="Print ids in full.")] = False,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="table|json|TEMPLATE", help="How to print it.")
    ] = None,
) -> None:
    """Show what containers use of processors, memory, network and disks."""
    from hyrun import stats

    store = current_store()
    # Docker: a name that means nothing is an error before anything is shown.
    words = {container_list.find(store, name).id: name for name in names or ()}
    look = _Look(store, words, show_all=show_all, no_trunc=no_trunc, sample=stats.sample)
    live = not no_stream and format_ in (None, "", "table") and sys.stdout is not None and sys.stdout.isatty()
    if live:
        _redraw(look)
        return
    while True:
        look.wait()
        output.emit(format_, headers=_HEADERS, columns=_COLUMNS, items=look.rows())
        if no_stream:
            return


class _Look:
    """The samples of one `stats`, from which each next one takes the difference."""

    def __init__(
        self, store: Store, words: dict[str, str], *, show_all: bool, no_trunc: bool, sample: Callable[..., Any]
    ) -> None:
        self.store, self.words, self.show_all, self.no_trunc, self.sample = store, words, show_all, no_trunc, sample
        self.before: dict[str, Any] = {}
        self._take()

    def wait(self) -> None:
        """Let time pass between two samples."""
        time.sleep(_INTERVAL)

    def rows(self) -> list[dict[str, Any]]:
        """Look again; return docker's fields of each container."""
        from hyrun import stats

        before = self.before
        found = []
        for record in self._take():
            now = self.before[record.id]
            word = self.words.get(record.id, record.id[:12])
            found.append(stats.row(record, word, before.get(record.id, now), now, no_trunc=self.no_trunc))
        return found

    def _take(self) -> list[Record]:
        records = [record for record in container_list.list_all(self.store) if self._wanted(record)]
        if self.words:
            order = list(self.words)
            records.sort(key=lambda record: order.index(record.id))
        self.before = {record.id: self.sample(self.store, record) for record in records}
        return records

    def _wanted(self, record: Record) -> bool:
        return record.id in self.words if self.words else self.show_all or record.pid > 0


def _redraw(look: _Look) -> None:
    """Show a table that is drawn anew every second, until Ctrl-C."""
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def table(rows: list[dict[str, Any]]) -> Table:
        shown = Table(*_HEADERS, box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for row in rows:
            # Names come from people, and are no markup.
            shown.add_row(*(Text(visible(str(row[column]))) for column in _COLUMNS))
        return shown

    with Live(table([]), auto_refresh=False) as live:
        try:
            while True:
                look.wait()
                live.update(table(look.rows()), refresh=True)
        except KeyboardInterrupt:
            return


def _each(names: list[str], act: Callable[[Store, Record], None]) -> None:
    """Do it for each container and print its name; go on after an error, and exit with 1 then."""
    store = current_store()
    failed = False
    for name in names:
        try:
            act(store, container_list.find(store, name))
        except HyrunError as error:
            output.message(f"hyrun: {error}")
            failed = True
            continue
        typer.echo(name)
    if failed:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to the application, at the top and to the group ``container``."""
    rest = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    for command, example, settings in (
        (cp, "hyrun cp web:/var/log/app . ; tar c conf | hyrun cp - web:/etc", {}),
        (top, "hyrun top web ; hyrun top web -o pid,rss,cmd", rest),
        (stats, "hyrun stats --no-stream --format '{{.Name}} {{.MemUsage}}'", {}),
        (pause, "hyrun pause web", {}),
        (unpause, "hyrun unpause web", {}),
    ):
        for where, panel in ((app, _PANEL), (group, None)):
            where.command(
                command.__name__, epilog=f"Example: {example}", context_settings=settings, rich_help_panel=panel
            )(command)
