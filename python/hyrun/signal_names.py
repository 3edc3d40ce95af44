"""Signals as docker's flags take them: ``SIGTERM``, ``term``, ``15``, ``RTMIN+3``. Source: signal(7)."""

from __future__ import annotations

import signal

from .errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_RTMIN: Final = int(signal.SIGRTMIN)
_RTMAX: Final = int(signal.SIGRTMAX)
_NAMES: Final = {
    **{number.name.removeprefix("SIG"): int(number) for number in signal.Signals},
    # Linux has two names for these.
    "IOT": int(signal.SIGABRT),
    "CLD": int(signal.SIGCHLD),
    "POLL": int(signal.SIGIO),
    "STKFLT": 16,
}


def parse(text: str) -> int:
    """Return the number of a signal; InvalidArgument for what is none."""
    word = text.strip().upper()
    if word.isascii() and word.isdecimal():
        number = int(word) if len(word) < 4 else 0
        if 1 <= number <= _RTMAX:
            return number
        raise _invalid(text)
    word = word.removeprefix("SIG")
    if word in _NAMES:
        return _NAMES[word]
    for base, start, sign in (("RTMIN+", _RTMIN, 1), ("RTMAX-", _RTMAX, -1)):
        digits = word.removeprefix(base)
        if digits != word and digits.isascii() and digits.isdecimal() and len(digits) < 3:
            number = start + sign * int(digits)
            if _RTMIN <= number <= _RTMAX:
                return number
    raise _invalid(text)


def _invalid(text: str) -> InvalidArgument:
    return InvalidArgument(f"invalid signal: {text}: write a name such as SIGTERM, HUP or RTMIN+3, or 1 to {_RTMAX}")
