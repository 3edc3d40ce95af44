"""Files that are named by the digest of their bytes."""

from __future__ import annotations

import hashlib
import os

_CHUNK = 1 << 20


def damage_of_blob(path: str, name: str) -> str | None:
    """Return what is wrong with a blob: ``missing``, or how it is damaged; None when its bytes have its digest."""
    try:
        if digest_of(path) == name:
            return None
        return "damaged: its bytes have another digest" if os.path.getsize(path) else "damaged: it is empty"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable: {error.strerror}"


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    hasher = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            hasher.update(data)
    return hasher.hexdigest()
