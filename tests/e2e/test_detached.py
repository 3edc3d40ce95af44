"""`run -d`, `create`, `start`: containers that outlive the command that started them, and their monitor."""

import fcntl
import json
import os
import re
import resource
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from e2e.command import COMMAND, Hyrun, runs, until


def detached(hyrun: Hyrun, script: str, *flags: object) -> str:
    """Start a shell script in the background; return the container's id."""
    return hyrun.out("run", "-d", *flags, "busybox", "sh", "-c", script)


def state(hyrun: Hyrun, identifier: str) -> dict[str, int]:
    """Return what is written down of a running container's processes."""
    return dict(json.loads((hyrun.run / f"{identifier}.json").read_text()))


def ended(hyrun: Hyrun, name: str) -> int:
    """Wait for the end of a container and return its exit code."""
    until(lambda: hyrun.record(name)["State"]["Status"] == "exited", "it has ended")
    return int(hyrun.record(name)["State"]["ExitCode"])


def log(hyrun: Hyrun, identifier: str) -> list[str]:
    """Return a log's records without their times."""
    text = (hyrun.root / "containers" / identifier / "container.log").read_text()
    return [line[31:] for line in text.splitlines()]


def test_the_id_is_printed_and_the_container_goes_on(hyrun: Hyrun) -> None:
    identifier = detached(hyrun, "echo here; exec sleep 600", "--name", "back")
    assert re.fullmatch("[0-9a-f]{64}", identifier)
    assert hyrun.out("ps", "--no-trunc", "-q") == identifier
    assert hyrun.record("back")["State"]["Status"] == "running"
    hyrun("rm", "-f", "back")
    assert hyrun.left("containers") == set()


def test_the_exit_status_is_recorded(hyrun: Hyrun) -> None:
    detached(hyrun, "exit 7", "--name", "seven")
    assert ended(hyrun, "seven") == 7
    detached(hyrun, "kill -9 $$; sleep 600", "--name", "deaf")
    hyrun("rm", "-f", "deaf")
    detached(hyrun, "exec sleep 600", "--name", "killed")
    os.kill(state(hyrun, hyrun.inspect("killed")["Id"])["pid"], signal.SIGKILL)
    assert ended(hyrun, "killed") == 137


def test_the_monitor_is_small_and_holds_nothing_of_the_caller(hyrun: Hyrun) -> None:
    reader, writer = os.pipe()
    try:
        os.set_inheritable(writer, True)
        identifier = hyrun.out("run", "-d", "busybox", "sleep", "600", close_fds=False)
        monitor = state(hyrun, identifier)["monitor"]
        held = [os.readlink(entry) for entry in Path(f"/proc/{monitor}/fd").iterdir()]
        assert f"pipe:[{os.fstat(writer).st_ino}]" not in held
        assert not [name for name in held if name.startswith(str(hyrun.cwd))]
        rollup = Path(f"/proc/{monitor}/smaps_rollup").read_text()
        private = re.search(r"Private_Dirty: +(\d+) kB", rollup)
        assert private is not None
        assert int(private[1]) < 150
        assert os.readlink(f"/proc/{monitor}/cwd") == "/"
        assert os.getsid(monitor) == monitor
    finally:
        os.close(reader)
        os.close(writer)
        hyrun("rm", "-f", hyrun.out("ps", "-q"))


def test_a_container_whose_monitor_is_killed_ends_with_an_unknown_status(hyrun: Hyrun) -> None:
    identifier = detached(hyrun, "exec sleep 600", "--name", "orphan")
    processes = state(hyrun, identifier)
    os.kill(processes["monitor"], signal.SIGKILL)
    until(lambda: not runs(processes["pid"]), "the container ends with it")
    shown = hyrun.record("orphan")["State"]
    assert (shown["Status"], shown["ExitCode"]) == ("exited", 255)
    hyrun("start", "orphan")
    assert hyrun.record("orphan")["State"]["Status"] == "running"
    hyrun("rm", "-f", "orphan")


def test_sigterm_for_the_monitor_is_the_containers(hyrun: Hyrun) -> None:
    identifier = detached(hyrun, "trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done", "--name", "term")
    until(lambda: log(hyrun, identifier) == ["stdout F ready"], "it is ready")
    os.kill(state(hyrun, identifier)["monitor"], signal.SIGTERM)
    assert ended(hyrun, "term") == 4


def test_output_is_logged_with_its_stream(hyrun: Hyrun) -> None:
    script = "echo out; echo err >&2; printf 'no newline'"
    identifier = detached(hyrun, script, "--name", "talker")
    ended(hyrun, "talker")
    assert sorted(log(hyrun, identifier)) == ["stderr F err", "stdout F out", "stdout P no newline"]


def test_a_log_begins_anew_and_old_ones_go(hyrun: Hyrun) -> None:
    flags = ("--log-opt", "max-size=20k", "--log-opt", "max-file=3", "--name", "chatty")
    identifier = detached(hyrun, "seq 5000", *flags)
    ended(hyrun, "chatty")
    directory = hyrun.root / "containers" / identifier
    files = ["container.log.2", "container.log.1", "container.log"]
    assert sorted(entry.name for entry in directory.glob("container.log*")) == sorted(files)
    # The oldest file may begin in the middle of a line.
    lines = hyrun.lines("logs", "chatty")
    assert len(lines) > 500
    assert lines[1:] == [str(number) for number in range(5002 - len(lines), 5001)]
    assert all((directory / name).stat().st_size <= 60_000 for name in files)


def test_a_record_that_was_cut_short_does_not_swallow_the_next(hyrun: Hyrun) -> None:
    identifier = detached(hyrun, "echo once", "--name", "torn")
    ended(hyrun, "torn")
    with (hyrun.root / "containers" / identifier / "container.log").open("a") as file:
        file.write("2026-01-01T00:00:00.0000")
    hyrun("start", "-a", "torn")
    assert hyrun.lines("logs", "torn")[-1] == "once"


def test_nothing_is_lost_of_a_flood(hyrun: Hyrun) -> None:
    identifier = detached(hyrun, "head -c 100000000 /dev/zero | tr '\\0' x", "--name", "flood")
    monitor = state(hyrun, identifier).get("monitor", 0)
    until(lambda: not runs(monitor), "the monitor ends")
    path = hyrun.root / "containers" / identifier / "container.log"
    with path.open("rb") as file:
        count = sum(len(line) - 41 for line in file)
    assert count == 100_000_000
    hyrun("rm", "flood")


def test_removal_at_the_end_takes_the_anonymous_volumes_along(hyrun: Hyrun) -> None:
    detached(hyrun, "sleep 0.2; exit 3", "--rm", "-v", "/data")
    until(lambda: hyrun.left("containers") == set(), "it is removed")
    until(lambda: hyrun.left("volumes") == set() and hyrun.left("names") == set(), "and what belonged to it")
    until(lambda: [name for name in os.listdir(hyrun.run) if "events" not in name] == [], "and its state")


def test_what_cannot_start_is_told_and_leaves_nothing(hyrun: Hyrun) -> None:
    line = hyrun.refused("run", "-d", "--name", "never", "-v", "/data", "busybox", "nosuch", code=127)
    assert "exec nosuch: not found" in line
    assert hyrun.left("containers") == hyrun.left("volumes") == hyrun.left("names") == set()
    assert set(os.listdir(hyrun.run)) <= {"events.log"}
    assert "bind" in hyrun.refused("run", "-d", "--mount", "type=bind,source=/nosuch,target=/x", "busybox", "true")


def test_a_created_container_waits_for_its_start(hyrun: Hyrun) -> None:
    identifier = hyrun.out("create", "--name", "later", "-v", "/data", "busybox", "sh", "-c", "echo run >> /count")
    assert hyrun.record("later")["State"]["Status"] == "created"
    assert hyrun.out("start", "later") == "later"
    assert ended(hyrun, "later") == 0
    assert hyrun.out("start", "-a", identifier[:12]) == ""
    upper = Path(hyrun.inspect("later")["GraphDriver"]["Data"]["UpperDir"])
    assert (upper / "count").read_text() == "run\nrun\n"
    hyrun("rm", "later")


def test_start_in_front_passes_output_input_and_status_on(hyrun: Hyrun) -> None:
    hyrun("create", "-i", "--name", "cat", "busybox", "sh", "-c", "cat; echo err >&2; exit 6")
    result = hyrun("start", "-ai", "cat", input="a line\nno newline", code=6)
    assert (result.stdout, result.stderr) == ("a line\nno newline", "err\n")


def test_start_of_one_that_runs_changes_nothing(hyrun: Hyrun) -> None:
    identifier = detached(hyrun, "exec sleep 600", "--name", "up")
    pid = state(hyrun, identifier)["pid"]
    assert hyrun.out("start", "up") == "up"
    assert state(hyrun, identifier)["pid"] == pid
    assert "attach up" in hyrun.refused("start", "-a", "up")


def test_a_failed_start_is_remembered(hyrun: Hyrun) -> None:
    hyrun("create", "--name", "broken", "busybox", "nosuch")
    hyrun.refused("start", "broken", code=1)
    shown = hyrun.record("broken")["State"]
    assert (shown["Status"], shown["ExitCode"]) == ("exited", 127)
    assert "not found" in shown["Error"]


def test_one_that_ran_in_the_foreground_has_a_log_and_can_be_started_again(hyrun: Hyrun) -> None:
    result = hyrun(
        "run", "-i", "--name", "once", "busybox", "sh", "-c", "cat; echo err >&2; exit 3", input="in", code=3
    )
    assert (result.stdout, result.stderr) == ("in", "err\n")
    result = hyrun("logs", "once")
    assert (result.stdout, result.stderr) == ("in", "err\n")
    hyrun("start", "-ai", "once", code=3)
    assert hyrun("logs", "once").stderr == "err\nerr\n"
    assert hyrun.left("containers") == {hyrun.inspect("once")["Id"]}


def test_one_that_goes_at_its_end_has_no_log(hyrun: Hyrun) -> None:
    hyrun.sleeper("--rm", "--name", "here")
    assert "--rm" in hyrun.refused("logs", "here", code=1)


@pytest.mark.parametrize(
    ("policy", "script", "starts"),
    [("on-failure:2", "exit 1", 3), ("on-failure", "exit 0", 1), ("no", "exit 1", 1)],
)
def test_restart_policy(hyrun: Hyrun, policy: str, script: str, starts: int) -> None:
    identifier = detached(hyrun, f"echo start; {script}", "--restart", policy, "--name", "again")
    until(lambda: len(log(hyrun, identifier)) == starts, "it has been started as often as the policy says")
    until(lambda: hyrun.record("again")["State"]["Status"] == "exited", "that was the last time")
    assert len(log(hyrun, identifier)) == starts
    assert hyrun.record("again")["RestartCount"] == starts - 1


def test_a_container_that_always_starts_again_can_be_removed(hyrun: Hyrun) -> None:
    identifier = detached(hyrun, "echo start", "--restart", "always", "--name", "always")
    until(lambda: len(log(hyrun, identifier)) > 2, "it has been started again")
    hyrun("rm", "-f", "always")
    time.sleep(0.3)
    assert hyrun.left("containers") == set()
    assert [name for name in os.listdir(hyrun.run) if "events" not in name] == []


@pytest.mark.parametrize("policy", ["sometimes", "always:3", "on-failure:x", "on-failure:-1"])
def test_a_policy_that_is_none_is_refused(hyrun: Hyrun, policy: str) -> None:
    assert "--restart" in hyrun.refused("run", "-d", "--restart", policy, "busybox", "true")


def test_restart_and_removal_exclude_each_other(hyrun: Hyrun) -> None:
    assert "exclude" in hyrun.refused("run", "-d", "--rm", "--restart", "always", "busybox", "true")


def test_init_reaps_orphans(hyrun: Hyrun) -> None:
    script = "i=0; while [ $i -lt 10000 ]; do (true &); i=$((i+1)); done; sleep 0.5; ls -d /proc/[0-9]* | wc -l"
    # Without it the shell would be pid 1, and the orphans its own to reap or not.
    assert int(hyrun.out("run", "--rm", "--init", "busybox", "sh", "-c", script)) < 10


def test_init_passes_signals_and_status_on(hyrun: Hyrun) -> None:
    script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    process = hyrun.ready("run", "--rm", "--init", "busybox", "sh", "-c", script)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 9


def test_fifty_at_once(hyrun: Hyrun) -> None:
    names = [f"many{number}" for number in range(50)]
    processes = [hyrun.start("run", "-d", "--name", name, "busybox", "sleep", "600") for name in names]
    assert [process.wait(60) for process in processes] == [0] * 50
    assert sorted(hyrun.lines("ps", "--format", "{{.Names}}")) == sorted(names)
    hyrun("rm", "-f", *names)
    assert hyrun.left("containers") == set()


def test_a_stranger_who_writes_for_ever_does_not_keep_it_from_ending(hyrun: Hyrun) -> None:
    identifier = detached(hyrun, "exec sleep 600", "--name", "given", "--log-opt", "max-size=1m")
    # As a process of another container that was given the descriptor over a socket in a shared volume.
    descriptor = os.open(f"/proc/{state(hyrun, identifier)['pid']}/fd/1", os.O_WRONLY)
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)
    writers = [subprocess.Popen(["yes", ""], stdout=descriptor, stderr=subprocess.DEVNULL) for _ in range(6)]
    try:
        os.close(descriptor)
        time.sleep(0.5)
        hyrun("rm", "-f", "given")
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert hyrun.left("containers") == set()


def test_labels_that_are_longer_than_an_event(hyrun: Hyrun) -> None:
    labels = [word for number in range(40) for word in ("-l", f"key{number}={'%' * 4000}")]
    detached(hyrun, "exit 3", "--name", "labelled", *labels)
    assert ended(hyrun, "labelled") == 3
    events = [json.loads(line) for line in (hyrun.run / "events.log").read_text().splitlines()]
    (event,) = (event for event in events if event["Action"] == "die")
    assert event["Actor"]["Attributes"] == {"image": "busybox", "name": "labelled", "exitCode": "3"}


def test_a_monitor_that_is_stopped_does_not_keep_a_container_from_being_removed(hyrun: Hyrun) -> None:
    identifier = detached(hyrun, "exec sleep 600", "--name", "halted")
    os.kill(state(hyrun, identifier)["monitor"], signal.SIGSTOP)
    hyrun("rm", "-f", "halted")
    assert hyrun.left("containers") == set()


def test_a_monitor_without_a_free_descriptor_waits_and_does_not_spin(hyrun: Hyrun) -> None:
    identifier = detached(hyrun, "while :; do echo line; sleep 0.1; done", "--name", "full")
    monitor = state(hyrun, identifier)["monitor"]
    soft, hard = resource.prlimit(monitor, resource.RLIMIT_NOFILE)
    resource.prlimit(monitor, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{monitor}/fd")), hard))
    with subprocess.Popen([*COMMAND, "attach", "full"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as client:
        assert client.stdout is not None
        before = _ticks(monitor)
        # It is asked to let somebody in, and cannot. A loop would take all of this second.
        assert select.select([client.stdout], [], [], 1)[0] == []
        assert _ticks(monitor) - before < os.sysconf("SC_CLK_TCK") // 3
        resource.prlimit(monitor, resource.RLIMIT_NOFILE, (soft, hard))
        assert client.stdout.readline() == b"line\n"
        client.kill()
    hyrun("rm", "-f", "full")


def _ticks(pid: int) -> int:
    """Return how much processor time a process has had, in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_log_that_cannot_begin_anew_goes_on(hyrun: Hyrun) -> None:
    flags = ("--log-opt", "max-size=1k", "--log-opt", "max-file=3", "--name", "crammed")
    identifier = detached(hyrun, "sleep 1; for i in $(seq 99); do echo line $i; done; sleep 600", *flags)
    # As on a disk on which no further file can be made.
    resource.prlimit(state(hyrun, identifier)["monitor"], resource.RLIMIT_NOFILE, (6, 6))
    until(lambda: "line 99" in hyrun.out("logs", "crammed"), "it has written")
    assert hyrun.out("logs", "crammed").split("\n") == [f"line {number}" for number in range(1, 100)]
    hyrun("rm", "-f", "crammed")
