"""Which events `hyrun events --filter` lets through. Pure.

Docker: values of one filter are or-ed, different filters are and-ed, labels all have to be there.
Source: moby, daemon/events/filter.go; https://docs.docker.com/reference/cli/docker/system/events/.
"""

from __future__ import annotations

from .event_log import Event
from .filters import match_labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Final

FILTERS: Final = frozenset(("container", "event", "image", "label", "scope", "type", "volume"))
#: Their actions have a command behind a colon, which a filter need not name.
_WITH_COMMAND: Final = ("exec_create", "exec_start", "health_status")


def matches(event: Event, wanted: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether an event passes filters as `filters.parse` returns them."""
    return match_labels(event.attributes, wanted.get("label", ())) and all(
        any(_TESTS[name](event, value) for value in values) for name, values in wanted.items() if name != "label"
    )


def _event(event: Event, value: str) -> bool:
    action = str(event["Action"])
    return action == value or (value in _WITH_COMMAND and action.startswith(f"{value}:"))


def _named(event: Event, kind: str, value: str) -> bool:
    """Docker compares the beginning, of the id as of the name."""
    return event["Type"] == kind and (event.id.startswith(value) or event.attributes.get("name", "").startswith(value))


def _image(event: Event, value: str) -> bool:
    """An image by id or name, with or without its tag; the containers made of it as well."""
    name = event.attributes.get("name" if event["Type"] == "image" else "image", "")
    names = [text for text in (event.id, name) if text]
    return value in names or value in [_without_tag(text) for text in names]


def _without_tag(text: str) -> str:
    head, colon, tag = text.partition("@")[0].rpartition(":")
    return head if colon and "/" not in tag else text.partition("@")[0]


_TESTS: Final[dict[str, Callable[[Event, str], bool]]] = {
    "container": lambda event, value: _named(event, "container", value),
    "event": _event,
    "image": _image,
    "scope": lambda event, value: event.get("scope") == value,
    "type": lambda event, value: event["Type"] == value,
    "volume": lambda event, value: _named(event, "volume", value),
}
