"""`hyrun run`: signals in the foreground, and a `hyrun` that is killed."""

import os
import signal
from pathlib import Path

import pytest

from e2e.command import PATIENCE, Hyrun, runs, until

WAIT = "echo ready; sleep 600 & wait $!"


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "USR2", "QUIT"])
def test_signal_is_forwarded(hyrun: Hyrun, name: str) -> None:
    process = hyrun.ready("run", "--rm", "busybox", "sh", "-c", f"trap 'echo got {name}; exit 33' {name}; {WAIT}")
    process.send_signal(getattr(signal, f"SIG{name}"))
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (33, f"got {name}\n")
    assert hyrun.left("containers") == set()


def test_signal_with_options_before_the_command_is_forwarded(hyrun: Hyrun) -> None:
    script = f"trap 'exit 33' TERM; {WAIT}"
    process = hyrun.ready("--root", hyrun.root, "run", "--rm", "busybox", "sh", "-c", script)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 33


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_third_signal_ends_a_deaf_container(hyrun: Hyrun, number: int) -> None:
    process = hyrun.sleeper("--rm")
    for _ in range(3):
        process.send_signal(number)
        # Signals of one kind that are pending at once are one: give each its turn.
        until(lambda: not _pending(process.pid, number), "the signal is taken")
    assert process.wait(PATIENCE) == 137
    assert hyrun.left("containers") == set()


def _pending(pid: int, number: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = dict(line.split(":", 1) for line in text.splitlines())
    return bool((int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)) >> (number - 1) & 1)


def test_one_interrupt_does_not_end_a_deaf_container(hyrun: Hyrun) -> None:
    process = hyrun.sleeper("--rm", "--name", "deaf")
    process.send_signal(signal.SIGINT)
    until(lambda: not _pending(process.pid, signal.SIGINT), "the signal is taken")
    assert hyrun.out("ps", "--format", "{{.Names}}") == "deaf"


def test_stopping_hyrun_does_not_lose_the_container(hyrun: Hyrun) -> None:
    process = hyrun.sleeper("--rm", "--name", "paused")
    process.send_signal(signal.SIGSTOP)
    assert hyrun.out("ps", "--format", "{{.Names}}") == "paused"
    process.send_signal(signal.SIGCONT)
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        until(lambda: not _pending(process.pid, signal.SIGTERM), "the signal is taken")
    process.wait(PATIENCE)


def _killed(hyrun: Hyrun, *flags: str) -> int:
    """Start a container, kill its `hyrun`; return the pid that the container had."""
    process = hyrun.sleeper(*flags, "--name", "orphan")
    pid = hyrun.record("orphan")["State"]["Pid"]
    assert runs(pid)
    process.kill()
    process.wait(PATIENCE)
    return pid


def test_killing_hyrun_kills_the_container(hyrun: Hyrun) -> None:
    pid = _killed(hyrun)
    until(lambda: not runs(pid), "the container is dead")


def test_killed_container_with_rm_is_tidied_up_by_ps(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    _killed(hyrun, "--rm", "-v", "/data")
    assert hyrun.lines("ps", "-aq") == []
    assert hyrun.tree() == before


def test_killed_container_without_rm_is_exited_and_its_monitor_knows_how(hyrun: Hyrun) -> None:
    _killed(hyrun)
    until(lambda: hyrun.record("orphan")["State"]["Status"] == "exited", "it has ended")
    assert hyrun.out("ps", "-a", "--format", "{{.Names}} {{.State}}") == "orphan exited"
    assert "(137)" in hyrun.out("ps", "-a", "--format", "{{.Status}}")
    hyrun("rm", "orphan")


def test_name_of_a_killed_container_with_rm_can_be_used_again(hyrun: Hyrun) -> None:
    _killed(hyrun, "--rm")
    hyrun("run", "--rm", "--name", "orphan", "busybox", "true")
    assert hyrun.left("containers") == hyrun.left("names") == set()


def test_name_of_a_killed_container_without_rm_stays_taken(hyrun: Hyrun) -> None:
    _killed(hyrun)
    assert "orphan" in hyrun.refused("run", "--rm", "--name", "orphan", "busybox", "true")
    hyrun("rm", "orphan")
    hyrun("run", "--rm", "--name", "orphan", "busybox", "true")


def test_volume_of_a_killed_container_keeps_what_was_written(hyrun: Hyrun) -> None:
    process = hyrun.ready("run", "-v", "named:/n", "busybox", "sh", "-c", f"echo kept > /n/file; {WAIT}")
    process.kill()
    process.wait(PATIENCE)
    assert hyrun.sh("cat /n/file", "-v", "named:/n") == "kept"


def test_background_processes_end_with_pid_1(hyrun: Hyrun) -> None:
    hyrun("run", "--rm", "-v", "./out:/out", "busybox", "sh", "-c", "sleep 7654 & echo $! > /out/pid")
    names = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                names.append(Path(f"/proc/{entry}/cmdline").read_bytes())
            except (FileNotFoundError, ProcessLookupError):
                continue
    assert b"sleep\x007654\x00" not in names
