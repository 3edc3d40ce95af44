"""`-t`, `attach`: terminals of containers, and who sits at them."""

import json
import os
import signal
import termios
import time
from pathlib import Path

import pytest

from e2e.command import Hyrun, runs, until
from e2e.terminal import Terminal, at_terminal


def guard_of(terminal: Terminal) -> int:
    """The process that watches over a terminal in raw mode, once it has put away all that it does not need."""

    def pids() -> list[str]:
        children = Path(f"/proc/{terminal.process.pid}/task/{terminal.process.pid}/children").read_text().split()
        return [pid for pid in children if Path(f"/proc/{pid}/cmdline").read_bytes() == b"hyrun-guard\0guard\0"]

    # The command goes on as soon as the guard's program is loaded: its name is there a little later.
    # Of what the command holds it holds two descriptors.
    until(lambda: [sorted(os.listdir(f"/proc/{pid}/fd")) for pid in pids()] == [["3", "4"]], "one guard is ready")
    (pid,) = pids()
    return int(pid)


def test_a_shell_at_a_terminal(hyrun: Hyrun) -> None:
    with at_terminal("run", "-it", "--rm", "busybox", "sh", rows=30, columns=100) as terminal:
        terminal.type("tty; stty size; echo $TERM; id -u\n")
        terminal.expect("/dev/pts/0\r\n30 100\r\nxterm\r\n0\r\n")
        assert terminal.raw
        terminal.resize(20, 70)
        terminal.type("stty size\n")
        terminal.expect("20 70")
        terminal.type("cat\n")
        time.sleep(0.2)
        terminal.type("\x03echo again\n")
        terminal.expect("again\r\n")
        terminal.type("exit 5\n")
        assert terminal.wait() == 5
        assert not terminal.raw
    assert hyrun.left("containers") == set()


def test_the_terminal_is_the_users(hyrun: Hyrun) -> None:
    with at_terminal(
        "run", "-it", "--rm", "-u", "1000", "busybox", "sh", "-c", "echo x > /dev/pts/0; id -u"
    ) as terminal:
        terminal.expect("x\r\n1000")
        assert terminal.wait() == 0


def test_output_of_a_terminal_without_one_here(hyrun: Hyrun) -> None:
    assert hyrun("run", "-t", "--rm", "busybox", "sh", "-c", "tty; echo err >&2").stdout == "/dev/pts/0\nerr\n"
    assert "not a terminal" in hyrun.refused("run", "-it", "--rm", "busybox", "sh")


def test_the_keys_leave_it_running(hyrun: Hyrun) -> None:
    with at_terminal("run", "-it", "--name", "left", "busybox", "sh") as terminal:
        terminal.expect("# ")
        terminal.type("X=kept\n")
        terminal.type("\x10\x11")
        assert terminal.wait() == 0
        assert not terminal.raw
    assert hyrun.record("left")["State"]["Status"] == "running"
    with at_terminal("attach", "--detach-keys", "ctrl-x,y", "left") as terminal:
        terminal.type("echo $X\n")
        terminal.expect("kept\r\n")
        terminal.type("echo \x10\x11z\n")
        terminal.expect("z\r\n")
        terminal.type("\x18y")
        assert terminal.wait() == 0
    with at_terminal("attach", "left") as terminal:
        terminal.type("exit 3\n")
        assert terminal.wait() == 3
    hyrun("rm", "left")


def test_several_sit_at_one_container(hyrun: Hyrun) -> None:
    hyrun("run", "-dit", "--name", "shared", "busybox", "sh")
    with at_terminal("attach", "shared") as one, at_terminal("attach", "shared") as other:
        # Both are there once each has seen an answer. The shell loses what comes while it asks where the cursor is.
        one.type("echo first\n")
        one.expect("\r\nfirst\r\n.*# ")
        other.type("echo second\n")
        other.expect("second\r\n")
        one.expect("second\r\n")
        other.type("exit 4\n")
        assert (one.wait(), other.wait()) == (4, 4)
        assert not one.raw
        assert not other.raw


def test_the_terminal_is_itself_again_whatever_ends_it(hyrun: Hyrun) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        with at_terminal("run", "-it", "--rm", "busybox", "sh", "-c", "echo ready; exec sleep 600") as terminal:
            terminal.expect("ready")
            for _ in range(3):
                terminal.process.send_signal(signal.SIGTERM if number == signal.SIGTERM else signal.SIGINT)
                time.sleep(0.1)
            terminal.wait()
            assert not terminal.raw
    assert hyrun.left("containers") == set()


@pytest.mark.parametrize("how", ["run", "attach", "exec"])
def test_the_terminal_is_itself_again_after_a_kill_that_nothing_survives(hyrun: Hyrun, how: str) -> None:
    hyrun("run", "-dit", "--name", "stays", "busybox", "sh")
    words = {
        "run": ("run", "-it", "--rm", "busybox", "sh"),
        "attach": ("attach", "stays"),
        "exec": ("exec", "-it", "stays", "sh"),
    }[how]
    with at_terminal(*words) as terminal:
        terminal.type("echo rea''dy\n")
        terminal.expect("ready")
        assert terminal.raw
        os.kill(terminal.process.pid, signal.SIGKILL)
        until(lambda: not terminal.raw, "the terminal is itself again")
        terminal.process.wait()
    hyrun("rm", "-f", "stays")


def test_nobody_watches_over_the_terminal_afterwards(hyrun: Hyrun) -> None:
    with at_terminal("run", "-it", "--rm", "busybox", "sh") as terminal:
        terminal.expect("# ")
        guard = guard_of(terminal)
        assert os.readlink(f"/proc/{guard}/cwd") == "/"
        terminal.type("exit 0\n")
        assert terminal.wait() == 0
        assert not Path(f"/proc/{guard}").exists()


def test_what_somebody_else_has_set_meanwhile_stays(hyrun: Hyrun) -> None:
    hyrun("run", "-dit", "--name", "stays", "busybox", "sh")
    with at_terminal("attach", "stays") as terminal:
        terminal.type("echo rea''dy\n")
        terminal.expect("ready")
        guard = guard_of(terminal)
        modes = termios.tcgetattr(terminal.master)
        modes[0] |= termios.IXANY
        termios.tcsetattr(terminal.master, termios.TCSANOW, modes)
        os.kill(terminal.process.pid, signal.SIGKILL)
        until(lambda: not runs(guard), "the guard has seen the end")
        assert termios.tcgetattr(terminal.master) == modes
        terminal.process.wait()
    hyrun("rm", "-f", "stays")


def test_a_killed_container_gives_the_terminal_back(hyrun: Hyrun) -> None:
    with at_terminal("run", "-it", "--name", "victim", "busybox", "sh") as terminal:
        terminal.expect("# ")
        hyrun("rm", "-f", "victim")
        assert terminal.wait() == 137
        assert not terminal.raw


def test_a_foreground_that_is_killed_takes_the_container_along(hyrun: Hyrun) -> None:
    with at_terminal("run", "-it", "--rm", "busybox", "sh") as terminal:
        terminal.expect("# ")
        os.kill(terminal.process.pid, signal.SIGKILL)
        terminal.process.wait()
    until(lambda: hyrun.left("containers") == set(), "it is removed")


def test_attach_without_a_terminal(hyrun: Hyrun) -> None:
    hyrun("run", "-di", "--name", "cat", "busybox", "sh", "-c", "read a; echo got $a; read b; echo then $b; exit 2")
    # Whoever comes later goes on where the first one stopped: the input stays open.
    first = hyrun.start("attach", "cat", stdin=-1)
    assert first.stdin is not None
    assert first.stdout is not None
    first.stdin.write("one\n")
    first.stdin.flush()
    assert first.stdout.readline() == "got one\n"
    first.stdin.close()
    result = hyrun("attach", "cat", input="two\n", code=2)
    assert result.stdout == "then two\n"
    assert first.wait(20) == 2
    assert first.stdout.read() == "then two\n"


def test_attach_watches_only(hyrun: Hyrun) -> None:
    hyrun("run", "-di", "--name", "quiet", "busybox", "sh", "-c", "while sleep 0.2; do echo said; done")
    process = hyrun.start("attach", "--no-stdin", "--sig-proxy=false", "quiet")
    assert process.stdout is not None
    assert process.stdout.readline() == "said\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert hyrun.record("quiet")["State"]["Status"] == "running"
    hyrun("rm", "-f", "quiet")


@pytest.mark.parametrize("keys", ["ctrl-", "ctrl-1", "abc", "ctrl-p,,ctrl-q"])
def test_keys_that_are_none(hyrun: Hyrun, keys: str) -> None:
    assert "--detach-keys" in hyrun.refused("run", "-dit", "--detach-keys", keys, "busybox", "true")


def test_attach_needs_a_monitor(hyrun: Hyrun) -> None:
    hyrun.sleeper("--rm", "--name", "here")
    assert "foreground of another program" in hyrun.refused("attach", "here", code=1)


def test_the_keys_leave_a_container_whose_output_is_unread(hyrun: Hyrun) -> None:
    script = "echo ready; read x; for i in 1 2 3 4 5; do echo $i; sleep 0.1; done; exec sleep 600"
    with at_terminal("run", "-it", "--name", "unread", "busybox", "sh", "-c", script) as terminal:
        terminal.expect("ready")
        monitor = int(json.loads((hyrun.run / f"{hyrun.inspect('unread')['Id']}.json").read_text())["monitor"])
        terminal.type("\n")
        terminal.expect("1")
        terminal.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        os.kill(monitor, signal.SIGSTOP)
        try:
            # The rest of the output and the keys are there at once; then it goes, and the monitor hears of all that.
            terminal.type("\x10\x11")
            terminal.process.send_signal(signal.SIGCONT)
            assert terminal.wait() == 0
        finally:
            os.kill(monitor, signal.SIGCONT)
    time.sleep(0.3)
    assert hyrun.record("unread")["State"]["Status"] == "running"
    hyrun("rm", "-f", "unread")


def test_the_keys_leave_a_container_that_does_not_read(hyrun: Hyrun) -> None:
    script = "stty raw -echo; echo ready; exec sleep 600"
    with at_terminal("run", "-it", "--name", "deaf", "busybox", "sh", "-c", script) as terminal:
        terminal.expect("ready")
        # More than a terminal takes, and less than what may be on the way to it.
        for _ in range(40):
            terminal.type("x" * 1024)
        time.sleep(0.5)
        terminal.type("\x10\x11")
        assert terminal.wait() == 0
    time.sleep(0.3)
    assert hyrun.record("deaf")["State"]["Status"] == "running"
    hyrun("rm", "-f", "deaf")
