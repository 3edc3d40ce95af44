"""How far work of several parts is (layers of an image), for people, on stderr.

A terminal gets a bar for each part and one for all of them; a pipe gets docker's lines; ``json`` is for
programs: docker's stream of objects, one a line.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from .cli.complaint import visible
from .errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODES = ("auto", "tty", "plain", "json")
#: States that change too fast, or say too little, for a line each.
_FLEETING = frozenset(("Waiting", "Downloading", "Extracting", "Pushing"))
#: Seconds between two objects of one part in ``json``.
_INTERVAL = 0.1


class Progress:
    """Work under way; several threads may report. This base class shows nothing."""

    def say(self, text: str) -> None:
        """Show a line that belongs to no part."""

    def item(self, name: str, status: str, total: int | None = None) -> None:
        """Say what is being done with a part now; ``total`` are its bytes, said once."""

    def advance(self, name: str, amount: int) -> None:
        """Count bytes of a part."""

    def restart(self, name: str) -> None:
        """Count a part from nothing again."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Lines(Progress):
    """Docker's words for a pipe, without the figures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}

    def say(self, text: str) -> None:
        self._write(visible(text))

    def item(self, name: str, status: str, total: int | None = None) -> None:
        with self._lock:
            if self._states.get(name) == status:
                return
            self._states[name] = status
        if status not in _FLEETING:
            self._write(f"{name}: {visible(status)}")

    def _write(self, line: str) -> None:
        try:
            with self._lock:
                print(line, file=sys.stderr, flush=True)
        except OSError:
            pass  # nobody reads it


class _Objects(_Lines):
    """Docker's stream of objects (Docker Engine API, ImageCreate)."""

    def __init__(self) -> None:
        super().__init__()
        self._totals: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._shown: dict[str, float] = {}

    def say(self, text: str) -> None:
        self._emit({"status": text})

    def item(self, name: str, status: str, total: int | None = None) -> None:
        with self._lock:
            self._states[name] = status
            if total is not None:
                self._totals[name] = total
        self._emit({"status": status, "progressDetail": {}, "id": name})

    def advance(self, name: str, amount: int) -> None:
        with self._lock:
            self._done[name] = self._done.get(name, 0) + amount
            now = time.monotonic()
            if now - self._shown.get(name, 0.0) < _INTERVAL:
                return
            self._shown[name] = now
            detail = {"current": self._done[name], "total": self._totals.get(name, 0)}
            status = self._states.get(name, "")
        self._emit({"status": status, "progressDetail": detail, "id": name})

    def restart(self, name: str) -> None:
        with self._lock:
            self._done[name] = 0

    def _emit(self, fields: dict[str, Any]) -> None:
        import json

        self._write(json.dumps(fields))


class _Bars(Progress):
    """A bar for each part and one for all, gone when they are full."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as RichProgress

        self._lock = threading.Lock()
        self._tasks: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._done: dict[str, int] = {}
        # What is shown comes from outside: it is no markup.
        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[status]}", markup=False),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._total = self._bars.add_task("Total", total=0, status="")

    def say(self, text: str) -> None:
        self._bars.console.print(visible(text), markup=False, highlight=False, soft_wrap=True)

    def item(self, name: str, status: str, total: int | None = None) -> None:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(visible(name), total=total, status=visible(status))
                self._sizes[name] = total or 0
            self._bars.update(self._tasks[name], status=visible(status))
            self._show_total()

    def advance(self, name: str, amount: int) -> None:
        with self._lock:
            self._done[name] = self._done.get(name, 0) + amount
            if name in self._tasks:
                self._bars.update(self._tasks[name], completed=self._done[name])
            self._show_total()

    def restart(self, name: str) -> None:
        self.advance(name, -self._done.get(name, 0))

    def _show_total(self) -> None:
        self._bars.update(self._total, total=sum(self._sizes.values()), completed=sum(self._done.values()))

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


def progress(mode: str = "auto", *, quiet: bool = False) -> Progress:
    """Return a context manager that shows progress on stderr. Raises InvalidArgument for an unknown mode."""
    if mode not in MODES:
        raise InvalidArgument(f"--progress {mode}: one of {', '.join(MODES)}")
    if quiet or sys.stderr is None:
        return Progress()
    if mode == "json":
        return _Objects()
    if mode == "plain" or (mode == "auto" and (not sys.stderr.isatty() or os.environ.get("TERM") == "dumb")):
        return _Lines()
    return _Bars()
