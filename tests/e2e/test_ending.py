"""`stop`, `kill` and `wait` of containers in the foreground."""

from pathlib import Path

import pytest

from e2e.command import PATIENCE, Hyrun, until

TRAP = "trap 'exit {code}' {signal}; echo ready; while :; do sleep 0.02; done"


def trapping(hyrun: Hyrun, name: str, *flags: str, signal: str = "TERM", code: int = 5) -> None:
    """Start a container that ends with a status of its own when it gets a signal."""
    hyrun.ready("run", "--name", name, *flags, "busybox", "sh", "-c", TRAP.format(signal=signal, code=code))
    until(lambda: hyrun.record(name)["State"]["Pid"], "it is recorded as running")


def test_stop_asks_prints_the_name_and_the_exit_is_recorded(hyrun: Hyrun) -> None:
    trapping(hyrun, "one")
    assert hyrun.out("stop", "one") == "one"
    assert hyrun.record("one")["State"]["ExitCode"] == 5
    assert hyrun.started[0].wait(PATIENCE) == 5


def test_stop_kills_after_the_time_of_grace(hyrun: Hyrun) -> None:
    trapping(hyrun, "one", signal="INT")
    assert hyrun.out("container", "stop", "-t", "0", "one") == "one"
    assert hyrun.started[0].wait(PATIENCE) == 137


@pytest.mark.parametrize("flags", [("-s", "INT"), ("--signal=sigint", "--timeout", "-1"), ("-s2", "--time=60")])
def test_stop_takes_a_signal(hyrun: Hyrun, flags: tuple[str, ...]) -> None:
    trapping(hyrun, "one", signal="INT", code=6)
    hyrun("stop", *flags, "one")
    assert hyrun.started[0].wait(PATIENCE) == 6


def test_stop_of_several_goes_on_after_a_mistake(hyrun: Hyrun) -> None:
    trapping(hyrun, "one")
    trapping(hyrun, "two")
    result = hyrun("stop", "one", "nosuch", "two", code=1)
    assert result.stdout == "one\ntwo\n"
    assert "nosuch" in result.stderr
    assert [process.wait(PATIENCE) for process in hyrun.started] == [5, 5]


def test_stop_of_an_ended_one_is_no_error(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "sh", "-c", "exit 3", code=3)
    assert hyrun.out("stop", "one") == "one"
    assert hyrun.record("one")["State"]["ExitCode"] == 3


def test_stop_of_one_that_is_removed_at_its_end(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    trapping(hyrun, "one", "--rm")
    assert hyrun.out("stop", "one") == "one"
    assert hyrun.tree() == before


@pytest.mark.parametrize("word", ["0", "65", "NOSUCH", "-1"])
def test_wrong_signals_are_refused(hyrun: Hyrun, word: str) -> None:
    assert "invalid signal" in hyrun.refused("stop", "-s", word, "one", code=1)
    assert "invalid signal" in hyrun.refused("kill", "-s", word, "one", code=1)


@pytest.mark.parametrize(("signal", "trap"), [("HUP", "HUP"), ("SIGUSR1", "USR1"), ("12", "USR2"), ("rtmin+1", "35")])
def test_kill_sends_a_signal(hyrun: Hyrun, signal: str, trap: str) -> None:
    trapping(hyrun, "one", signal=trap, code=9)
    assert hyrun.out("kill", "-s", signal, "one") == "one"
    assert hyrun.started[0].wait(PATIENCE) == 9


def test_kill_is_sigkill_without_a_word(hyrun: Hyrun) -> None:
    process = hyrun.sleeper("--name", "one")
    assert hyrun.out("kill", "one") == "one"
    assert process.wait(PATIENCE) == 137


def test_kill_of_an_ended_one_fails(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    assert "not running" in hyrun.refused("kill", "one", code=1)
    assert "nosuch" in hyrun.refused("kill", "nosuch", code=1)


def test_wait_prints_the_exit_status(hyrun: Hyrun) -> None:
    trapping(hyrun, "one", code=7)
    waiting = hyrun.start("wait", "one")
    hyrun("kill", "-s", "TERM", "one")
    assert waiting.communicate(timeout=PATIENCE) == ("7\n", "")
    assert hyrun.lines("wait", "one", "one") == ["7", "7"]


def test_wait_knows_the_status_of_one_that_is_removed_at_its_end(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "one", "--rm")
    waiting = hyrun.start("container", "wait", "one")
    # It has to hold the container before that goes.
    until(lambda: _holds_a_pidfd(waiting.pid), "it waits")
    hyrun("kill", "one")
    assert waiting.communicate(timeout=PATIENCE) == ("137\n", "")


def test_wait_for_what_is_not_there_fails(hyrun: Hyrun) -> None:
    assert "nosuch" in hyrun.refused("wait", "nosuch", code=1)


def _holds_a_pidfd(pid: int) -> bool:
    try:
        return any("pidfd" in str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
