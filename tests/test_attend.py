"""Being the foreground of a container. Each test is a process of its own: blocked signals stay blocked."""

import os
import signal
from collections.abc import Callable

import pytest

from hyrun import _core
from support.leaks import Snapshot, left_since
from support.processes import status_of
from support.rootfs import PATIENCE, Box, end, helper, in_process

MEBIBYTE = 1 << 20


def foreground(work: Callable[[], object]) -> None:
    """Do ``work`` in a process that has blocked its signals, and that ends with the descriptors it began with."""

    def process() -> None:
        _core.block_signals()
        before = Snapshot.take()
        work()
        assert left_since(before) == []

    in_process(process)


def spawn(box: Box, script: str, stdin: int = -1, stdout: int = -1) -> _core.Process:
    """Start a script; its ends of the pipes are closed here, and what it has none for is /dev/null."""
    null = os.open("/dev/null", os.O_RDWR)
    theirs = [null if descriptor < 0 else descriptor for descriptor in (stdin, stdout)]
    process = _core.spawn(box.spec("sh", "-c", script, stdin=theirs[0], stdout=theirs[1]))
    for descriptor in {null, *theirs}:
        os.close(descriptor)
    return process


def filled(data: bytes = b"") -> int:
    """A file in memory."""
    descriptor = os.memfd_create("data")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@pytest.mark.parametrize("status", [0, 7])
def test_attend_returns_the_exit_status(box: Box, status: int) -> None:
    def work() -> None:
        process = spawn(box, f"exit {status}")
        assert _core.attend(process) == status
        assert process.returncode == status

    foreground(work)


@pytest.mark.parametrize("name", ["USR1", "USR2", "HUP", "TERM", "INT", "QUIT", "WINCH", "CONT", "ALRM", "IO"])
def test_signals_are_forwarded(box: Box, name: str) -> None:
    def work() -> None:
        reader, writer = os.pipe()
        process = spawn(box, f"trap 'exit 7' {name}; echo ready; while :; do sleep 0.01; done", stdout=writer)
        assert os.read(reader, 99) == b"ready\n"
        os.close(reader)
        os.kill(os.getpid(), getattr(signal, f"SIG{name}"))
        assert _core.attend(process) == 7

    foreground(work)


def test_a_signal_that_comes_before_attend_is_not_lost(box: Box) -> None:
    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        reader, writer = os.pipe()
        process = spawn(box, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done", stdout=writer)
        assert os.read(reader, 99) == b"ready\n"
        os.close(reader)
        assert _core.attend(process) == 7

    foreground(work)


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_the_third_interrupt_kills(box: Box, name: str) -> None:
    def work() -> None:
        reader, writer = os.pipe()
        attending = os.getpid()

        def impatient() -> None:
            os.close(writer)
            with open(reader) as lines:
                for _ in lines:
                    os.kill(attending, getattr(signal, f"SIG{name}"))
                    said.append(1)
            assert len(said) == 3, "ready, and two signals that the container saw"

        said: list[int] = []
        person = helper(impatient)
        os.close(reader)
        process = spawn(box, f"trap 'echo got' {name}; echo ready; while :; do sleep 0.01; done", stdout=writer)
        assert _core.attend(process) == -signal.SIGKILL
        assert status_of(person) == 0

    foreground(work)


def test_all_output_is_through_when_attend_returns(box: Box) -> None:
    def work() -> None:
        reader, writer = os.pipe()
        target = filled()
        process = spawn(box, f"head -c {MEBIBYTE} /dev/zero", stdout=writer)
        assert _core.attend(process, outputs=[(reader, os.dup(target))]) == 0
        assert os.fstat(target).st_size == MEBIBYTE
        os.close(target)

    foreground(work)


def test_input_is_carried_and_its_end_as_well(box: Box) -> None:
    def work() -> None:
        (their_input, our_input), (our_output, their_output) = os.pipe(), os.pipe()
        source, target = filled(b"x" * 300_000), filled()
        process = spawn(box, "wc -c", their_input, their_output)
        status = _core.attend(process, input=(source, our_input), outputs=[(our_output, os.dup(target))])
        assert (status, os.pread(target, 99, 0).strip()) == (0, b"300000")
        os.close(target)

    foreground(work)


def test_a_container_that_reads_no_input_ends_all_the_same(box: Box) -> None:
    def work() -> None:
        their_input, our_input = os.pipe()
        never_ending, held = os.pipe()
        os.write(held, b"x" * 65_536)
        process = spawn(box, "exit 3", their_input)
        assert _core.attend(process, input=(never_ending, our_input)) == 3
        os.close(held)

    foreground(work)


def test_a_reader_that_has_gone_does_not_stop_the_container(box: Box) -> None:
    def work() -> None:
        reader, writer = os.pipe()
        gone, target = os.pipe()
        os.close(gone)
        process = spawn(box, f"head -c {MEBIBYTE} /dev/zero; exit 4", stdout=writer)
        assert _core.attend(process, outputs=[(reader, target)]) == 4

    foreground(work)


def test_several_outputs_stay_apart(box: Box) -> None:
    def work() -> None:
        out, err = os.pipe(), os.pipe()
        targets = filled(), filled()
        null = os.open("/dev/null", os.O_RDONLY)
        script = "for n in 1 2 3 4 5 6 7 8 9; do echo out; echo err >&2; done"
        process = _core.spawn(box.spec("sh", "-c", script, stdin=null, stdout=out[1], stderr=err[1]))
        for descriptor in (null, out[1], err[1]):
            os.close(descriptor)
        status = _core.attend(process, outputs=[(out[0], os.dup(targets[0])), (err[0], os.dup(targets[1]))])
        found = [os.pread(target, 999, 0) for target in targets]
        assert (status, found) == (0, [b"out\n" * 9, b"err\n" * 9])
        for target in targets:
            os.close(target)

    foreground(work)


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_attend_returns_none_when_the_time_is_over(box: Box, timeout: float) -> None:
    def work() -> None:
        reader, writer = os.pipe()
        target = filled()
        process = spawn(box, "while :; do sleep 1; done", stdout=writer)
        assert _core.attend(process, timeout=timeout, outputs=[(reader, os.dup(target))]) is None
        assert process.returncode is None
        end(process)
        assert process.returncode == -signal.SIGKILL
        os.close(target)

    foreground(work)


def test_attend_can_be_called_again_after_a_timeout(box: Box) -> None:
    def work() -> None:
        stdin, tell = os.pipe()
        process = spawn(box, "read x; exit 6", stdin)
        assert _core.attend(process, timeout=0) is None
        os.close(tell)
        assert _core.attend(process, timeout=PATIENCE) == 6
        assert _core.attend(process) == 6

    foreground(work)


def test_the_container_gets_none_of_the_blocked_signals_blocked(box: Box) -> None:
    def work() -> None:
        assert "SigBlk:\t0000000000000000\n" in box.run("cat", "/proc/self/status").stdout

    foreground(work)
