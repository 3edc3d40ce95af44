"""Progress of several parts, as a pipe, a program and a terminal get it."""

import json
import os
import pty
import re
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


def _on_a_terminal(work: str) -> str:
    """Return what a script shows on a terminal of 120 columns and 8 lines."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "8"}
    process = subprocess.Popen([sys.executable, "-c", work], stderr=theirs, stdout=subprocess.PIPE, env=environment)
    os.close(theirs)
    shown = b""
    try:
        # EIO when the last descriptor of the other side is closed.
        while piece := os.read(ours, 1 << 16):
            shown += piece
    except OSError:
        pass
    finally:
        os.close(ours)
    output, _ = process.communicate()
    assert process.returncode == 0, shown
    return shown.decode() + output.decode()


#: Before work that a meter counts: a tree of 3 MiB.
_METERED = """
from hyrun.progress import progress
from hyrun import _core
import os, tempfile
with progress({mode!r}) as shown, tempfile.TemporaryDirectory() as tree:
    open(tree + '/file', 'wb').write(bytes(3 << 20))
    meter = _core.Meter()
"""
#: Waits until the bars have been drawn, and then once more.
_DRAWN = """
    import threading, time
    while not shown._shown: time.sleep(0.05)
    time.sleep(0.3)
"""


def test_a_terminal_gets_bars_and_a_total() -> None:
    shown = _on_a_terminal(
        "from hyrun.progress import progress\n"
        "with progress() as shown:\n"
        "    shown.item('abc', 'Downloading', 100)\n"
        "    shown.item('[bold]def', 'Already exists', 60)\n"
        "    shown.advance('abc', 40)\n" + _DRAWN + "    shown.say('a line \\x1b[1m')\n"
    )
    assert "Total" in shown
    assert "abc" in shown
    assert "[bold]def" in shown
    assert "40/100 bytes" in shown
    assert "100/160 bytes" in shown
    assert "a line \\x1b[1m" in shown


def test_work_that_is_done_at_once_shows_no_bar_and_loads_nothing_for_one() -> None:
    shown = _on_a_terminal(_WORK.format(mode="auto"))
    assert shown == "1: Pulling from a\\x1b[31m\r\nFalse\n"


def test_a_meter_is_read_while_its_call_goes_on() -> None:
    work = (
        _METERED + "    shown.item('abc', 'Saving layer', lambda: 4 << 20)\n"
        "    shown.follow('abc', meter)\n"
        "    fd = os.open(tree, os.O_RDONLY)\n"
        "    _core.pack_layer(fd, os.open('/dev/null', os.O_WRONLY), meter=meter)\n"
        "    assert 3 << 20 < meter.count < 4 << 20\n"
    )
    assert "3.1/4.2 MB" in _on_a_terminal(work.format(mode="tty") + _DRAWN)
    script = work.format(mode="json") + "    import time; time.sleep(0.5)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    (detail,) = [
        item["progressDetail"] for line in done.stderr.splitlines() if (item := json.loads(line))["progressDetail"]
    ]
    assert detail["total"] == 4 << 20
    assert 3 << 20 < detail["current"] < 4 << 20


def test_a_step_aside_has_a_bar_of_its_own_and_no_part_in_the_sum() -> None:
    work = (
        _METERED + "    shown.item('abc', 'Downloading', 100)\n"
        "    shown.item('def', 'Downloading', 100)\n"
        "    shown.advance('abc', 100)\n"
        "    shown.aside('abc', 'Extracting', 4 << 20, meter)\n"
        "    fd = os.open(tree, os.O_RDONLY)\n"
        "    _core.pack_layer(fd, os.open('/dev/null', os.O_WRONLY), meter=meter)\n"
    )
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", _on_a_terminal(work.format(mode="tty") + _DRAWN))
    assert re.search(r"abc +Extracting .* 3\.1/4\.2 MB", shown)
    assert "100/200 bytes" in shown
    script = work.format(mode="json") + "    import time; time.sleep(0.5)\n    shown.item('abc', 'Pull complete')\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    objects = [json.loads(line) for line in done.stderr.splitlines()]
    (extracting,) = [item for item in objects if item["status"] == "Extracting" and item["progressDetail"]]
    assert extracting["progressDetail"]["total"] == 4 << 20
    assert objects[-1]["status"] == "Pull complete"


def test_a_long_list_keeps_what_is_being_done_and_the_total() -> None:
    shown = _on_a_terminal(
        "from hyrun.progress import progress\n"
        "with progress() as shown:\n"
        "    for number in range(20): shown.item(f'done{number}', 'Pull complete', 10)\n"
        "    shown.item('busy', 'Downloading', 100)\n"
        "    shown.item('late', 'Waiting', 100)\n"
        "    shown.advance('busy', 1)\n" + _DRAWN
    )
    assert "Total" in shown
    assert "busy" in shown
    assert "late" in shown
    assert "done0 " in shown
    assert "done19" not in shown


def test_quiet_shows_nothing_and_an_unknown_way_is_refused() -> None:
    assert type(progress("tty", quiet=True)) is Progress
    with pytest.raises(InvalidArgument, match="--progress loud: one of auto, tty, plain, json"):
        progress("loud")


def test_nobody_reading_stderr_ends_nothing() -> None:
    script = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 2)\n" + _WORK.format(mode="plain")
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    assert done.stdout == "False\n"
