"""One line on stderr, for the fast path: whatever the text holds, and whether anybody reads it or not."""

from __future__ import annotations

import os


def visible(text: str, keep: str = "") -> str:
    """Show control characters as escapes, but those in ``keep``: a label must not be able to drive the terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )


def complain(text: str) -> None:
    """Write ``hyrun: text`` to descriptor 2."""
    try:
        os.write(2, f"hyrun: {visible(text)}\n".encode(errors="replace"))
    except OSError:
        pass  # nobody is there to be told; the exit status says it


def open_standard_streams() -> None:
    """Open /dev/null in place of each of 0, 1 and 2 that the caller has closed.

    Otherwise the next file that is opened becomes the standard output of this program, or of the container.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open("/dev/null", os.O_RDWR)
