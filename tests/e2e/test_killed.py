"""`hyrun` killed (-9) before one system call after the other: what is left is mended by the next command."""

import os
import shutil
from pathlib import Path

import pytest

from e2e.command import Hyrun
from e2e.killing import kill as _kill
from e2e.killing import points as _points

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


def _nothing_is_left(hyrun: Hyrun) -> None:
    for identifier in hyrun.lines("ps", "-aq"):
        hyrun("rm", "-v", identifier)
    hyrun("volume", "prune", "-f")
    assert [hyrun.left(kind) for kind in ("containers", "names", "volumes", "tmp")] == [set()] * 4
    assert os.listdir(hyrun.run) == []


def _processes_of(store: Path) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and str(store) in Path(f"/proc/{entry}/mountinfo").read_text():
                found.append(entry)
        except OSError:
            continue
    return found


def test_run(hyrun: Hyrun) -> None:
    arguments = ("run", "--rm", "--name", "victim", "-v", "/data", "filled", "true")
    for point in _points(hyrun, arguments):
        _kill(hyrun, point, arguments)
        hyrun("ps", "-a")
        hyrun(*arguments)
    _nothing_is_left(hyrun)
    assert hyrun.mounts() == []
    assert _processes_of(hyrun.root) == []


def test_run_that_is_kept_is_removed_whatever_is_left_of_it(hyrun: Hyrun) -> None:
    arguments = ("run", "--name", "victim", "-v", "/data", "filled", "true")
    points = _points(hyrun, arguments)
    hyrun("rm", "-v", "victim")
    for point in points[::2]:
        _kill(hyrun, point, arguments)
        hyrun("rm", "-f", "-v", "victim")
    _nothing_is_left(hyrun)


def test_rm(hyrun: Hyrun) -> None:
    made = ("run", "--name", "victim", "-v", "/data", "filled", "touch", "/made")
    removed = ("rm", "-v", "victim")
    hyrun(*made)
    for point in _points(hyrun, removed)[::2]:
        if "victim" not in hyrun.left("names"):
            hyrun("run", *made[1:])
        _kill(hyrun, point, removed)
        listed = hyrun.lines("ps", "-a", "--format", "{{.Names}}")
        assert listed in ([], ["victim"])
        if listed:
            hyrun("rm", "-v", "victim")
    _nothing_is_left(hyrun)
