"""`moments`: docker's forms of --since and --until, by table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyrun import moments
from hyrun.errors import InvalidArgument

SECOND = 1_000_000_000
#: 2026-01-01T00:00:00Z
DAY = 1_767_225_600 * SECOND
NOW = DAY + 3600 * SECOND + 7


def parse(text: str, offset: int = 0) -> int:
    return moments.parse(text, "--since", now=NOW, offset=offset)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1767225600", DAY),
        ("1767225600.5", DAY + SECOND // 2),
        ("1767225600.000000001", DAY + 1),
        ("2026-01-01", DAY),
        ("2026-01-01Z", DAY),
        ("2026-01-01T00", DAY),
        ("2026-01-01T00:01", DAY + 60 * SECOND),
        ("2026-01-01T00:00:01", DAY + SECOND),
        ("2026-01-01T00:00:01Z", DAY + SECOND),
        ("2026-01-01t00:00:01z", DAY + SECOND),
        ("2026-01-01T00:00:01.25Z", DAY + SECOND + SECOND // 4),
        ("2026-01-01T00:00:00.123456789Z", DAY + 123456789),
        ("2026-01-01T02:30:00+02:30", DAY),
        ("2025-12-31T23:00:00-01:00", DAY),
        ("10m", NOW - 600 * SECOND),
        ("1h30m", NOW - 5400 * SECOND),
        ("1.5h", NOW - 5400 * SECOND),
        (".5s", NOW - SECOND // 2),
        ("90s", NOW - 90 * SECOND),
        ("100ms", NOW - SECOND // 10),
        ("3us2ns", NOW - 3002),
        ("3µs", NOW - 3000),
        ("3μs", NOW - 3000),
        ("0s", NOW),
        ("-10s", NOW + 10 * SECOND),
        ("+10s", NOW - 10 * SECOND),
    ],
)
def test_forms(text: str, expected: int) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01", DAY - 3600 * SECOND),
        ("2026-01-01T05:00", DAY + 4 * 3600 * SECOND),
        ("2026-01-01T05:00:00.5", DAY + 4 * 3600 * SECOND + SECOND // 2),
        ("2026-01-01Z", DAY),
        ("1767225600", DAY),
    ],
)
def test_date_without_a_zone_is_local(text: str, expected: int) -> None:
    assert parse(text, offset=3600) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "x", "m", "-", "+", "10x", "10 m", "1h30", "--5m", "1e9", "yesterday", "٣", "9" * 30 + "h"),
        *("1767225600.", "1767225600.1234567890", "2026-1-1", "2026-13-01", "2026-02-30", "2026-01-01 00:00:00"),
        *("2026-01-01T25:00", "2026-01-01T00:00+25:00"),
    ],
)
def test_anything_else_is_refused_with_the_flag(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--since"):
        parse(text)


@given(st.integers(0, 4_000_000_000 * SECOND), st.integers(-14 * 60, 14 * 60))
def test_what_is_shown_is_read_again(moment: int, minutes: int) -> None:
    text = moments.show(moment, offset=minutes * 60)
    assert moments.parse(text, "x", now=NOW, offset=12345) == moment
    assert len(moments.show(moment)) == 30


@given(st.text(max_size=12))
def test_free_text_is_a_moment_or_refused(text: str) -> None:
    try:
        parse(text)
    except InvalidArgument:
        pass


def test_local_time_has_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "XST-05:30")
    time.tzset()
    try:
        assert moments.show_local(DAY) == "2026-01-01T05:30:00.000000000+05:30"
        assert moments.parse("2026-01-01T05:30:00", "--until") == DAY
    finally:
        monkeypatch.undo()
        time.tzset()
