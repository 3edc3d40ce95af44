"""`hyrun exec`: into a container that runs."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.command import PATIENCE, Hyrun, open_files, until
from e2e.terminal import at_terminal


@pytest.fixture
def web(hyrun: Hyrun) -> Iterator[str]:
    """A container that runs."""
    flags = ("-e", "COLOUR=blue", "-w", "/tmp", "-h", "host", "--name", "web", "-v", "/data")
    yield hyrun.out("run", "-d", *flags, "busybox", "sh", "-c", "echo 1 > /data/one; exec sleep 600")
    hyrun("rm", "-f", "-v", "web")


def test_it_sees_what_the_container_sees(hyrun: Hyrun, web: str) -> None:
    script = "hostname; pwd; echo $COLOUR; cat /data/one; readlink /proc/self/exe; cat /proc/1/cmdline | tr '\\0' ' '"
    assert hyrun.out("exec", "web", "sh", "-c", script).split("\n") == [
        "host",
        "/tmp",
        "blue",
        "1",
        "/bin/busybox",
        "sleep 600 ",
    ]
    for kind in ("mnt", "pid", "net", "uts", "ipc", "cgroup"):
        inside = hyrun.out("exec", "web", "readlink", f"/proc/1/ns/{kind}")
        assert hyrun.out("exec", "web", "readlink", f"/proc/self/ns/{kind}") == inside
        assert inside != os.readlink(f"/proc/self/ns/{kind}")


def test_it_has_no_more_rights_than_the_container(hyrun: Hyrun, web: str) -> None:
    script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/{}/status"
    own = hyrun.out("exec", "web", "sh", "-c", script.format("self"))
    assert own == hyrun.out("exec", "web", "sh", "-c", script.format("1"))
    assert "CapInh:\t0000000000000000" in own


def test_nothing_of_the_caller_comes_in(hyrun: Hyrun, web: str) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        listed = hyrun.out("exec", "web", "ls", "/proc/self/fd", close_fds=False, env={"SECRET": "x"})
        assert listed.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
        assert "SECRET" not in hyrun.out("exec", "web", "env", env={"SECRET": "x"})
        assert hyrun.out("exec", "web", "sh", "-c", "ulimit -c; umask") != ""
    finally:
        os.close(reader)
        os.close(writer)


def test_flags(hyrun: Hyrun, web: str) -> None:
    assert hyrun.out("exec", "-u", "1000:5", "web", "id", "-u") == "1000"
    assert hyrun.out("exec", "-w", "/data", "web", "pwd") == "/data"
    assert hyrun.out("exec", "-e", "COLOUR=red", "-e", "NEW=x", "web", "sh", "-c", "echo $COLOUR$NEW") == "redx"
    assert hyrun.out("exec", "-i", "web", "cat", input="in\n") == "in"
    assert hyrun.out("exec", "web", "cat", input="not passed on") == ""


@pytest.mark.parametrize(
    ("command", "code"),
    [(["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137), (["true"], 0)],
)
def test_the_exit_status_is_the_commands(hyrun: Hyrun, web: str, command: list[str], code: int) -> None:
    hyrun("exec", "web", *command, code=code)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["web", "nosuch"], 127, "not found"),
        (["web", "/data"], 126, "Permission denied"),
        (["-w", "/nosuch", "web", "true"], 127, "working directory /nosuch: No such file"),
        (["-w", "/etc/passwd", "web", "true"], 126, "working directory /etc/passwd: Not a directory"),
        (["-w", "relative", "web", "true"], 125, "must be absolute"),
        (["-u", "nobody-there", "web", "true"], 125, "nobody-there"),
        (["nosuch", "true"], 125, "no such container"),
        (["web"], 125, "CONTAINER COMMAND"),
        (["--privileged", "web", "true"], 125, "--privileged"),
        (["-dt", "web", "true"], 125, "-d and -t"),
    ],
)
def test_what_is_refused(hyrun: Hyrun, web: str, arguments: list[str], code: int, said: str) -> None:
    assert said in hyrun.refused("exec", *arguments, code=code)


def test_a_container_that_does_not_run_is_named(hyrun: Hyrun) -> None:
    hyrun("create", "--name", "still", "busybox", "true")
    assert "hyrun start still" in hyrun.refused("exec", "still", "true")


def test_left_in_the_background(hyrun: Hyrun, web: str) -> None:
    hyrun("exec", "-d", "web", "sh", "-c", "echo 2 > /data/two; exec sleep 300")
    until(lambda: hyrun.out("exec", "web", "cat", "/data/two", code=0) == "2", "it has run")
    assert "sleep 300" in hyrun.out("exec", "web", "ps")


def test_a_terminal_of_the_container(hyrun: Hyrun, web: str) -> None:
    with at_terminal("exec", "-it", "web", "sh", rows=30, columns=100) as terminal:
        terminal.type("stty size; tty\n")
        terminal.expect("30 100\r\n/dev/pts/0")
        assert terminal.raw
        terminal.resize(40, 90)
        terminal.type("stty size\n")
        terminal.expect("40 90")
        terminal.type("sleep 100\n")
        time.sleep(0.2)
        terminal.type("\x03")
        terminal.type("echo still here; exit 5\n")
        terminal.expect("here\r\n")
        assert terminal.wait() == 5
        assert not terminal.raw


def test_signals_are_passed_on(hyrun: Hyrun, web: str) -> None:
    script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    process = hyrun.ready("exec", "web", "sh", "-c", script)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(PATIENCE) == 9


def test_it_goes_with_its_caller(hyrun: Hyrun, web: str) -> None:
    process = hyrun.ready("exec", "web", "sh", "-c", "echo ready; exec sleep 123")
    process.kill()
    process.wait(PATIENCE)
    until(lambda: "sleep 123" not in hyrun.out("exec", "web", "ps"), "the process ends")


def test_a_hostile_process_inside_gets_hold_of_nothing(hyrun: Hyrun) -> None:
    """Pid 1 looks at everything that appears (CVE-2016-9962): no descriptor, memory or root of who enters opens."""
    script = """
        while :; do
            for p in /proc/[0-9]*; do
                n=${p#/proc/}
                [ "$n" = 1 ] || [ "$n" = $$ ] && continue
                case "$(readlink $p/exe)" in *hyrun-init*)
                    cat $p/environ $p/maps && echo "got $p"
                    ls $p/fd/ && echo "fd $p";;
                esac
            done 2>/dev/null
        done
    """
    hyrun("run", "-d", "--name", "spy", "busybox", "sh", "-c", script)
    for _ in range(40):
        hyrun("exec", "spy", "true")
    identifier = hyrun.inspect("spy")["Id"]
    assert (hyrun.root / "containers" / identifier / "container.log").read_text() == ""
    hyrun("rm", "-f", "spy")


def test_an_exec_into_a_dying_container_answers(hyrun: Hyrun) -> None:
    hyrun("create", "--name", "brief", "busybox", "sleep", "0.15")
    for _ in range(5):
        hyrun("start", "brief")
        stop = threading.Event()
        codes: list[int] = []

        def execute(stop: threading.Event = stop, codes: list[int] = codes) -> None:
            while not stop.is_set():
                began = time.monotonic()
                arguments = (*hyrun_command(), "exec", "brief", "true")
                result = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
                codes.append(result.returncode)
                assert "[Errno" not in result.stderr
                assert time.monotonic() - began < 5

        threads = [threading.Thread(target=execute) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: hyrun.record("brief")["State"]["Status"] == "exited", "it has ended")
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert set(codes) <= {0, 125, 137}, codes


def hyrun_command() -> tuple[str, ...]:
    from e2e.command import COMMAND

    return COMMAND


def test_a_replaced_null_device_is_not_taken_for_it(hyrun: Hyrun, web: str, tmp_path: Path) -> None:
    hyrun("exec", "web", "sh", "-c", "rm /dev/null; echo trap > /dev/null; chmod 666 /dev/null")
    assert "/dev/null" in hyrun.refused("exec", "web", "cat")


def test_a_failure_that_is_told_before_the_pid_leaves_no_zombie(hyrun: Hyrun, web: str) -> None:
    script = """import os, hyrun
try:
    hyrun.Container.get("web").exec(["/nowhere"])
except hyrun.SpawnError:
    print("children:", open(f"/proc/self/task/{os.getpid()}/children").read())
"""
    slowly = ("strace", "-f", "-qq", "-o", str(hyrun.cwd / "log"), "-e", "trace=clone", "-e")
    command = (*slowly, "inject=clone:delay_exit=300000", sys.executable, "-c")
    assert hyrun(script, command=command).stdout == "children: \n"


def test_who_is_stopped_on_the_way_in_does_not_hold_the_caller(hyrun: Hyrun) -> None:
    hyrun("run", "-d", "--name", "hostile", "busybox", "sh", "-c", "while :; do kill -STOP -1; done")
    errors = ""
    while "holds it up" not in errors:
        process = hyrun.start("exec", "hostile", "sleep", "0.2")
        try:
            errors = process.communicate(timeout=PATIENCE)[1]
        except subprocess.TimeoutExpired:
            # It got in, and was stopped there.
            process.kill()
            process.communicate()
    hyrun("rm", "-f", "hostile")


def test_detach_keys_leave_a_command_that_goes_on_with_its_terminal(hyrun: Hyrun, web: str) -> None:
    # More than a terminal holds: somebody reads it.
    script = "while :; do echo $(seq 1000); echo tick >> /data/ticks; done"
    with at_terminal("exec", "-it", "--detach-keys", "ctrl-x,x", "web", "sh", "-c", script) as terminal:
        terminal.expect("999 1000")
        terminal.type("\x18x")
        assert terminal.wait() == 0
        assert not terminal.raw
    ticks = Path(hyrun.inspect("web")["Mounts"][0]["Source"]) / "ticks"
    size = ticks.stat().st_size
    until(lambda: ticks.stat().st_size > size, "it goes on")
    (left,) = [pid for pid, line in _commands().items() if b"--detach-keys\0ctrl-x,x\0web" in line]
    assert os.getsid(left) == left
    until(lambda: len({*open_files(left), "/dev/null"}) == 2, "it holds the terminal and nothing else")
    hyrun("rm", "-f", "web")
    until(lambda: left not in _commands(), "the process that read has ended")


def test_ctrl_p_is_the_commands_in_exec(hyrun: Hyrun, web: str) -> None:
    with at_terminal("exec", "-it", "web", "sh", "-c", "stty raw -echo; echo ready; head -c 2 | od -tx1") as terminal:
        terminal.expect("ready")
        terminal.type("\x10\x11")
        terminal.expect("10 11")
        assert terminal.wait() == 0


def _commands() -> dict[int, bytes]:
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found[int(name)] = Path(f"/proc/{name}/cmdline").read_bytes()
    return found
