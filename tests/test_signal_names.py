"""`signal_names`: how a signal may be written."""

import signal

import pytest

from hyrun import signal_names
from hyrun.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("TERM", 15),
        ("term", 15),
        ("sigkill", 9),
        ("15", 15),
        ("HUP", 1),
        ("CLD", 17),
        ("IO", 29),
        ("POLL", 29),
        ("IOT", 6),
        ("RTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("rtmax-1", signal.SIGRTMAX - 1),
        ("RTMAX", signal.SIGRTMAX),
        ("64", 64),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert signal_names.parse(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "65", "-1", "SIG", "NOSUCH", "SIGSIGTERM", "RTMIN+99", "RTMIN-1", "RTMAX+1", "RTMIN+", "1 5", "¹"]
)
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid signal"):
        signal_names.parse(text)
