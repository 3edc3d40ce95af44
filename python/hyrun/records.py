"""Small JSON files: how they are read and written, in one place."""

from __future__ import annotations

from .store import write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read(path: str) -> dict[str, Any] | None:
    """Return the object in a file; None when it is missing, half written or no object."""
    import json

    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write(path: str, value: dict[str, Any], *, sync: bool) -> None:
    """Replace the file by the object, whole or not at all."""
    import json

    write_atomic(path, json.dumps(value, separators=(",", ":")).encode(), sync=sync)
