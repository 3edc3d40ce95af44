"""`pause` and `unpause`: everything stands still, goes on, and nothing of it is left, whatever happens in between."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.command import Hyrun, runs, until
from hyrun import cgroups, container_list, pause, processes, stopping
from hyrun.errors import Conflict, HyrunError
from hyrun.store import Store
from support.processes import forked, status_of

#: Counts up in a file, by two processes; and children that come and go.
BUSY = """
    echo 0 > /n; echo ready
    (while :; do sleep 0.001; done) & (while :; do :; done) &
    while :; do i=$((i+1)); echo $i > /n; done
"""


@pytest.fixture
def busy(hyrun: Hyrun) -> str:
    """A running container that is never at rest."""
    hyrun.ready("run", "--name", "busy", "busybox", "sh", "-c", BUSY)
    until(lambda: hyrun.record("busy")["State"]["Running"], "the container is recorded as running")
    return "busy"


#: The versions of control groups that can freeze on this machine: one or both.
VERSIONS = sorted({version for version, _, _ in cgroups._mounts()})


@pytest.fixture(params=VERSIONS, ids=[f"v{version}" for version in VERSIONS])
def version(request: pytest.FixtureRequest) -> int:
    """Each of them."""
    assert isinstance(request.param, int)
    return request.param


@pytest.fixture(autouse=True)
def _no_pause_left(hyrun: Hyrun) -> Iterator[None]:
    yield
    assert [name for name in os.listdir(hyrun.run) if "paused" in name] == []


def record(name: str) -> container_list.Record:
    return container_list.find(Store(), name)


def times(name: str) -> dict[int, str]:
    """The processes, and how often each has been scheduled."""
    with processes.of(Store(), record(name)) as found:
        return {pid: Path(f"/proc/{pid}/schedstat").read_text() for pid in found.pids()}


def goes_on(hyrun: Hyrun, name: str) -> bool:
    counter = Path(hyrun.record(name)["GraphDriver"]["Data"]["UpperDir"]) / "n"
    before = counter.read_text()
    until(lambda: counter.read_text() not in ("", before), "the container goes on")
    return True


def test_a_container_stands_still_and_goes_on(hyrun: Hyrun, busy: str) -> None:
    assert hyrun.out("pause", busy) == busy
    before = times(busy)
    assert len(before) >= 3
    assert not any(times(busy) != before for _ in range(50))
    assert hyrun.out("unpause", busy) == busy
    assert goes_on(hyrun, busy)


@pytest.mark.usefixtures("_no_pause_left")
def test_by_both_versions_of_control_groups(hyrun: Hyrun, busy: str, version: int) -> None:
    before = groups_of(record(busy).pid)
    pause.pause(Store(), record(busy), version=version)
    state = json.loads((hyrun.run / f"{record(busy).id}.paused").read_text())
    assert (state["version"], Path(state["cgroup"]).name) == (version, f"hyrun-{record(busy).id[:12]}")
    assert os.path.isdir(state["home"])
    stopped = times(busy)
    assert not any(times(busy) != stopped for _ in range(50))
    pause.unpause(Store(), record(busy))
    assert goes_on(hyrun, busy)
    assert groups_of(record(busy).pid) == before
    assert not os.path.exists(state["cgroup"])


def groups_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text()


def test_states_that_are_refused(hyrun: Hyrun, busy: str) -> None:
    hyrun("run", "--name", "ended", "busybox", "true")
    assert "is not running" in hyrun.refused("pause", "ended", code=1)
    assert "is not paused" in hyrun.refused("unpause", "ended", code=1)
    assert "is not paused" in hyrun.refused("unpause", busy, code=1)
    hyrun("container", "pause", busy)
    assert "is already paused" in hyrun.refused("pause", busy, code=1)
    hyrun("container", "unpause", busy)
    result = hyrun("pause", "nosuch", busy, code=1)
    assert (result.stdout, "no such container: nosuch" in result.stderr) == ("busy\n", True)
    hyrun("unpause", busy)


def test_one_of_many_pauses_wins(hyrun: Hyrun, busy: str) -> None:
    found = record(busy)

    def one() -> None:
        try:
            pause.pause(Store(), found)
        except Conflict:
            os._exit(3)

    assert sorted(status_of(pid) for pid in [forked(one) for _ in range(5)]) == [0, 3, 3, 3, 3]
    pause.unpause(Store(), found)


def test_pauses_and_unpauses_at_once_end_in_one_of_the_two_states(hyrun: Hyrun, busy: str) -> None:
    found = record(busy)

    def many() -> None:
        for number in range(15):
            try:
                (pause.pause if number % 2 else pause.unpause)(Store(), found)
            except Conflict:
                continue

    assert [status_of(pid) for pid in [forked(many) for _ in range(3)]] == [0, 0, 0]
    pause.forget(Store(), found.id)
    assert goes_on(hyrun, busy)


@pytest.mark.parametrize("how", ["rm", "signal"])
def test_a_paused_container_can_be_ended(hyrun: Hyrun, busy: str, version: int, how: str) -> None:
    pid = record(busy).pid
    pause.pause(Store(), record(busy), version=version)
    if how == "rm":
        hyrun("rm", "-f", busy)
    else:
        stopping.kill(Store(), record(busy), signal.SIGKILL)
    until(lambda: not runs(pid), "it ends")


def test_what_a_container_leaves_that_died_while_it_was_paused_is_cleaned_by_the_next_command(
    hyrun: Hyrun, busy: str
) -> None:
    hyrun("pause", busy)
    pid, group = record(busy).pid, json.loads(next(hyrun.run.glob("*.paused")).read_text())["cgroup"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid), "it ends")
    hyrun.started[0].wait(20)
    assert os.path.isdir(group)
    hyrun("ps")
    assert not os.path.exists(group)


def test_the_same_for_one_that_has_been_removed_then(hyrun: Hyrun) -> None:
    hyrun.ready("run", "--rm", "--name", "busy", "busybox", "sh", "-c", BUSY)
    until(lambda: hyrun.record("busy")["State"]["Running"], "the container is recorded as running")
    hyrun("pause", "busy")
    os.kill(record("busy").pid, signal.SIGKILL)
    hyrun.started[0].wait(20)
    assert hyrun.left("containers") == set()
    hyrun("ps")


def test_a_pause_that_is_killed_on_the_way_can_be_taken_back(hyrun: Hyrun, busy: str) -> None:
    found = record(busy)
    for step in range(40):
        pid = forked(lambda step=step: stop_at(step, lambda: pause.pause(Store(), found)))  # type: ignore[misc]
        ended = status_of(pid)
        pause.forget(Store(), found.id)
        for stage in hyrun.run.glob("*.paused.*"):
            stage.unlink()
        assert goes_on(hyrun, busy)
        if ended == 0:
            return
    raise AssertionError("it has more steps than that")


def stop_at(step: int, work: object) -> None:
    """Do it in this process, which is killed before its system call number ``step`` that changes something."""
    import sys

    left = step

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("os.mkdir", "os.link", "os.remove") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_CREAT)
        ):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(hook)
    work()  # type: ignore[operator]


def test_paused_for_a_moment(hyrun: Hyrun, busy: str) -> None:
    hyrun("run", "--name", "ended", "busybox", "true")
    with pause.paused(Store(), record("ended")):
        pass
    with pause.paused(Store(), record(busy)):
        before = times(busy)
        assert times(busy) == before
    assert goes_on(hyrun, busy)
    with pytest.raises(ZeroDivisionError), pause.paused(Store(), record(busy)):
        raise ZeroDivisionError
    assert goes_on(hyrun, busy)
    hyrun("pause", busy)
    with pause.paused(Store(), record(busy)):
        pass
    assert pause.is_paused(Store(), record(busy).id)
    hyrun("unpause", busy)


def test_a_place_that_cannot_be_written_is_passed_over(
    hyrun: Hyrun, busy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def places(pid: int, name: str, *, version: int | None = None) -> tuple[str, list[pause.Freezer]]:
        home, found = real(pid, name, version=version)
        return home, [pause.Freezer("/proc/nowhere/x", 2), *found[:good]]

    real, good = pause.places, 1
    monkeypatch.setattr(pause, "places", places)
    pause.pause(Store(), record(busy))
    pause.unpause(Store(), record(busy))
    good = 0
    with pytest.raises(HyrunError, match="control group /proc/nowhere/x: No such file"):
        pause.pause(Store(), record(busy))
    assert goes_on(hyrun, busy)


def test_a_container_that_forks_as_fast_as_it_can(hyrun: Hyrun, version: int) -> None:
    script = "echo ready; for i in 1 2 3; do (while :; do (:) & (:) & wait; done) & done; wait"
    hyrun.ready("run", "--name", "forks", "busybox", "sh", "-c", script)
    until(lambda: hyrun.record("forks")["State"]["Running"], "the container is recorded as running")
    for _ in range(3):
        pause.pause(Store(), record("forks"), version=version)
        before = times("forks")
        assert not any(times("forks") != before for _ in range(20))
        pause.unpause(Store(), record("forks"))
