"""Progress on a terminal: a bar for each part and one for all of them.

A thread of its own draws them, and imports what it needs for that only when the work has taken a moment: what is done
at once costs nothing and shows nothing. Whoever works only counts.
"""

from __future__ import annotations

import threading

from .cli.complaint import visible
from .progress import Parts, Progress, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .progress import Part

#: Seconds of work before anything is shown, and between two pictures.
_PATIENCE = 0.3
_INTERVAL = 0.1


class Bars(Parts):
    """A bar for each part and one for all, gone when the work is done."""

    def __init__(self) -> None:
        super().__init__()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="hyrun-progress", daemon=True)
        self._shown: _Shown | None = None

    def say(self, text: str) -> None:
        """Show a line above the bars, or where they will be."""
        with self.lock:
            if self._shown is None:
                write(visible(text))
            else:
                self._shown.say(visible(text))

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        # Not longer: it may be finding out how large a tree is.
        self._thread.join(1)

    def _draw(self) -> None:
        if self._over.wait(_PATIENCE):
            return
        shown = _Shown()
        try:
            while not self._over.is_set():
                if self.parts:
                    self._show(shown)
                self._over.wait(_INTERVAL)
        except OSError:
            pass  # the terminal has gone: nobody sees it
        finally:
            with self.lock:
                self._shown = None
                shown.end()

    def _show(self, shown: _Shown) -> None:
        with self.lock:
            estimates = [(part, part.total) for part in self.parts.values() if callable(part.total)]
        for part, function in estimates:
            if callable(function):
                part.total = function()
        if self._over.is_set():
            return
        with self.lock:
            self._shown = shown
            rows = list(self.parts.items())
        shown.draw(rows)


class _Shown:
    """The picture, made by rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as RichProgress

        # Asked for by --progress tty, it is shown whatever stderr is.
        self._console = Console(stderr=True, force_terminal=True)
        # What is shown comes from outside: it is no markup.
        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[status]}", markup=False),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
        )
        self._tasks: dict[str, Any] = {}
        self._total = self._bars.add_task("Total", total=0, status="", visible=False)
        self._begun = False

    def say(self, text: str) -> None:
        """Show a line above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def draw(self, rows: list[tuple[str, Part]]) -> None:
        """Show the parts as they are now, and their sum first: a long list is cut at its end."""
        room = self._console.height - 2
        # What is being done matters most, then what is to come.
        for_show = sorted(rows, key=lambda row: (row[1].ended, row[1].done == 0))[:room]
        seen = {name for name, _ in for_show}
        done = total = 0
        for name, part in rows:
            count, expected = part.shown
            size = max(expected, count) if isinstance(expected, int) else None
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(visible(name), total=size, status="", visible=False)
            self._bars.update(
                self._tasks[name], total=size, completed=count, status=visible(part.status), visible=name in seen
            )
            if isinstance(part.total, int):
                done, total = done + part.done, total + max(part.total, part.done)
        self._bars.update(self._total, total=total, completed=done, visible=len(rows) > 1)
        if self._begun:
            self._bars.refresh()
        else:
            self._begun = True
            self._bars.start()

    def end(self) -> None:
        """Wipe the bars away."""
        if self._begun:
            self._bars.stop()
