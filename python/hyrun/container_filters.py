"""Which containers `ps --filter` shows.

Docker: values of one filter are or-ed, different filters are and-ed, labels all have to be there.
Source: https://docs.docker.com/reference/cli/docker/container/ls/#filter.
"""

from __future__ import annotations

import re

from . import filters, images
from .container_record import Record
from .errors import HyrunError, InvalidArgument, NotFound, NotSupported
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Final

FILTERS: Final = frozenset(
    ("ancestor", "before", "exited", "health", "id", "label", "name", "network", "since", "status", "volume")
)
#: Docker looks at all containers for these, whatever --all says.
FOR_ALL: Final = frozenset(("status", "exited"))
_STATUSES: Final = ("created", "restarting", "running", "removing", "paused", "exited", "dead")


def compile(store: Store, wanted: Mapping[str, Sequence[str]], found: Sequence[Record]) -> Callable[[Record], bool]:
    """Return the test that ``wanted`` (from `filters.parse`) means.

    ``found`` are all containers: ``before`` and ``since`` name one of them. InvalidArgument for a value that means
    nothing, NotFound for a container that is not there.
    """
    if "health" in wanted:
        raise NotSupported("--filter health=… is not supported by hyrun: there are no health checks; leave it out")
    tests = [
        _any([_TESTS[name](store, value, found) for value in values])
        for name, values in wanted.items()
        if name != "label"
    ]
    labels = wanted.get("label", ())
    return lambda record: filters.match_labels(record.labels, labels) and all(test(record) for test in tests)


def _any(tests: Sequence[Callable[[Record], bool]]) -> Callable[[Record], bool]:
    return lambda record: any(test(record) for test in tests)


def _id(_store: Store, value: str, _found: Sequence[Record]) -> Callable[[Record], bool]:
    return lambda record: record.id.startswith(value)


def _name(_store: Store, value: str, _found: Sequence[Record]) -> Callable[[Record], bool]:
    """A part of the name, or a regular expression; docker's names may begin with a slash."""
    try:
        pattern = re.compile(value)
    except re.error:
        return lambda record: value in record.name
    return lambda record: any(pattern.search(name) for name in (record.name, f"/{record.name}"))


def _status(_store: Store, value: str, _found: Sequence[Record]) -> Callable[[Record], bool]:
    if value not in _STATUSES:
        raise InvalidArgument(f"invalid filter 'status={value}': write {', '.join(_STATUSES[:-1])} or {_STATUSES[-1]}")
    return lambda record: record.status == value


def _exited(_store: Store, value: str, _found: Sequence[Record]) -> Callable[[Record], bool]:
    try:
        code = int(value)
    except ValueError:
        raise InvalidArgument(f"invalid filter 'exited={value}': write an exit status, such as exited=0") from None
    return lambda record: record.status == "exited" and record.exit_code == code


def _volume(_store: Store, value: str, _found: Sequence[Record]) -> Callable[[Record], bool]:
    return lambda record: any(
        value in (mount.get("Name"), mount.get("Source"), mount.get("Destination"))
        for mount in record.config.get("Mounts") or ()
    )


def _network(_store: Store, value: str, _found: Sequence[Record]) -> Callable[[Record], bool]:
    return lambda record: record.config.get("NetworkMode", "none") == value


def _ancestor(store: Store, value: str, _found: Sequence[Record]) -> Callable[[Record], bool]:
    """The image itself by name or id, and those that were made on top of it."""
    layers: list[str] = []
    identifier = ""
    try:
        image = images.lookup(store, value)
        identifier = image.id
        layers = image.own_layers(store) if image.layers else []
    except HyrunError:
        pass  # removed: containers of that name may still be there

    def test(record: Record) -> bool:
        name = str(record.config.get("ImageName", ""))
        own = [layer for layer in record.config.get("Layers") or () if layer != store.skeleton]
        return (
            value in (name, name.removesuffix(":latest"), record.config.get("Image"))
            or (identifier != "" and record.config.get("Image") == identifier)
            or (layers != [] and len(own) > len(layers) and own[-len(layers) :] == layers)
        )

    return test


def _before(_store: Store, value: str, found: Sequence[Record]) -> Callable[[Record], bool]:
    limit = _one(value, found, "before").created
    return lambda record: record.created < limit


def _since(_store: Store, value: str, found: Sequence[Record]) -> Callable[[Record], bool]:
    limit = _one(value, found, "since").created
    return lambda record: record.created > limit


def _one(word: str, found: Sequence[Record], name: str) -> Record:
    matches = [record for record in found if record.id == word or record.name == word.removeprefix("/")]
    matches = matches or [record for record in found if word and record.id.startswith(word)]
    if len(matches) != 1:
        what = "is ambiguous: write more digits" if matches else "is no container: hyrun ps -a lists what there is"
        raise NotFound(f"--filter {name}={word}: {word} {what}")
    return matches[0]


_TESTS: dict[str, Callable[[Store, str, Sequence[Record]], Callable[[Record], bool]]] = {
    "ancestor": _ancestor,
    "before": _before,
    "exited": _exited,
    "id": _id,
    "name": _name,
    "network": _network,
    "since": _since,
    "status": _status,
    "volume": _volume,
}
