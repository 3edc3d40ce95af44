"""Points in time as a person writes them for ``--since`` and ``--until``. Pure.

Docker's forms: seconds since 1970 (``1767225600.5``), a date or RFC 3339 in local time or with a zone
(``2026-01-01``, ``2026-01-01T12:00:00.5Z``), a length of time before now (``10m``, ``1h30m``).
Source: https://docs.docker.com/reference/cli/docker/system/events/ and Go's time.ParseDuration.
"""

from __future__ import annotations

import re
import time

from .errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SECOND: Final = 1_000_000_000
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, and below U+03BC: Go takes both
    "μs": 1_000,
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_PIECE: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_DATE: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt]([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9})[0-9]*)?)?)?)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_UNIX: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))?")


def parse(text: str, flag: str, *, now: int | None = None, offset: int | None = None) -> int:
    """Return a moment in nanoseconds since 1970.

    ``flag`` is named in the error. ``now`` is in nanoseconds since 1970; ``offset`` is what local time is ahead of
    UTC, in seconds: those of this machine when not given. InvalidArgument for anything else.
    """
    if now is None:
        now = time.time_ns()
    length = duration(text)
    if length is not None and text != "0":
        return now - length
    if matched := _UNIX.fullmatch(text):
        return int(matched[1]) * SECOND + _fraction(matched[2])
    if matched := _DATE.fullmatch(text):
        if offset is None:
            offset = time.localtime(now // SECOND).tm_gmtoff
        moment = _date(matched, offset)
        if moment is not None:
            return moment
    raise InvalidArgument(
        f"{flag} {text!r}: write seconds since 1970, a date such as 2026-01-31T12:00:00Z, or how long ago, such as 10m"
    )


def duration(text: str) -> int | None:
    """Return a length of time such as ``1h30m`` or ``-1.5s`` in nanoseconds; None when it is none."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    total = position = 0
    while position < len(rest):
        matched = _PIECE.match(rest, position)
        if matched is None or not (matched[1] or matched[2]):
            return None
        unit = _UNITS[matched[3]]
        total += int(matched[1] or 0) * unit + _fraction(matched[2]) * unit // SECOND
        position = matched.end()
    if not rest or total >= 1 << 63:
        return None
    return -total if text[0] == "-" else total


def show(nanoseconds: int, *, offset: int = 0) -> str:
    """Return RFC 3339 with nine digits behind the second, ``offset`` seconds ahead of UTC."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60
    zone = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if offset else "Z"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds + offset))}.{fraction:09d}{zone}"


def show_local(nanoseconds: int) -> str:
    """Return a moment as `show`, in the time of this machine's zone."""
    return show(nanoseconds, offset=time.localtime(nanoseconds // SECOND).tm_gmtoff)


def _fraction(digits: str | None) -> int:
    return int(((digits or "") + "0" * 9)[:9])


def _date(matched: re.Match[str], offset: int) -> int | None:
    import calendar

    day, hour, minute, second, fraction, zone = matched.groups()
    try:
        parsed = time.strptime(f"{day} {hour or '00'}:{minute or '00'}:{second or '00'}", "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None
    if zone in ("Z", "z"):
        offset = 0
    elif zone:
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            return None
        offset = (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)
    return (calendar.timegm(parsed) - offset) * SECOND + _fraction(fraction)
