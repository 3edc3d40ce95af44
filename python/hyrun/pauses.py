"""What every command knows of pauses: that they end with a signal that ends the container, and with the container.

The module `pause` is loaded only when there is one.
"""

from __future__ import annotations

import os

from .store import Store


def forget(store: Store, identifier: str) -> None:
    """End the pause of a container that is to end, or clean up after that of one that has; no error without one."""
    if os.path.lexists(f"{store.run}/{identifier}.paused"):
        from . import pause

        pause.forget(store, identifier)


def forget_those_of_nobody(store: Store) -> None:
    """Clean up after containers that ended, and were removed, while they were paused."""
    for name in os.listdir(store.run):
        identifier, dot, suffix = name.partition(".")
        if not dot or not suffix.startswith("paused") or os.path.isdir(store.path("containers", identifier)):
            continue
        if suffix == "paused":
            forget(store, identifier)
            continue
        try:
            os.unlink(f"{store.run}/{name}")  # of a pause that was killed
        except FileNotFoundError:
            pass
