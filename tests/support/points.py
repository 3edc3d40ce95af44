"""At how many points a fault is tried: some, spread evenly, as a rule; HYRUN_FAULT_POINTS says how many, or ``all``."""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_WANTED = os.environ.get("HYRUN_FAULT_POINTS", "")


def spread(points: Sequence[T], most: int) -> list[T]:
    """Return as many of the points as are wanted, ``most`` when nobody has said how many."""
    wanted = len(points) if _WANTED == "all" else min(int(_WANTED or most), len(points))
    return [points[index * len(points) // wanted] for index in range(wanted)]
