"""Tables of text, aligned for a terminal or as Markdown."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

Cells = Sequence[Sequence[str]]
#: Title, heads, lines.
Table = tuple[str, tuple[str, ...], list[list[str]]]


def milliseconds(seconds: float) -> str:
    """Return a time as the tables have it."""
    return f"{seconds * 1e3:.2f}"


def summary(samples: Sequence[float], reference: float | None) -> list[str]:
    """Return median, 95th percentile, least, how many times the reference, and how many samples."""
    ordered = sorted(samples)
    middle = median(ordered)
    high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    ratio = f"{middle / reference:.2f}x" if reference else "-"
    return [milliseconds(middle), milliseconds(high), milliseconds(ordered[0]), ratio, str(len(ordered))]


def plain(title: str, heads: Sequence[str], rows: Cells) -> str:
    """Return the table for a terminal: the first column to the left, figures to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows) if column < len(row)) for column in range(len(heads))]
    for row in rows:
        if len(row) == 2:  # a problem in the place of figures takes what room it wants
            widths[1] = min(widths[1], max(len(line[1]) for line in (heads, *rows) if len(line) > 2 or line is heads))
    lines = [title, ""]
    for row in (heads, *rows):
        cells = [
            row[0].ljust(widths[0]),
            *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=False)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def markdown(title: str, heads: Sequence[str], rows: Cells) -> str:
    """Return the same table as Markdown."""
    lines = [f"### {title}", "", "| " + " | ".join(heads) + " |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    lines += ["| " + " | ".join([*row, *[""] * (len(heads) - len(row))]) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write(options: argparse.Namespace, header: list[str], tables: list[Table], samples: dict[str, object]) -> None:
    """Print the tables, and write the files that --markdown and --json ask for."""
    print("\n".join(header), end="\n\n")
    print("\n".join(plain(*parts) for parts in tables))
    if options.markdown:
        facts = "\n".join(f"- {fact}" for fact in header)
        text = "\n".join(markdown(*parts) for parts in tables)
        Path(options.markdown).write_text(f"{facts}\n\n{text}", encoding="utf-8")
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": header, "samples": samples}), encoding="utf-8")
