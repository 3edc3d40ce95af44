"""Progress of several parts, as a pipe, a program and a terminal get it."""

import json
import os
import pty
import subprocess
import sys

import pytest

from hyrun.errors import InvalidArgument
from hyrun.progress import Progress, progress

_WORK = """
from hyrun.progress import progress
with progress({mode!r}) as shown:
    shown.say("1: Pulling from a\\x1b[31m")
    shown.item("abc", "Pulling fs layer", 100)
    shown.item("abc", "Downloading")
    shown.advance("abc", 60)
    shown.restart("abc")
    shown.advance("abc", 100)
    shown.item("abc", "Download complete")
    shown.item("abc", "Download complete")
import sys
print("rich" in sys.modules)
"""


def _lines(mode: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", _WORK.format(mode=mode)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    return done.stderr.splitlines()


@pytest.mark.parametrize("mode", ["auto", "plain"])
def test_a_pipe_gets_a_line_for_each_state_that_lasts(mode: str) -> None:
    assert _lines(mode) == ["1: Pulling from a\\x1b[31m", "abc: Pulling fs layer", "abc: Download complete"]


def test_a_program_gets_objects() -> None:
    objects = [json.loads(line) for line in _lines("json")]
    assert objects[0] == {"status": "1: Pulling from a\x1b[31m"}
    assert {"status": "Downloading", "progressDetail": {"current": 60, "total": 100}, "id": "abc"} in objects


def test_a_terminal_gets_bars_and_a_total() -> None:
    ours, theirs = pty.openpty()
    try:
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
        work = _WORK.format(mode="auto").replace(
            '    shown.item("abc", "Download complete")\n', "    import time; time.sleep(0.3)\n", 1
        )
        subprocess.run(
            [sys.executable, "-c", work], stderr=theirs, stdout=subprocess.DEVNULL, check=True, env=environment
        )
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Total" in shown
    assert "abc" in shown
    assert "100/100 bytes" in shown


def test_quiet_shows_nothing_and_an_unknown_way_is_refused() -> None:
    assert type(progress("tty", quiet=True)) is Progress
    with pytest.raises(InvalidArgument, match="--progress loud: one of auto, tty, plain, json"):
        progress("loud")


def test_nobody_reading_stderr_ends_nothing() -> None:
    script = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 2)\n" + _WORK.format(mode="plain")
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    assert done.stdout == "False\n"
