"""Small JSON files: how they are read and written, in one place."""

from __future__ import annotations

from ._core import format_json, parse_json
from .store import write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read(path: str) -> dict[str, Any] | None:
    """Return the object in a file; None when it is missing, half written or no object."""
    try:
        with open(path, "rb", buffering=0) as file:
            value = parse_json(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write(path: str, value: dict[str, Any], *, sync: bool) -> None:
    """Replace the file by the object, whole or not at all."""
    write_atomic(path, format_json(value), sync=sync)
