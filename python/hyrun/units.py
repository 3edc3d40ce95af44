"""Sizes, times and ids in the words docker uses for people. Pure.

Source: github.com/docker/go-units (HumanSizeWithPrecision with 3 digits, HumanDuration).
"""

from __future__ import annotations

import time

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")


def size(n: float) -> str:
    """Return a number of bytes with three digits and a decimal unit: ``1.23MB``."""
    number, unit = float(n), 0
    # What would round to 1000 belongs to the next unit: 999.9 kB is 1MB.
    while abs(number) >= 999.5 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g}{_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Return a length of time in docker's words: ``5 minutes``, ``About an hour``, ``2 weeks``."""
    whole = max(int(seconds), 0)
    minutes, hours = whole // 60, int(whole / 3600 + 0.5)
    if whole < 60:
        return "Less than a second" if whole < 1 else "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, length, word in ((336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months")):
        if hours < limit:
            return f"{hours // length} {word}"
    return f"{whole // 3600 // 8760} years"


def ago(timestamp: float | str | None, *, now: float | None = None) -> str:
    """Return how long ago something was: ``5 minutes ago``.

    ``timestamp`` is in seconds since 1970, or RFC 3339 text as in an image's config; ``N/A`` when it is
    neither, or docker's year 1, which means "never". ``now`` is in seconds since 1970.
    """
    moment = _seconds(timestamp) if isinstance(timestamp, str) else timestamp
    if moment is None or moment != moment or abs(moment) > 1e12:
        return "N/A"
    return duration((time.time() if now is None else now) - moment) + " ago"


def created_at(text: str) -> str:
    """Return RFC 3339 text as docker's `images` shows it, in local time: ``2026-01-31 12:00:00 +0000 UTC``."""
    return _shown(text, "%Y-%m-%d %H:%M:%S %z %Z", "0001-01-01 00:00:00 +0000 UTC")


def created_on(text: str) -> str:
    """Return RFC 3339 text as docker's `history` shows it: whole seconds, in UTC."""
    return _shown(text, "%Y-%m-%dT%H:%M:%SZ", "0001-01-01T00:00:00Z", utc=True)


def _shown(text: str, form: str, never: str, *, utc: bool = False) -> str:
    seconds = _seconds(text)
    if seconds is None or not 0 <= seconds < 1e11:
        return never
    return time.strftime(form, time.gmtime(seconds) if utc else time.localtime(seconds))


def short_id(id: str) -> str:
    """Return the first 12 digits of an id, without ``sha256:``."""
    return id.removeprefix("sha256:")[:12]


def _seconds(text: str) -> float | None:
    from datetime import datetime, timezone

    # Python 3.10 reads neither Z nor nanoseconds, which is what every image has.
    base, zone = text[:19], text[19:].lstrip(".0123456789")
    if zone in ("Z", "z", ""):
        zone = "+00:00"
    try:
        moment = datetime.fromisoformat(base + zone)
    except ValueError:
        return None
    if moment.year <= 1:
        return None
    return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
