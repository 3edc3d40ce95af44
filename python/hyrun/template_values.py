"""Values as Go prints them, and the functions a template may call. Pure.

Source: https://pkg.go.dev/fmt, https://pkg.go.dev/text/template, docker's format functions
(https://docs.docker.com/engine/cli/formatting/). A function raises ValueError with Go's words;
``templates`` adds the place.
"""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Wider fields are refused by Go's fmt as well.
MAX_WIDTH = 1_000_000

_VERB = re.compile(r"%([-+ #0]*)([0-9]*)(?:\.([0-9]*))?(.)?", re.DOTALL)
_GO_TYPES = (
    (bool, "bool"),
    (int, "int"),
    (float, "float64"),
    (str, "string"),
    (dict, "map"),
    (list, "slice"),
)


class Map(dict["str", "Any"]):
    """A Go map among structs: a key that it does not have is no mistake. ``Map(None)`` is the nil map, null in JSON."""

    __slots__ = ("nil",)

    def __init__(self, items: dict[str, Any] | None) -> None:
        super().__init__(items or ())
        self.nil = items is None


def go_type(value: Any) -> str:
    """Return the name Go would give the type of a value."""
    return next((name for kind, name in _GO_TYPES if isinstance(value, kind)), "nil" if value is None else "value")


def go_float(value: float) -> str:
    """Format a float as Go's %v: the shortest digits, with an exponent below 1e-4 and from 1e21 on."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else ("+Inf" if value > 0 else "-Inf")
    if value == 0 or 1e-4 <= abs(value) < 1e21:
        text = repr(value)
        text = f"{int(value)}" if "e" in text else text
        return text.removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent}"


def go_format(value: Any, scalar: Callable[[Any], str] | None = None) -> str:
    """Format a value as Go's %v: ``map[a:1 b:2]`` sorted by key, ``[a b]``, ``true``, ``<nil>``.

    ``scalar`` formats what is neither a map nor a slice, for the other verbs.
    """
    if isinstance(value, dict):
        items = sorted(
            ((str(key), item) for key, item in value.items() if not callable(item)), key=lambda pair: pair[0]
        )
        return "map[" + " ".join(f"{key}:{go_format(item, scalar)}" for key, item in items) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(go_format(item, scalar) for item in value) + "]"
    if scalar is not None:
        return scalar(value)
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return go_float(value) if isinstance(value, float) else str(value)


def go_print(value: Any) -> str:
    """Format the value of an action: as %v, but a missing one is ``<no value>``."""
    return "<no value>" if value is None else go_format(value)


def truth(value: Any) -> bool:
    """Tell whether Go's ``if`` takes a value: not false, 0, nil or empty."""
    return bool(value)


def quote(text: str) -> str:
    """Quote a string as Go's %q."""
    named = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char in named:
            out.append(named[char])
        elif char.isprintable():
            out.append(char)
        elif ord(char) < 0x80:
            out.append(f"\\x{ord(char):02x}")
        else:
            out.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return '"' + "".join(out) + '"'


def _plain(value: Any) -> Any:
    """Return a value without the functions that a row offers to templates (``.Label``)."""
    if isinstance(value, Map) and value.nil:
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if not callable(item)}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON: compact as docker's ``{{json .}}``, or indented; keys keep their order."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(_plain(value), ensure_ascii=False, indent=indent, separators=separators, default=str)


def _verb(verb: str, flags: str, precision: str | None, value: Any) -> str:
    """Format one scalar for printf; what does not fit the verb shows as Go shows it: ``%!d(string=x)``."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if verb == "v" or (verb == "s" and isinstance(value, str)):
        text = go_format(value)
        return text[: int(precision or 0)] if precision is not None and isinstance(value, str) else text
    if verb == "q" and isinstance(value, str):
        return quote(value)
    if verb == "t" and isinstance(value, bool):
        return go_format(value)
    if verb in "xX" and isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape").hex()
        return text.upper() if verb == "X" else text
    if verb in "dxXob" and number and isinstance(value, int):
        return format(value, "+" + verb if "+" in flags else verb)
    if verb == "c" and number and isinstance(value, int) and 0 <= value < 0x110000:
        return chr(value)
    if verb in "eEfFgG" and isinstance(value, float):
        digits = min(int(precision or 0), 1000) if precision is not None else None
        if digits is None and verb in "gG":
            return go_float(value)
        return format(value, f"{'+' if '+' in flags else ''}.{6 if digits is None else digits}{verb}")
    return f"%!{verb}({go_type(value)}={go_format(value)})" if value is not None else f"%!{verb}(<nil>)"


def printf(form: Any, *values: Any) -> str:
    """Format as Go's fmt.Sprintf: %s %d %q %v %t %x %o %b %c %f %e %g with flags, width and precision."""
    if not isinstance(form, str):
        raise ValueError(f"the format must be a string, not {go_type(form)}")
    rest = list(values)

    def replace(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        value = rest.pop(0)
        text = go_type(value) if verb == "T" else go_format(value, lambda item: _verb(verb, flags, precision, item))
        if len(width) > 7 or int(width or 0) > MAX_WIDTH:
            raise ValueError(f"a field of width {width[:20]} is too wide")
        if "-" in flags:
            return text.ljust(int(width or 0))
        zeros = "0" in flags and isinstance(value, (int, float))
        return text.zfill(int(width or 0)) if zeros else text.rjust(int(width or 0))

    text = _VERB.sub(replace, form)
    if rest:
        extra = ", ".join("<nil>" if value is None else f"{go_type(value)}={go_format(value)}" for value in rest)
        text += f"%!(EXTRA {extra})"
    return text


def _print(*values: Any) -> str:
    # Go's Sprint puts a space between two operands when neither is a string.
    out = ""
    for index, value in enumerate(values):
        gap = index and not isinstance(value, str) and not isinstance(values[index - 1], str)
        out += (" " if gap else "") + go_format(value)
    return out


def index(item: Any, *keys: Any) -> Any:
    """Return ``item[key]…``; a key that a map does not have gives the zero value of the others' type."""
    for key in keys:
        if isinstance(item, (list, tuple, str)):
            if not isinstance(key, int) or isinstance(key, bool):
                raise ValueError(f"cannot index slice/array with type {go_type(key)}")
            values = item.encode("utf-8", "surrogateescape") if isinstance(item, str) else item
            if not 0 <= key < len(values):
                raise ValueError(f"index out of range: {key}")
            item = values[key]
        elif isinstance(item, dict) or item is None:
            # No map at all is Go's nil map: labels that an image does not have are "".
            item = item or {}
            item = item[key] if key in item else _zero(list(item.values()))
        else:
            raise ValueError(f"can't index item of type {go_type(item)}")
    return item


def _zero(values: list[Any]) -> Any:
    kinds = {type(value) for value in values}
    if not kinds:
        return ""
    return kinds.pop()() if len(kinds) == 1 and kinds <= {str, int, float, bool, list, dict} else None


def _slice(item: Any, *bounds: Any) -> Any:
    if not isinstance(item, (str, list, tuple)):
        raise ValueError(f"can't slice item of type {go_type(item)}")
    if not all(isinstance(bound, int) and 0 <= bound <= len(item) for bound in bounds) or len(bounds) > 2:
        raise ValueError(f"slice index out of range: {go_format(list(bounds))}")
    return item[slice(bounds[0] if bounds else 0, bounds[1] if len(bounds) > 1 else len(item))]


def _length(item: Any) -> int:
    if item is None:
        return 0
    if isinstance(item, str):
        return len(item.encode("utf-8", "surrogateescape"))
    if isinstance(item, (dict, list, tuple)):
        return len(item)
    raise ValueError(f"len of type {go_type(item)}")


def _comparable(left: Any, right: Any) -> None:
    # A bool is an int in Python and not in Go.
    kinds = [
        type(value) if isinstance(value, (bool, str)) else (int if isinstance(value, (int, float)) else None)
        for value in (left, right)
    ]
    if kinds[0] is None or kinds[0] is not kinds[1]:
        raise ValueError(f"incompatible types for comparison: {go_type(left)} and {go_type(right)}")


def equal(left: Any, *others: Any) -> bool:
    """Tell whether the first value equals any of the others; values of different kinds are an error."""
    if not others:
        raise ValueError("missing argument for comparison")
    for right in others:
        if left is not None and right is not None:
            _comparable(left, right)
        if left == right:
            return True
    return False


def _less(left: Any, right: Any) -> bool:
    _comparable(left, right)
    if isinstance(left, bool):
        raise ValueError("invalid type for comparison: bool")
    return bool(left < right)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"wrong type for value; expected string; got {go_type(value)}")
    return value


def _title(text: Any) -> str:
    out, start = "", True
    for char in _text(text):
        out += char.upper() if start else char
        start = char.isspace() or (char.isascii() and not char.isalnum() and char != "_")
    return out


def _join(items: Any, separator: Any) -> str:
    if items is not None and not isinstance(items, (list, tuple)):
        raise ValueError(f"wrong type for value; expected []string; got {go_type(items)}")
    return _text(separator).join(go_format(item) for item in items or ())


def _pad(text: Any, before: int, after: int) -> str:
    if max(before, after) > MAX_WIDTH:
        raise ValueError(f"more than {MAX_WIDTH} spaces")
    return " " * before + _text(text) + " " * after if text else ""


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": equal,
    "ge": lambda left, right: not _less(left, right),
    "gt": lambda left, right: _less(right, left),
    "index": index,
    "join": _join,
    "json": to_json,
    "le": lambda left, right: not _less(right, left),
    "len": _length,
    "lower": lambda text: _text(text).lower(),
    "lt": _less,
    "ne": lambda left, right: not equal(left, right),
    "not": lambda value: not truth(value),
    "pad": _pad,
    "print": _print,
    "printf": printf,
    "println": lambda *values: " ".join(go_format(value) for value in values) + "\n",
    "slice": _slice,
    "split": lambda text, separator: _text(text).split(separator) if _text(separator) else list(text),
    "title": _title,
    "truncate": lambda text, length: _text(text)[: max(int(length), 0)],
    "upper": lambda text: _text(text).upper(),
}

#: In the header of a table these give back what they get: {{json .Names}} stands in a column called NAMES.
HEADER_FUNCTIONS: dict[str, Callable[..., Any]] = FUNCTIONS | {
    name: lambda value, *_: value for name in ("join", "json", "lower", "split", "title", "truncate", "upper")
}
