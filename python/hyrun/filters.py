"""``--filter name=value``, as every list command of docker reads it. Pure.

Source: https://docs.docker.com/engine/cli/filter/.
"""

from __future__ import annotations

from .errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set


def parse(filters: Iterable[str], allowed: Set[str]) -> dict[str, list[str]]:
    """Sort filters by their name, which is read in lower case; the values keep their order.

    ``allowed`` are the names the command knows (``label!`` for ``label!=x``). InvalidArgument for any other.
    """
    wanted: dict[str, list[str]] = {}
    for text in filters:
        if not text.strip():
            continue
        name, equals, value = text.partition("=")
        name = name.strip().lower()
        if not equals:
            raise InvalidArgument(f"invalid filter {_quoted(text.strip())}: write name=value with {_list(allowed)}")
        if name not in allowed:
            raise InvalidArgument(f"invalid filter {_quoted(name)}: write {_list(allowed)}")
        wanted.setdefault(name, []).append(value.strip())
    return wanted


def match_labels(labels: Mapping[str, str] | None, wanted: Iterable[str]) -> bool:
    """Tell whether all of ``wanted`` are there, each ``key`` (whatever its value) or ``key=value``."""
    for text in wanted:
        key, equals, value = text.partition("=")
        if labels is None or key not in labels or (equals and labels[key] != value):
            return False
    return True


def boolean(filters: Mapping[str, Sequence[str]], name: str, *, default: bool) -> bool:
    """Return a filter such as ``dangling``: true or 1, false or 0, in docker's spelling only.

    InvalidArgument for another value, or when it was given both ways.
    """
    values = filters.get(name)
    if not values:
        return default
    seen = set()
    for value in values:
        if value not in ("1", "true", "0", "false"):
            raise InvalidArgument(f"invalid filter {_quoted(f'{name}={value}')}: write {name}=true or {name}=false")
        seen.add(value in ("1", "true"))
    if len(seen) > 1:
        raise InvalidArgument(f"invalid filter {_quoted(name)}: it is given both as true and as false")
    return seen.pop()


def _quoted(text: str) -> str:
    return f"'{text}'"


def _list(allowed: Set[str]) -> str:
    return ", ".join(f"{name}=…" for name in sorted(allowed)) or "no filter: this command has none"
