"""What is recorded of a volume: ``volume.json`` and the object that is made of it."""

from __future__ import annotations

import time

from ._core import format_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: Docker's mark of a volume that nobody named; its value is empty.
ANONYMOUS_LABEL = "com.docker.volume.anonymous"


class Volume:
    """What is known of one volume. ``created`` is RFC 3339, UTC; ``path`` is the host path of its data."""

    __slots__ = ("anonymous", "created", "driver", "labels", "name", "options", "path")

    def __init__(
        self,
        *,
        name: str,
        path: str,
        created: str,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        anonymous: bool = False,
    ) -> None:
        self.name = name
        self.path = path
        self.created = created
        self.driver = "local"
        self.labels = dict(labels or ())
        self.options = dict(options or ())
        self.anonymous = anonymous

    def __repr__(self) -> str:
        return f"Volume({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"

    def inspect(self) -> dict[str, object]:
        """Return what ``volume inspect`` prints: Docker's keys and order, null for empty, whole seconds."""
        return {
            "CreatedAt": self.created[:19] + "Z",
            "Driver": self.driver,
            "Labels": self.labels or None,
            "Mountpoint": self.path,
            "Name": self.name,
            "Options": self.options or None,
            "Scope": "local",
        }


def timestamp(nanoseconds: int) -> str:
    """Return RFC 3339 text, UTC, for nanoseconds since 1970."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


def encode(name: str, created: str, labels: Mapping[str, str] | None, *, anonymous: bool) -> bytes:
    """Return the content of volume.json."""
    own = {ANONYMOUS_LABEL: ""} if anonymous else {}
    return format_json(
        {
            "name": name,
            "created": created,
            "driver": "local",
            "labels": {**own, **(labels or {})},
            "options": {},
            "anonymous": anonymous,
        }
    )
