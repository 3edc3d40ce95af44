"""`hyrun.Container`: a container from Python that stays."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

import hyrun
from hyrun import attach, container_list
from hyrun.store import Store
from support.api import loaded, place
from support.leaks import children

__all__ = ["loaded", "place"]

#: The monitor's message of the end (rust/init/clients.rs).
EXITED = 3


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


def test_files_go_in_and_out(place: Store, tmp_path: Path) -> None:
    (tmp_path / "a:b").write_text("in\n")
    box = hyrun.Container("busybox", ["sh", "-c", "cat /file && echo out > /made"])
    try:
        box.copy_in(tmp_path / "a:b", "/file")
        assert (box.start().wait(20), box.logs()[0]) == (0, b"in\n")
        box.copy_out("/made", tmp_path / "made")
        assert (tmp_path / "made").read_text() == "out\n"
        with pytest.raises(hyrun.NotFound):
            box.copy_out("/nosuch", tmp_path)
    finally:
        box.remove()


def test_commit(place: Store) -> None:
    with hyrun.Container("busybox", ["sleep", "600"], volumes=["/data"]) as box:
        box.exec(["sh", "-c", "echo made > /made; echo data > /data/file"], check=True)
        identifier = box.commit("snapshot", message="a note", changes=["ENV A=1"])
        assert box.status == "running"
    done = hyrun.run("snapshot", ["sh", "-c", "cat /made; echo $A; ls /data"], capture_output=True, text=True)
    assert done.stdout == "made\n1\n"
    from hyrun import image_store

    image_store.remove(place, identifier, force=True)


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


def test_who_sits_at_it_hears_of_the_end_only_when_the_end_can_be_seen(place: Store) -> None:
    box = hyrun.Container("busybox", ["sleep", "600"], name="seen")
    try:
        for _ in range(30):
            channel = attach.connect(place, container_list.find(place, box.start().id))
            box.kill()
            while os.read(channel, 65537)[0] != EXITED:
                pass
            assert (box.status, box.exit_code) == ("exited", 137)
            os.close(channel)
    finally:
        box.remove(force=True)


def test_two_hundred_cycles_leave_nothing(place: Store) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        with hyrun.Container(
            "busybox", ["sleep", "600"], volumes=["/data"] if number % 2 else [], tty=number % 3 == 0
        ) as box:
            box.exec(["true"], check=True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_interrupt_in_the_middle_of_a_start_ends_what_was_started(place: Store) -> None:
    box = hyrun.Container("busybox", ["sleep", "600"], name="half")
    interrupted = 0
    try:
        while not interrupted:
            watcher = _interrupt_as_soon_as_there_is_a_child()
            try:
                box.start()
                watcher.join()
            except KeyboardInterrupt:
                watcher.join()
                interrupted = 1
            if not interrupted:
                box.kill()
                box.wait()
        # Soon nobody owns it: it can be started and removed like any other.
        end = time.monotonic() + 20
        while box.status != "exited" and time.monotonic() < end:
            time.sleep(0.01)
        assert box.exit_code == 255
        box.start().kill()
        assert box.wait(20) == 137
    finally:
        box.remove(force=True)


@pytest.mark.parametrize("how", ["run", "exec"])
def test_an_interrupt_in_the_middle_leaves_no_process(place: Store, how: str) -> None:
    with hyrun.Container("busybox", ["sleep", "600"]) as box:
        start = box.exec if how == "exec" else lambda args: hyrun.run("busybox", args)
        before = set(children())
        for _ in range(5):
            watcher = _interrupt_as_soon_as_there_is_a_child()
            with pytest.raises(KeyboardInterrupt):
                start(["sleep", "600"])
            watcher.join()
            assert set(children()) == before


def _interrupt_as_soon_as_there_is_a_child() -> threading.Thread:
    """Watch for a child that is not there yet: a server of other tests may be one already."""
    before = set(children())
    ready = threading.Event()

    def watch() -> None:
        ready.wait()
        end = time.monotonic() + 5
        while not set(children()) - before and time.monotonic() < end:
            pass
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=watch)
    watcher.start()
    ready.set()  # not before: an interrupt inside start() would not be the one that is tested
    return watcher
