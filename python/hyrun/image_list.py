"""What `images` lists: one row for each name of an image, with the fields that docker's --format knows."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from . import moments
from .errors import StorageError
from .filters import boolean, match_labels
from .image_config import Record
from .image_inspect import digests, shown_names, split_name
from .image_store import readable_records, tags, users
from .images import read_record, resolve
from .references import Reference
from .store import Store

#: What `images --filter` knows, as docker.
FILTERS = frozenset(("before", "dangling", "label", "reference", "since", "until"))
_NONE = "<none>"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def rows(
    store: Store,
    filters: Mapping[str, Sequence[str]],
    pattern: str | None = None,
    *,
    complain: Callable[[StorageError], None] | None = None,
) -> list[dict[str, Any]]:
    """Return the rows of all images that pass, the newest first.

    ``complain`` is called for each image whose record is damaged; without it the first one is raised.

    ``filters`` are those of ``FILTERS``, each with its values (``filters.parse``); ``pattern`` is the
    ``REPOSITORY[:TAG]`` of `docker images`. A row holds ``Id``, ``Repository``, ``Tag``, ``Digest``,
    ``Created`` (as in the configuration), ``Size`` (bytes) and ``Containers`` (a number). Raises
    InvalidArgument for a filter or a value that is not known.
    """
    named = tags(store)
    used = users(store)
    tests = _tests(store, filters)
    patterns = filters.get("reference", ())
    found = []
    listed, damaged = readable_records(store)
    for error in damaged:
        if complain is None:
            raise error
        complain(error)
    for record in listed:
        references = named.get(record["id"], [])
        if not all(test(record, references) for test in tests):
            continue
        shown = [
            item
            for item in references
            if (not patterns or any(matches(item, text) for text in patterns))
            and (pattern is None or matches(item, pattern))
        ]
        if not shown and (patterns or pattern is not None):
            continue
        known = digests(record, references)
        lines = [
            (*split_name(item), item.digest or next(iter(known[item.name()]), _NONE)) for item in shown_names(shown)
        ] or [(_NONE, _NONE, record["digest"] or _NONE)]
        for repository, tag, digest in lines:
            found.append(
                {
                    "Id": record["id"],
                    "Repository": repository,
                    "Tag": tag,
                    "Digest": digest,
                    "Created": record["created"],
                    "Size": record["size"],
                    "Containers": len(used.get(record["id"], ())),
                }
            )
    return found


def matches(reference: Reference, pattern: str) -> bool:
    """Tell whether a reference matches a pattern: ``busy*``, ``*:latest``, ``a/b`` (Go's path.Match)."""
    name, tag = split_name(reference)
    head, colon, last = pattern.rpartition(":")
    if colon and "/" not in last:
        return _match(name, head) and fnmatch.fnmatchcase(tag, last)
    return _match(name, pattern)


def is_dangling(references: Sequence[Reference]) -> bool:
    """Tell whether an image has no tag; a digest by which it was pulled is no name that anybody gave it (docker)."""
    return all(each.tag is None for each in references)


def created(record: Record) -> int:
    """Return when an image was made, in nanoseconds since 1970; the year 1 when it does not say, as docker."""
    text = record["created"]
    # Python 3.10 reads neither Z nor nanoseconds.
    zone = text[19:].lstrip(".0123456789")
    try:
        moment = datetime.fromisoformat(text[:19] + ("+00:00" if zone in ("", "Z", "z") else zone))
    except ValueError:
        moment = datetime.min
    since = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)) - _EPOCH
    return since // timedelta(microseconds=1) * 1000


_Test = Callable[[Record, list[Reference]], bool]


def _tests(store: Store, filters: Mapping[str, Sequence[str]]) -> list[_Test]:
    """Return the conditions on an image; ``reference`` chooses names as well, so `rows` looks at it."""
    tests: list[_Test] = []
    if "dangling" in filters:
        dangling = boolean(filters, "dangling", default=False)
        tests.append(lambda record, references: is_dangling(references) == dangling)
    if labels := filters.get("label"):
        tests.append(lambda record, references: match_labels(record["config"].get("Labels"), labels))
    for name, earlier in (("before", True), ("until", True), ("since", False)):
        for value in filters.get(name, ()):
            limit = until(value) if name == "until" else created(read_record(store, resolve(store, value)))
            tests.append(_compare(limit, earlier=earlier))
    return tests


def _compare(limit: int, *, earlier: bool) -> _Test:
    if earlier:
        return lambda record, references: created(record) < limit
    return lambda record, references: created(record) > limit


def until(value: str) -> int:
    """Return the moment of an ``until`` filter in nanoseconds since 1970. Raises InvalidArgument."""
    return moments.parse(value, "filter until=")


def _match(name: str, pattern: str) -> bool:
    # As in Go, `*` does not match a slash.
    left, right = name.split("/"), pattern.split("/")
    return len(left) == len(right) and all(map(fnmatch.fnmatchcase, left, right))
