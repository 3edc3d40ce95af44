"""What commands print: data to stdout, everything else to stderr.

A reader that goes away (``hyrun ps | head -1``) ends the command quietly, with the status of a death by
SIGPIPE as for docker. Python ignores that signal, so every function here flushes what it wrote and lets
BrokenPipeError through; the edge of the program catches it around the whole command and leaves with
``sys.exit(pipe_closed())``. stderr is for people: when nobody reads it, its text is dropped.
"""

from __future__ import annotations

import json
import os
import sys

from hyrun.template_values import to_json
from hyrun.templates import Template, unescape
from hyrun.units import ago, duration, short_id, size

from .complaint import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TextIO

__all__ = [
    "ago",
    "duration",
    "emit",
    "message",
    "pipe_closed",
    "print_json",
    "print_lines",
    "short_id",
    "size",
    "table",
]

#: Columns as docker's (Go's text/tabwriter with minwidth 10 and padding 3).
_PADDING = 3
_MINIMUM = 10


def pipe_closed() -> int:
    """Make the interpreter's flush at exit harmless after a BrokenPipeError; return the exit status, 141."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    os.close(null)
    return 141


def print_json(value: Any, indent: int | None = 4) -> None:
    """Print JSON to stdout: indented by 4 as docker's inspect, or on one line with ``indent=None``.

    On a terminal what is not printable is escaped, as it may be anywhere in JSON.
    """
    text = to_json(value, indent=indent)
    if sys.stdout is not None and sys.stdout.isatty() and not text.isprintable():
        # Outside of strings only line feeds are not printable.
        text = "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
    _write(sys.stdout, text + "\n")


def message(text: str) -> None:
    """Print a line to stderr; control characters, which may come from an image, are shown as escapes."""
    try:
        _write(sys.stderr, visible(text, keep="\n\t") + "\n")
    except OSError:
        # Nobody is there to be told.
        pass


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns to stdout under an upper-case header, which is bold on a terminal.

    Cells are shown on one line whatever they hold: control characters become escapes.
    """
    titles = [header.upper() for header in headers]
    lines = [titles, *([visible(cell) for cell in row] for row in rows)]
    widths = [0] * max(map(len, lines))
    for line in lines:
        for column, cell in enumerate(line):
            widths[column] = max(widths[column], len(cell) + _PADDING, _MINIMUM)
    texts = []
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        texts.append("".join((*padded, *line[-1:])))
    if titles and _styled(sys.stdout):
        from rich.style import Style

        texts[0] = Style(bold=True).render(texts[0])
    _write(sys.stdout, "\n".join(texts) + "\n")


def emit(
    fmt: str | None,
    *,
    headers: list[str],
    columns: list[str],
    items: list[dict[str, Any]],
    quiet_key: str | None = None,
) -> None:
    r"""Print a list as ``--format`` and ``--quiet`` ask for.

    ``columns`` are the keys of ``items`` that the default table shows, ``headers`` their titles. ``fmt`` is
    None or ``table`` for that table, ``json`` for one object per line, ``table {{.A}}\t{{.B}}`` for other
    columns, or a template of one line per item. ``quiet_key`` (for --quiet) prints only that value; another
    format than the default wins over it, as in docker. InvalidArgument when the format cannot be read.
    """
    fmt = (fmt or "").strip(" ") or "table"
    if fmt == "table":
        if quiet_key is not None:
            print_lines([str(item[quiet_key]) for item in items])
        else:
            table(headers, [[str(item[column]) for column in columns] for item in items])
    elif fmt == "json":
        print_lines([to_json(item) for item in items])
    elif fmt.startswith("table") and fmt[5:6] in (" ", "{", "\\", "\t"):
        source = unescape(fmt[5:].strip(" "))
        titles = Template(source, header=True).render(_Titles(zip(columns, headers, strict=True)))
        template = Template(source)
        table(titles.split("\t"), [template.render(item).split("\t") for item in items])
    else:
        template = Template(unescape(fmt))
        print_lines([template.render(item) for item in items])


class _Titles(dict[str, object]):
    """The titles of columns; a field that the default table does not show is called by its name."""

    def __missing__(self, key: str) -> object:
        if key == "Label":
            # {{.Label "org.example.job-name"}} has the last word of the label's name as its title (docker).
            return lambda label: str(label).rpartition(".")[2].replace("-", " ").replace("_", " ").upper()
        # A word begins at a capital, but ID and URL are one word each.
        words = []
        for index, char in enumerate(key):
            inner = key[index - 1 : index].isupper() and not key[index + 1 : index + 2].islower()
            words.append(" " + char if char.isupper() and index and not inner else char)
        return "".join(words).upper()


def print_lines(lines: list[str]) -> None:
    """Print lines to stdout at once."""
    if sys.stdout is not None and sys.stdout.isatty():
        # Labels and authors come from images: for a person they are shown, for a program they are passed on.
        lines = [visible(line, keep="\n\t") for line in lines]
    if lines:
        _write(sys.stdout, "\n".join(lines) + "\n")


def _write(stream: TextIO | None, text: str) -> None:
    # Python has no stream object for a descriptor that was closed before it started.
    if stream is None:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:
        # A locale without UTF-8, or a file name that is not text.
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _styled(stream: TextIO | None) -> bool:
    """Tell whether a stream takes escape sequences. Source: https://no-color.org, https://force-color.org."""
    if stream is None or os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()
