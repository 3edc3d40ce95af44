"""Pid 1 of a container, held by a pidfd."""

import os
import select
import signal
import threading

import pytest

from hyrun import _core
from support.leaks import children
from support.processes import status_of
from support.rootfs import PATIENCE, Box, end, helper, in_process, wait


def ended(process: _core.Process) -> None:
    """Return when the process has ended; it is not reaped."""
    assert select.select([process.pidfd], [], [], PATIENCE)[0]


@pytest.mark.parametrize("status", [0, 1, 125, 255])
def test_wait_returns_the_exit_status(box: Box, status: int) -> None:
    process = _core.spawn(box.spec("sh", "-c", f"exit {status}"))
    assert process.wait() == status
    assert process.wait() == process.wait(0) == process.returncode == status


def test_process_1_is_ended_by_sigkill_and_not_by_what_it_has_no_handler_for(box: Box) -> None:
    with box.running("echo ready; read x; exit 5") as running:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGSEGV):
            running.process.kill(number)
        running.tell("x\n")
        assert wait(running.process) == 5
    with box.running("echo ready; read x") as running:
        running.process.kill(signal.SIGKILL)
        assert wait(running.process) == -signal.SIGKILL


def test_returncode_is_none_until_someone_has_waited(box: Box) -> None:
    process = _core.spawn(box.spec("true"))
    assert process.returncode is None
    ended(process)
    assert process.returncode is None
    assert process.wait(0) == 0
    assert process.returncode == 0


@pytest.mark.parametrize("timeout", [0, 0.02, -1])
def test_wait_with_a_timeout_returns_none_when_the_time_is_over(box: Box, timeout: float) -> None:
    with box.running("echo ready; read x") as running:
        assert running.process.wait(timeout) is None
        assert running.process.returncode is None


@pytest.mark.parametrize("timeout", [float("inf"), 1e300])
def test_a_timeout_that_is_no_time_is_refused(box: Box, timeout: float) -> None:
    process = _core.spawn(box.spec("true"))
    with pytest.raises(OverflowError, match="not a time"):
        process.wait(timeout)
    assert wait(process) == 0


def test_kill_sends_any_signal(box: Box) -> None:
    with box.running("trap 'exit 7' USR1; echo ready; while :; do sleep 0.01; done") as running:
        running.process.kill(0)
        running.process.kill(signal.SIGUSR1)
        assert wait(running.process) == 7


def test_kill_after_the_end_finds_no_process(box: Box) -> None:
    process = _core.spawn(box.spec("true"))
    ended(process)
    for _ in range(2):
        with pytest.raises(ProcessLookupError):
            process.kill(signal.SIGTERM)
    assert process.returncode == 0


def test_a_number_that_is_no_signal_is_refused(box: Box) -> None:
    with box.running("echo ready; read x") as running, pytest.raises(OSError, match="Invalid argument"):
        running.process.kill(1000)


def test_killing_process_1_ends_the_whole_container(box: Box) -> None:
    with box.running("sleep 1000 & sleep 1000 & echo ready; wait") as running:
        lists = f"/proc/{running.process.pid}/task/{running.process.pid}/children"
        with open(lists) as file:
            below = [os.pidfd_open(int(pid)) for pid in file.read().split()]
        assert len(below) == 2
        running.process.kill(signal.SIGKILL)
        assert wait(running.process) == -signal.SIGKILL
    for pidfd in below:
        assert select.select([pidfd], [], [], PATIENCE)[0]
        os.close(pidfd)


def test_wait_honours_an_interrupt(box: Box) -> None:
    ready, say = os.pipe()

    def work() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with box.running("echo ready; read x") as running:

            def say_so_and_wait() -> None:
                os.write(say, b"x")
                running.process.wait()

            with pytest.raises(KeyboardInterrupt):
                say_so_and_wait()
            assert running.process.wait(0) is None

    pid = helper(work)
    assert os.read(ready, 1) == b"x"
    os.kill(pid, signal.SIGINT)
    os.close(ready)
    os.close(say)
    assert status_of(pid) == 0


def test_a_handler_runs_and_the_wait_goes_on(box: Box) -> None:
    def work() -> None:
        seen = []
        with box.running("echo ready; read x") as running:

            def handler(*_: object) -> None:
                seen.append(1)
                running.process.kill(signal.SIGKILL)

            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            assert running.process.wait() == -signal.SIGKILL
        assert seen == [1]

    in_process(work)


def test_an_exit_status_that_another_waiter_took_is_lost_and_said_so(box: Box) -> None:
    process = _core.spawn(box.spec("true"))
    assert os.waitpid(process.pid, 0)[1] == 0
    for function in (process.wait, lambda: process.kill(9)):
        with pytest.raises(ChildProcessError, match="exit status is lost"):
            function()


def test_with_sigchld_ignored_the_exit_status_is_lost(box: Box) -> None:
    def work() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        reader, writer = os.pipe()
        process = _core.spawn(box.spec("grep", "SigIgn", "/proc/self/status", stdout=writer))
        with pytest.raises(ChildProcessError, match="SIGCHLD is ignored"):
            process.wait(PATIENCE)
        assert os.read(reader, 99) == b"SigIgn:\t0000000000000000\n"

    in_process(work)


def test_a_failing_spawn_leaves_other_children_alone(box: Box) -> None:
    other = helper(lambda: None)
    assert box.refused("nope").exit_code == 127
    assert status_of(other) == 0


def test_a_handle_dropped_after_the_end_leaves_no_zombie(box: Box) -> None:
    process = _core.spawn(box.spec("true"))
    pid = str(process.pid)
    ended(process)
    assert pid in children()
    del process
    assert pid not in children()


def test_two_threads_may_wait_for_one_container(box: Box) -> None:
    with box.running("echo ready; read x; exit 5") as running:
        found: list[int | None] = []
        threads = [threading.Thread(target=lambda: found.append(running.process.wait(PATIENCE))) for _ in range(2)]
        for thread in threads:
            thread.start()
        running.process.kill(signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert found == [-signal.SIGKILL] * 2


def test_the_pidfd_is_the_process_and_not_inherited(box: Box) -> None:
    with box.running("echo ready; read x") as running:
        with open(f"/proc/self/fdinfo/{running.process.pidfd}") as file:
            assert f"Pid:\t{running.process.pid}\n" in file.read()
        assert not os.get_inheritable(running.process.pidfd)
        assert repr(running.process) == f"<hyrun.Process pid={running.process.pid} running>"
        end(running.process)
        assert repr(running.process) == f"<hyrun.Process pid={running.process.pid} returncode=-9>"
