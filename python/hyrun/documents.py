"""JSON documents of images, read strictly: bounded, UTF-8, no key twice, the types that were asked for."""

import json
from typing import Any, TypeVar

from .errors import StorageError

#: Bytes of a manifest, an index or a configuration (containers/image has the same limit).
MAX_DOCUMENT = 4 << 20

T = TypeVar("T")


def parse(data: bytes, what: str) -> Any:
    """Return the value of a JSON document; ``what`` names it in errors. Raises StorageError."""
    if len(data) > MAX_DOCUMENT:
        raise StorageError(f"{what} has {len(data)} bytes: the limit is {MAX_DOCUMENT}")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant)
    except RecursionError:
        raise StorageError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise StorageError(f"{what} is not JSON: {error}") from None


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """Return a JSON document that must be an object; errors as in ``parse``."""
    return expect(parse(data, what), dict, what)


def expect(value: object, kind: type[T], what: str) -> T:
    """Return ``value`` when it is of that type; a string must also fit into argv and environ (no NUL)."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        found = "missing" if value is None else f"a {type(value).__name__}"
        raise StorageError(f"{what}: want a {kind.__name__}, it is {found}")
    if isinstance(value, str):
        _text(value, what)
    return value


def strings(value: object, what: str) -> list[str]:
    """Return ``value`` when it is a list of strings."""
    return [expect(item, str, what) for item in expect(value, list, what)]


def _text(value: str, what: str) -> None:
    if "\0" in value:
        raise StorageError(f"{what}: contains a NUL byte")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise StorageError(f"{what}: contains half of a surrogate pair") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        # Two readers of one document must not see different values.
        if key in result:
            raise ValueError(f"key {key[:60]!r} appears twice")
        result[key] = value
    return result


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
