"""`logs` of containers in the background."""

import re
from collections.abc import Iterator

import pytest

from e2e.command import PATIENCE, Hyrun, until

TIME = r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z"


@pytest.fixture(autouse=True)
def _nothing_stays(hyrun: Hyrun) -> Iterator[None]:
    yield
    for identifier in hyrun.lines("ps", "-aq"):
        hyrun("rm", "-f", identifier)


def detached(hyrun: Hyrun, script: str, *flags: str) -> None:
    hyrun("run", "-d", "--name", "one", *flags, "busybox", "sh", "-c", script)


def ended(hyrun: Hyrun, script: str, *flags: str) -> None:
    """Run a script in the background to its end."""
    detached(hyrun, script, *flags)
    hyrun("wait", "one")


def test_streams_are_apart(hyrun: Hyrun) -> None:
    ended(hyrun, "echo out; echo err >&2; printf 'no newline'")
    result = hyrun("logs", "one")
    assert (result.stdout, result.stderr) == ("out\nno newline", "err\n")
    result = hyrun("container", "logs", "one")
    assert (result.stdout, result.stderr) == ("out\nno newline", "err\n")


def test_a_line_in_pieces_is_one(hyrun: Hyrun) -> None:
    ended(hyrun, "printf one; sleep 0.2; printf ' two'; sleep 0.2; echo ' three'; echo")
    assert hyrun("logs", "one").stdout == "one two three\n\n"
    assert len(hyrun.lines("logs", "-t", "one")) == 2


def test_large_output_is_complete(hyrun: Hyrun) -> None:
    ended(hyrun, "seq 1 100000; dd if=/dev/zero bs=1000 count=500 2>/dev/null | tr '\\0' x; echo")
    assert hyrun("logs", "one").stdout == "".join(f"{n}\n" for n in range(1, 100001)) + "x" * 500_000 + "\n"
    assert hyrun.lines("logs", "--tail", "2", "one") == ["100000", "x" * 500_000]


@pytest.mark.parametrize(("tail", "expected"), [("0", 0), ("2", 2), ("all", 5), ("-1", 5), ("99", 5)])
def test_tail(hyrun: Hyrun, tail: str, expected: int) -> None:
    ended(hyrun, "seq 1 5")
    assert hyrun.lines("logs", "-n", tail, "one") == [str(n) for n in range(1, 6)][5 - expected :]


def test_timestamps(hyrun: Hyrun) -> None:
    ended(hyrun, "echo one; sleep 0.1; echo two")
    first, second = hyrun.lines("logs", "-t", "one")
    assert re.fullmatch(f"{TIME} one", first)
    assert re.fullmatch(f"{TIME} two", second)
    moment = second.split()[0]
    assert hyrun.lines("logs", "--since", moment, "one") == ["two"]
    assert hyrun.lines("logs", "--until", first.split()[0], "one") == ["one"]
    assert hyrun.lines("logs", "--since", "1h", "one") == ["one", "two"]
    assert hyrun.lines("logs", "--until", "1h", "one") == []


def test_follow_ends_with_the_container(hyrun: Hyrun) -> None:
    detached(hyrun, "for n in 1 2 3; do echo $n; echo e$n >&2; sleep 0.2; done; printf end")
    process = hyrun.start("logs", "-f", "one")
    assert process.communicate(timeout=PATIENCE) == ("1\n2\n3\nend", "e1\ne2\ne3\n")
    assert process.returncode == 0
    assert hyrun.record("one")["State"]["Status"] == "exited"


def test_follow_shows_a_line_when_it_is_written(hyrun: Hyrun) -> None:
    detached(hyrun, "mkfifo /p; echo one; read line < /p; echo two; read line < /p")
    process = hyrun.start("logs", "-f", "--tail", "1", "one")
    assert process.stdout is not None
    assert process.stdout.readline() == "one\n"
    assert process.poll() is None
    hyrun("kill", "one")
    assert process.wait(PATIENCE) == 0


def test_follow_goes_on_when_it_is_started_again_by_its_policy(hyrun: Hyrun) -> None:
    detached(hyrun, "echo round; exit 1", "--restart", "on-failure:2")
    process = hyrun.start("logs", "-f", "one")
    assert process.communicate(timeout=PATIENCE)[0] == "round\n" * 3


def test_log_of_a_second_start_is_added(hyrun: Hyrun) -> None:
    ended(hyrun, "echo round")
    hyrun("start", "one")
    hyrun("wait", "one")
    assert hyrun.lines("logs", "one") == ["round", "round"]


def test_rotation_while_it_is_followed_loses_nothing(hyrun: Hyrun) -> None:
    flags = ("--log-opt", "max-size=100k", "--log-opt", "max-file=100")
    detached(hyrun, "for n in $(seq 1 20000); do echo line $n; done", *flags)
    process = hyrun.start("logs", "-f", "one")
    lines = process.communicate(timeout=60)[0].splitlines()
    assert lines == [f"line {n}" for n in range(1, 20001)]
    assert (hyrun.root / "containers" / hyrun.record("one")["Id"] / "container.log.1").exists()
    assert hyrun.lines("logs", "one") == lines


def test_terminal_is_one_stream(hyrun: Hyrun) -> None:
    ended(hyrun, "echo out; echo err >&2", "-t")
    result = hyrun("logs", "one")
    assert (result.stdout.splitlines(), result.stderr) == (["out", "err"], "")


def test_created_one_has_written_nothing(hyrun: Hyrun) -> None:
    hyrun("create", "--name", "one", "busybox", "true")
    assert hyrun("logs", "one").stdout == ""
    assert hyrun("logs", "-f", "one").stdout == ""


def test_reader_that_goes_ends_it(hyrun: Hyrun) -> None:
    detached(hyrun, "echo one; sleep 600")
    process = hyrun.start("logs", "-f", "one")
    assert process.stdout is not None
    assert process.stdout.readline() == "one\n"
    process.stdout.close()
    assert process.wait(PATIENCE) == 141


def test_logs_while_it_runs(hyrun: Hyrun) -> None:
    detached(hyrun, "echo one; sleep 600")
    until(lambda: hyrun.lines("logs", "one") == ["one"], "it is written")
    assert hyrun.record("one")["State"]["Running"]
