"""`stop`, `kill`, `wait`, `rm` and `ps` of containers in the background: the monitor is their owner."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.command import PATIENCE, Hyrun, open_files, runs, until
from hyrun import container_list, pidfds, waiting
from hyrun.container_record import Record
from hyrun.store import Store

OBEDIENT = "trap 'exit 5' TERM; touch /ready; while :; do sleep 0.02; done"
STUBBORN = "trap '' TERM; touch /ready; while :; do sleep 0.02; done"


def detached(hyrun: Hyrun, name: str, script: str, *flags: str) -> str:
    """Start a container in the background; return its id when its script is ready."""
    identifier = hyrun.out("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", script)
    if "/ready" in script:
        upper = Path(hyrun.record(name)["GraphDriver"]["Data"]["UpperDir"])
        until(lambda: (upper / "ready").exists(), "its script is ready")
    return identifier


@pytest.fixture(autouse=True)
def _nothing_stays(hyrun: Hyrun) -> Iterator[None]:
    """Whatever a test left running is ended: its monitor is no child of this process."""
    yield
    for identifier in hyrun.lines("ps", "-aq"):
        hyrun("rm", "-f", identifier)


def test_stop_asks_and_the_exit_is_recorded(hyrun: Hyrun) -> None:
    detached(hyrun, "one", OBEDIENT)
    assert hyrun.out("stop", "one") == "one"
    state = hyrun.record("one")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 5)
    assert state["FinishedAt"] > state["StartedAt"]


def test_stop_kills_what_does_not_end(hyrun: Hyrun) -> None:
    detached(hyrun, "one", STUBBORN)
    hyrun("stop", "-t", "1", "one")
    assert hyrun.record("one")["State"]["ExitCode"] == 137


def test_stop_of_one_with_rm_leaves_nothing(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    detached(hyrun, "one", OBEDIENT, "--rm", "-v", "/data")
    hyrun("stop", "one")
    until(lambda: hyrun.tree() == before, "it is gone")


def test_wait_prints_the_status(hyrun: Hyrun) -> None:
    detached(hyrun, "one", OBEDIENT)
    waiting = hyrun.start("wait", "one")
    hyrun("kill", "-s", "TERM", "one")
    assert waiting.communicate(timeout=PATIENCE) == ("5\n", "")


def test_wait_knows_the_status_of_one_with_rm(hyrun: Hyrun) -> None:
    detached(hyrun, "one", OBEDIENT, "--rm")
    waiting = hyrun.start("wait", "one")
    until(lambda: any("pidfd" in link for link in open_files(waiting.pid)), "it waits")
    hyrun("kill", "-s", "TERM", "one")
    assert waiting.communicate(timeout=PATIENCE) == ("5\n", "")


def test_wait_knows_that_status_where_no_pidfd_tells_it(hyrun: Hyrun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.15 only what the monitor writes down says it, a moment after the end, and --rm removes that."""
    monkeypatch.setattr(pidfds, "exit_status", lambda _: None)
    monkeypatch.setattr(waiting, "_of_zombie", lambda _: None)
    read, looks = waiting._ended, iter([None])
    monkeypatch.setattr(waiting, "_ended", lambda directory: next(looks, read(directory)))
    store = Store(str(hyrun.root), str(hyrun.run))
    before = hyrun.tree()
    detached(hyrun, "one", OBEDIENT, "--rm")
    record = container_list.find(store, "one")
    killing = hyrun.start("kill", "-s", "TERM", "one")
    assert waiting.wait(store, record) == 5
    killing.communicate(timeout=PATIENCE)
    until(lambda: hyrun.tree() == before, "it is gone")


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_stop_wins_over_the_restart_policy(hyrun: Hyrun, policy: str) -> None:
    detached(hyrun, "one", OBEDIENT, "--restart", policy)
    pid = hyrun.record("one")["State"]["Pid"]
    hyrun("stop", "one")
    assert hyrun.record("one")["State"]["Status"] == "exited"
    assert not runs(pid)


def test_one_that_waits_to_be_started_again_is_restarting_and_can_be_stopped(hyrun: Hyrun) -> None:
    detached(hyrun, "one", "exit 3", "--restart", "always")
    until(lambda: hyrun.record("one")["RestartCount"] >= 2, "it was started again")
    until(lambda: hyrun.record("one")["State"]["Restarting"], "it waits")
    assert hyrun.out("ps", "--format", "{{.Status}}").startswith("Restarting (3) ")
    hyrun("stop", "one")
    state = hyrun.record("one")["State"]
    assert (state["Status"], state["Restarting"]) == ("exited", False)


def test_kill_with_another_signal_leaves_the_policy_in_force(hyrun: Hyrun) -> None:
    script = "trap 'exit 6' HUP; touch /ready; while :; do sleep 0.02; done"
    detached(hyrun, "one", script, "--restart", "always")
    hyrun("kill", "-s", "HUP", "one")
    until(lambda: hyrun.record("one")["RestartCount"] == 1, "it was started again")
    until(lambda: hyrun.record("one")["State"]["Running"], "it runs")
    hyrun("kill", "one")
    until(lambda: hyrun.record("one")["State"]["Status"] == "exited", "it has ended")


@pytest.mark.parametrize("script", [STUBBORN, "exit 3"])
def test_rm_by_force(hyrun: Hyrun, script: str) -> None:
    before = hyrun.tree()
    flags = ("--restart", "always") if script == "exit 3" else ()
    detached(hyrun, "one", script, *flags)
    hyrun("rm", "-f", "one")
    until(lambda: hyrun.tree() == before, "it is gone")


def test_rm_without_force_is_refused(hyrun: Hyrun) -> None:
    detached(hyrun, "one", "sleep 600")
    assert "rm -f one" in hyrun.refused("rm", "one", code=1)
    assert hyrun.record("one")["State"]["Running"]


def test_stop_signal_and_timeout_of_the_container(hyrun: Hyrun) -> None:
    script = "trap 'exit 8' INT; trap '' TERM; touch /ready; while :; do sleep 0.02; done"
    detached(hyrun, "one", script, "--stop-signal", "SIGINT", "--stop-timeout", "60")
    hyrun("stop", "one")
    assert hyrun.record("one")["State"]["ExitCode"] == 8


def test_monitor_that_was_killed_takes_its_container_along(hyrun: Hyrun) -> None:
    detached(hyrun, "one", "sleep 600")
    record = _record(hyrun, "one")
    assert runs(record.monitor)
    os.kill(record.monitor, signal.SIGKILL)
    until(lambda: not runs(record.pid), "pid 1 is gone")
    until(lambda: hyrun.record("one")["State"]["Status"] == "exited", "it is mended")
    assert hyrun.record("one")["State"]["ExitCode"] == 255
    assert "unknown" in hyrun.out("ps", "-a", "--format", "{{.Status}}")


def test_created_one(hyrun: Hyrun) -> None:
    hyrun("create", "--name", "one", "busybox", "true")
    assert hyrun.out("ps", "-a", "--format", "{{.State}} {{.Status}}") == "created Created"
    assert hyrun.lines("ps", "-q") == []
    assert hyrun.out("wait", "one") == "0"
    assert hyrun.out("stop", "one") == "one"
    hyrun("rename", "one", "two")
    hyrun("container", "prune", "-f")
    assert hyrun.left("containers") == set()


def test_inspect_of_a_kept_one(hyrun: Hyrun) -> None:
    detached(hyrun, "one", "sleep 600", "--restart", "on-failure:3", "-i")
    seen = hyrun.inspect("one")
    assert seen["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert seen["LogPath"] == f"{hyrun.root}/containers/{seen['Id']}/container.log"
    assert seen["HostConfig"]["LogConfig"]["Type"] == "local"
    assert (seen["Config"]["OpenStdin"], seen["Config"]["AttachStdout"]) == (True, False)


def test_rename_of_a_running_one_with_rm(hyrun: Hyrun) -> None:
    detached(hyrun, "one", OBEDIENT, "--rm")
    hyrun("rename", "one", "two")
    hyrun("stop", "two")
    until(lambda: hyrun.lines("ps", "-aq") == [] and hyrun.left("names") == set(), "it is gone")


def test_events_of_a_life(hyrun: Hyrun) -> None:
    detached(hyrun, "one", OBEDIENT)
    hyrun("stop", "one")
    hyrun("rm", "one")
    seen = hyrun.lines("events", "--since", "0", "--until", "0s", "--format", "{{.Action}}")
    assert seen == ["create", "start", "kill", "die", "stop", "destroy"]


def _record(hyrun: Hyrun, name: str) -> Record:
    return container_list.find(Store(str(hyrun.root), str(hyrun.run)), name)
