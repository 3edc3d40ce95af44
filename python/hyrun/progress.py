"""How far work of several parts is (layers of an image), for people, on stderr.

A terminal gets a bar for each part and one for all of them, once the work has taken a moment; a pipe gets docker's
lines; ``json`` is for programs: docker's stream of objects, one a line.
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
    from collections.abc import Callable
    from typing import Any

    from ._core import Meter

MODES = ("auto", "tty", "plain", "json")
#: States that change too fast, or say too little, for a line each.
_FLEETING = frozenset(
    (
        "Waiting", "Downloading", "Extracting", "Preparing", "Pushing", "Reading", "Decompressing", "Loading layer",
        "Saving layer", "Verifying", "Read", "Importing", "Committing", "Exporting", "Checking", "Checked",
    )
)  # fmt: skip
#: States after which nothing is left to do for a part.
_ENDS = frozenset(
    (
        "Pull complete", "Already exists", "Pushed", "Layer already exists", "Layer loaded", "Layer saved", "Read",
        "Checked",
    )
)  # fmt: skip
#: Seconds between two objects of one part in ``json``.
_INTERVAL = 0.1


class Progress:
    """Work under way; several threads may report. This base class shows nothing."""

    def say(self, text: str) -> None:
        """Show a line that belongs to no part."""

    def item(self, name: str, status: str, total: int | Callable[[], int] | None = None) -> None:
        """Say what is being done with a part now; ``total`` are its bytes, said once.

        A function is called when somebody wants to see the number, from another thread: it is an estimate then.
        """

    def advance(self, name: str, amount: int) -> None:
        """Count bytes of a part."""

    def follow(self, name: str, meter: Meter) -> None:
        """Count the bytes of a part that a meter counts, from now on."""

    def aside(self, name: str, status: str, total: int, meter: Meter) -> None:
        """Say that a step is being done that is not in the sum over all parts: the next `item` ends it.

        It has ``total`` bytes, which the meter counts.
        """

    def restart(self, name: str) -> None:
        """Count a part from nothing again."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Part:
    """What is known of one part."""

    __slots__ = ("_counted", "_meter", "aside", "status", "total")

    def __init__(self) -> None:
        self.status = ""
        self.aside: tuple[int, Meter] | None = None
        self.total: int | Callable[[], int] | None = None
        self._counted = 0
        self._meter: Meter | None = None

    def advance(self, amount: int) -> None:
        """Count bytes."""
        self._counted += amount

    def follow(self, meter: Meter) -> None:
        """Count what the meter counts from now on."""
        self._counted = self.metered - meter.count
        self._meter = meter

    def restart(self) -> None:
        """Count from nothing again."""
        self._counted, self._meter = 0, None

    @property
    def metered(self) -> int:
        """The bytes that have been counted."""
        return self._counted + (0 if self._meter is None else self._meter.count)

    @property
    def shown(self) -> tuple[int, int | Callable[[], int] | None]:
        """The bytes of the step that is being done: how many are through, and of how many."""
        if self.aside is not None:
            return self.aside[1].count, self.aside[0]
        return self.done, self.total

    @property
    def done(self) -> int:
        """The bytes that need no work any more: all of them in the end, whatever was counted."""
        return self.total if self.ended and isinstance(self.total, int) else self.metered

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.status in _ENDS or self.status.startswith("Mounted from ")


class Parts(Progress):
    """Keeps what is known of each part, under ``lock``, in the order in which they came."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.parts: dict[str, Part] = {}

    def item(self, name: str, status: str, total: int | Callable[[], int] | None = None) -> None:
        """Keep the state of a part, and its bytes."""
        with self.lock:
            part = self.part(name)
            part.status = status
            part.aside = None
            if total is not None:
                part.total = total

    def aside(self, name: str, status: str, total: int, meter: Meter) -> None:
        """Keep the state of a part, and the step."""
        self.item(name, status)
        with self.lock:
            self.part(name).aside = total, meter

    def advance(self, name: str, amount: int) -> None:
        """Count bytes of a part."""
        with self.lock:
            self.part(name).advance(amount)

    def follow(self, name: str, meter: Meter) -> None:
        """Count what a meter counts."""
        with self.lock:
            self.part(name).follow(meter)

    def restart(self, name: str) -> None:
        """Count a part from nothing again."""
        with self.lock:
            self.part(name).restart()

    def part(self, name: str) -> Part:
        """Return a part, made if it is new; hold ``lock``."""
        return self.parts.setdefault(name, Part())


class _Lines(Progress):
    """Docker's words for a pipe, without the figures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}

    def say(self, text: str) -> None:
        write(visible(text))

    def item(self, name: str, status: str, total: int | Callable[[], int] | None = None) -> None:
        with self._lock:
            if self._states.get(name) == status:
                return
            self._states[name] = status
            if status not in _FLEETING:
                write(f"{visible(name)}: {visible(status)}")

    def aside(self, name: str, status: str, total: int, meter: Meter) -> None:
        self.item(name, status)


class _Objects(Parts):
    """Docker's stream of objects (Docker Engine API, ImageCreate)."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, float] = {}
        self._emitting = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, text: str) -> None:
        self._emit({"status": text})

    def item(self, name: str, status: str, total: int | Callable[[], int] | None = None) -> None:
        super().item(name, status, total)
        self._emit({"status": status, "progressDetail": {}, "id": name})

    def advance(self, name: str, amount: int) -> None:
        super().advance(name, amount)
        now = time.monotonic()
        with self.lock:
            if now - self._shown.get(name, 0.0) < _INTERVAL:
                return
            self._shown[name] = now
        self._tell(name)

    def follow(self, name: str, meter: Meter) -> None:
        super().follow(name, meter)
        self._begin_to_look()

    def aside(self, name: str, status: str, total: int, meter: Meter) -> None:
        super().aside(name, status, total, meter)
        self._begin_to_look()

    def _begin_to_look(self) -> None:
        with self.lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="hyrun-progress", daemon=True)
                self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(1)

    def _look(self) -> None:
        """Tell now and then what meters count."""
        told: dict[str, int] = {}
        while not self._over.wait(_INTERVAL):
            with self.lock:
                counts = {name: part.shown[0] for name, part in self.parts.items() if not part.ended}
            for name, count in counts.items():
                if told.get(name, 0) != count:
                    self._tell(name)
            told = counts

    def _tell(self, name: str) -> None:
        with self.lock:
            part = self.parts[name]
            count, total = part.shown
        if callable(total):
            part.total = total = total()
        detail = {"current": count, "total": total or 0}
        self._emit({"status": part.status, "progressDetail": detail, "id": name})

    def _emit(self, fields: dict[str, Any]) -> None:
        import json

        with self._emitting:
            write(json.dumps(fields))


def write(line: str) -> None:
    """Write a line to stderr, unless nobody reads it."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        pass


def progress(mode: str = "auto", *, quiet: bool = False) -> Progress:
    """Return a context manager that shows progress on stderr. Raises InvalidArgument for an unknown mode.

    ``auto`` is ``tty`` on a terminal that can move its cursor, ``plain`` elsewhere.
    """
    if mode not in MODES:
        raise InvalidArgument(f"--progress {mode}: one of {', '.join(MODES)}")
    if quiet or sys.stderr is None:
        return Progress()
    if mode == "json":
        return _Objects()
    if mode == "plain" or (mode == "auto" and (not sys.stderr.isatty() or os.environ.get("TERM") == "dumb")):
        return _Lines()
    from .progress_bars import Bars

    return Bars()
