"""What a registry asks for: the WWW-Authenticate header (RFC 9110, 11.6.1; distribution, docs/spec/auth/token)."""

from typing import NamedTuple

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Challenge(NamedTuple):
    """One challenge; the scheme is lower case, so are the parameters' names."""

    scheme: str
    parameters: dict[str, str]


def parse(headers: list[str]) -> list[Challenge]:
    """Return the challenges in the values of the header, in order; what cannot be read ends a value."""
    return [challenge for header in headers for challenge in _parse(header)]


def _parse(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    position = 0
    while position < len(text):
        if text[position] in " \t,":
            position += 1
            continue
        word, position = _word(text, position)
        if not word:
            return found
        if text[position : position + 1] == "=" and found:
            value, position = _value(text, position + 1)
            found[-1].parameters[word.lower()] = value
        else:
            found.append(Challenge(word.lower(), {}))
    return found


def _word(text: str, position: int) -> tuple[str, int]:
    end = position
    while end < len(text) and text[end] in _TOKEN:
        end += 1
    return text[position:end], end


def _value(text: str, position: int) -> tuple[str, int]:
    """Return a token or a quoted string, and where it ends."""
    if text[position : position + 1] != '"':
        return _word(text, position)
    value = ""
    position += 1
    while position < len(text) and text[position] != '"':
        if text[position] == "\\":
            position += 1
        value += text[position : position + 1]
        position += 1
    return value, position + 1
