"""`hyrun` killed (-9) before one system call after the other: what is left is mended by the next command."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.command import Hyrun, until
from e2e.killing import kill as _kill
from e2e.killing import points as _points

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

#: At how many system calls a command is killed of which each round takes longer.
FEW = 13


def _nothing_is_left(hyrun: Hyrun) -> None:
    for identifier in hyrun.lines("ps", "-aq"):
        hyrun("rm", "-f", "-v", identifier)
    hyrun("volume", "prune", "-f")
    assert [hyrun.left(kind) for kind in ("containers", "names", "volumes", "tmp")] == [set()] * 4
    assert set(os.listdir(hyrun.run)) <= {"events.log"}
    until(lambda: _processes_of(hyrun.root) == [], "no process is left")


def _processes_of(store: Path) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and str(store) in Path(f"/proc/{entry}/mountinfo").read_text():
                found.append(entry)
        except OSError:
            continue
    return found


def test_run(hyrun: Hyrun, tell: Callable[[str], None]) -> None:
    arguments = ("run", "--rm", "--name", "victim", "-v", "/data", "filled", "true")
    points = _points(hyrun, arguments)
    for point in points:
        _kill(hyrun, point, arguments)
        hyrun("ps", "-a")
        hyrun(*arguments)
    _nothing_is_left(hyrun)
    assert hyrun.mounts() == []
    assert _processes_of(hyrun.root) == []
    tell(f"killed at {len(points)} points, nothing left and nothing lost")


def test_run_that_is_kept_is_removed_whatever_is_left_of_it(hyrun: Hyrun, tell: Callable[[str], None]) -> None:
    arguments = ("run", "--name", "victim", "-v", "/data", "filled", "true")
    points = _points(hyrun, arguments, FEW)
    hyrun("rm", "-v", "victim")
    for point in points:
        _kill(hyrun, point, arguments)
        hyrun("rm", "-f", "-v", "victim")
    _nothing_is_left(hyrun)
    tell(f"killed at {len(points)} points, nothing left and nothing lost")


def test_rm(hyrun: Hyrun, tell: Callable[[str], None]) -> None:
    made = ("run", "--name", "victim", "-v", "/data", "filled", "touch", "/made")
    removed = ("rm", "-v", "victim")
    hyrun(*made)
    points = _points(hyrun, removed, FEW)
    for point in points:
        if "victim" not in hyrun.left("names"):
            hyrun("run", *made[1:])
        _kill(hyrun, point, removed)
        listed = hyrun.lines("ps", "-a", "--format", "{{.Names}}")
        assert listed in ([], ["victim"])
        if listed:
            hyrun("rm", "-v", "victim")
    _nothing_is_left(hyrun)
    tell(f"killed at {len(points)} points, nothing left and nothing lost")


def _state(hyrun: Hyrun) -> tuple[str, int]:
    """Return what the container `victim` is doing, and its exit code."""
    found = hyrun.lines("ps", "-a", "--filter", "name=victim", "--format", "{{.State}}")
    if not found:
        return "", 0
    return found[0], int(hyrun.out("inspect", "-f", "{{.State.ExitCode}}", "victim"))


def test_run_in_the_background(hyrun: Hyrun, tell: Callable[[str], None]) -> None:
    arguments = ("run", "-d", "--name", "victim", "-v", "/data", "filled", "sh", "-c", "exit 5")
    points = _points(hyrun, arguments)
    hyrun("rm", "-f", "-v", "victim")
    for point in points:
        _kill(hyrun, point, arguments)
        until(lambda: _state(hyrun)[0] in ("", "created", "exited"), "it has ended, or never was")
        status, code = _state(hyrun)
        # It has run (5), was killed with its starter (255: nobody knows), or has not run.
        assert code in (5, 255, 0), (point, status, code)
        assert status != "exited" or code != 0, point
        if status:
            hyrun("rm", "-f", "-v", "victim")
    _nothing_is_left(hyrun)
    tell(f"killed at {len(points)} points, nothing left and nothing lost")


def test_stop_and_removal_of_one_that_runs(hyrun: Hyrun, tell: Callable[[str], None]) -> None:
    made = (
        "run",
        "-d",
        "--name",
        "victim",
        "-v",
        "/data",
        "filled",
        "sh",
        "-c",
        "trap 'exit 7' TERM; while :; do sleep 0.02; done",
    )
    for arguments in (("stop", "-t", "5", "victim"), ("rm", "-f", "-v", "victim")):
        hyrun(*made)
        points = _points(hyrun, arguments, FEW)
        for point in points:
            if _state(hyrun)[0] != "running":
                hyrun("rm", "-f", "-v", "victim")
                hyrun(*made)
            _kill(hyrun, point, arguments)
            status, code = _state(hyrun)
            assert code in (0, 7, 137), (point, status, code)
        hyrun("rm", "-f", "-v", "victim")
        tell(f"{arguments[0]} killed at {len(points)} points")
    _nothing_is_left(hyrun)


def test_exec(hyrun: Hyrun, tell: Callable[[str], None]) -> None:
    hyrun("run", "-d", "--name", "victim", "busybox", "sleep", "600")
    arguments = ("exec", "victim", "sleep", "0.01")
    # It changes nothing in the store: also where it makes, waits and reads. The store is met where it opens a file.
    calls = "openat,clone,flock,pipe2,mmap,fcntl,ppoll,waitid,signalfd4,read,pidfd_open"
    points = _points(hyrun, arguments, calls=calls)
    for point in points:
        _kill(hyrun, point, arguments)
        assert hyrun.out("exec", "victim", "echo", "alive") == "alive"
    until(lambda: len(hyrun.out("exec", "victim", "ps").splitlines()) == 3, "what was killed has left nobody inside")
    hyrun("rm", "-f", "victim")
    _nothing_is_left(hyrun)
    tell(f"killed at {len(points)} points, nothing left and nothing lost")


def test_many_cycles_leave_nothing(hyrun: Hyrun) -> None:
    for number in range(100):
        flags = ("-v", "/data") if number % 2 else ("-t",)
        hyrun("run", "-d", "--name", "cycle", *flags, "busybox", "sleep", "600")
        hyrun("exec", "cycle", "true")
        hyrun("rm", "-f", "-v", "cycle")
    _nothing_is_left(hyrun)
    assert hyrun.mounts() == []


def test_commit(hyrun: Hyrun, tell: Callable[[str], None]) -> None:
    hyrun("run", "--name", "box", "filled", "sh", "-c", "touch /made; rm /etc/hello; chown 5 /etc/passwd")
    arguments = ("commit", "box", "mine:1")
    points = _points(hyrun, arguments, FEW)
    hyrun("rmi", "mine:1")
    before = [hyrun.left(kind) for kind in ("layers", "images", "tmp")]
    for point in points:
        _kill(hyrun, point, arguments)
        # What is listed is whole: every layer of it is there.
        for image in hyrun.lines("images", "-q", "--no-trunc", "--filter", "since=filled"):
            assert hyrun.sh("ls /made; test ! -e /etc/hello", image=image) == "/made"
            hyrun("save", "-o", "saved.tar", image)
        hyrun(*arguments)
        hyrun("rmi", "-f", *set(hyrun.lines("images", "-q", "--no-trunc", "--filter", "since=filled")))
    assert [hyrun.left(kind) for kind in ("layers", "images", "tmp")] == before
    tell(f"killed at {len(points)} points, nothing left and nothing lost")
