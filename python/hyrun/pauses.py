"""What every command knows of pauses: that they end with a signal that ends the container, and with the container.

The one place that knows of the module `pause`, which is loaded when there is a pause only.
"""

from __future__ import annotations

import os

from .store import Store


def forget(store: Store, identifier: str) -> None:
    """End the pause of a container that is to end, or clean up after that of one that has; no error without one."""
    where = f"{store.run}/{identifier}.paused"
    if not os.path.lexists(where):
        return
    from importlib import import_module

    try:
        pause = import_module("hyrun.pause")
    except ModuleNotFoundError:
        try:
            os.unlink(where)
        except FileNotFoundError:
            pass
        return
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
