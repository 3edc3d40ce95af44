"""`hyrun.Container`: a container from Python that stays."""

import os
import subprocess
from pathlib import Path

import pytest

import hyrun
from hyrun.store import Store
from support.api import loaded, place

__all__ = ["loaded", "place"]


def test_a_block_starts_it_and_removes_it(place: Store) -> None:
    with hyrun.Container("busybox", ["sleep", "600"], volumes=["/data"], name="box") as box:
        assert (box.name, box.status, box.exit_code) == ("box", "running", None)
        box.exec(["sh", "-c", "echo hello > /data/file"], check=True)
        done = box.exec(["cat", "/data/file"], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "hello\n")
        assert box.inspect()["State"]["Pid"] == box.pid
        (volume,) = os.listdir(place.path("volumes"))
        assert Path(place.path("volumes", volume, "_data", "file")).read_text() == "hello\n"
    assert os.listdir(place.path("volumes")) == []


def test_its_life_step_by_step(place: Store) -> None:
    box = hyrun.Container("busybox", ["sh", "-c", "echo out; echo err >&2; exit 3"], name="steps")
    try:
        assert box.status == "created"
        assert box.start().wait(20) == 3
        assert (box.status, box.exit_code) == ("exited", 3)
        assert box.logs() == (b"out\n", b"err\n")
        assert box.start().wait() == 3
        assert hyrun.Container.get("steps").id == box.id
        assert hyrun.Container.get(box.id[:12]).logs()[0] == b"out\nout\n"
    finally:
        box.remove()
    with pytest.raises(hyrun.NotFound):
        hyrun.Container.get("steps")


def test_stop_and_kill(place: Store) -> None:
    script = "trap 'exit 7' TERM; while :; do sleep 0.02; done"
    with hyrun.Container("busybox", ["sh", "-c", script]) as box:
        box.exec(["true"], check=True)
        box.stop(5)
        assert box.exit_code == 7
        box.start().kill()
        assert box.wait(20) == 137
        with pytest.raises(hyrun.Conflict, match="not running"):
            box.exec(["true"])
        with pytest.raises(hyrun.InUse):
            box.kill()


def test_exec_is_shaped_like_run(place: Store) -> None:
    with hyrun.Container("busybox", ["sleep", "600"], env={"A": "1"}) as box:
        done = box.exec(
            ["sh", "-c", "cat; echo $A$B; id -u; pwd"],
            input="in\n",
            capture_output=True,
            text=True,
            env={"B": "2"},
            user=1000,
            cwd="/tmp",
        )
        assert done.stdout == "in\n12\n1000\n/tmp\n"
        with pytest.raises(subprocess.CalledProcessError):
            box.exec(["false"], check=True)
        with pytest.raises(subprocess.TimeoutExpired):
            box.exec(["sleep", "60"], timeout=0.1)
        with pytest.raises(hyrun.SpawnError, match="not found"):
            box.exec(["nosuch"])
        # What was killed for its time leaves nobody inside: pid 1 and this.
        assert box.exec(["sh", "-c", "echo /proc/[0-9]*"], capture_output=True, text=True).stdout.count("/") == 4


def test_wait_has_a_limit(place: Store) -> None:
    with hyrun.Container("busybox", ["sleep", "600"]) as box, pytest.raises(hyrun.TimeoutExpired):
        box.wait(0.05)


def test_one_that_starts_again(place: Store) -> None:
    with hyrun.Container("busybox", ["sh", "-c", "echo x; exit 1"], restart="on-failure:2") as box:
        assert box.wait(30) == 1
        assert box.logs()[0] == b"x\n" * 3


def test_what_cannot_be_made(place: Store) -> None:
    with pytest.raises(hyrun.NotFound):
        hyrun.Container("nosuch")
    with pytest.raises(hyrun.InvalidArgument, match="exclude"):
        hyrun.Container("busybox", remove=True, restart="always")
    with pytest.raises(hyrun.SpawnError), hyrun.Container("busybox", ["nosuch"]):
        pass


def test_two_hundred_cycles_leave_nothing(place: Store) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        with hyrun.Container(
            "busybox", ["sleep", "600"], volumes=["/data"] if number % 2 else [], tty=number % 3 == 0
        ) as box:
            box.exec(["true"], check=True)
    assert len(os.listdir("/proc/self/fd")) == before
