"""Small JSON files: how they are read and written, in one place."""

from __future__ import annotations

import os

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


def create(path: str, value: dict[str, Any]) -> None:
    """Write a file that is not there yet; for one moment a reader may see a part of it, which is no record."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        data = format_json(value)
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def write(path: str, value: dict[str, Any], *, sync: bool) -> None:
    """Replace the file by the object, whole or not at all."""
    write_atomic(path, format_json(value), sync=sync)
