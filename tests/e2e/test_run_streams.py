"""`hyrun run`: stdin, stdout and stderr, whatever they are."""

import errno
import os
import pty
import subprocess

import pytest

from e2e.command import COMMAND, PATIENCE, Hyrun, until


def test_interactive_passes_stdin_on_and_its_end(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "-i", "busybox", "cat", input="x") == "x"


def test_without_interactive_stdin_is_empty(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "busybox", "cat", input="x") == ""


def test_end_of_stdin_does_not_end_the_output(hyrun: Hyrun) -> None:
    assert hyrun.sh("cat; echo after", "-i", input="before\n") == "before\nafter"


def test_stdin_can_be_a_file(hyrun: Hyrun) -> None:
    (hyrun.cwd / "file").write_text("content")
    with (hyrun.cwd / "file").open() as file:
        assert hyrun.out("run", "--rm", "-i", "busybox", "cat", stdin=file) == "content"


def test_stdout_can_be_a_file(hyrun: Hyrun) -> None:
    with (hyrun.cwd / "file").open("w") as file:
        process = hyrun.start("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2", stdout=file, stderr=file)
        assert process.wait(PATIENCE) == 0
    assert (hyrun.cwd / "file").read_text() == "out\nerr\n"


def test_large_output_is_complete(hyrun: Hyrun) -> None:
    result = hyrun.sh("seq 200000; seq 200000 >&2", stdin=subprocess.DEVNULL)
    assert len(result.splitlines()) == 200_000


def test_large_input_is_complete(hyrun: Hyrun) -> None:
    assert hyrun.sh("wc -c", "-i", input="x" * 5_000_000).strip() == "5000000"


def test_input_nobody_reads_does_not_matter(hyrun: Hyrun) -> None:
    assert hyrun.sh("echo done", "-i", input="x" * 1_000_000) == "done"


def test_output_arrives_while_the_container_runs(hyrun: Hyrun) -> None:
    process = hyrun.ready("run", "--rm", "-i", "busybox", "sh", "-c", "echo ready; cat", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("ping\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ping\n"
    process.stdin.close()
    assert process.wait(PATIENCE) == 0


def _shell(hyrun: Hyrun, redirections: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = f'exec "$@" {redirections}'
    return subprocess.run(
        ["sh", "-c", line, "sh", *COMMAND, *arguments],
        capture_output=True,
        text=True,
        cwd=hyrun.cwd,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("redirections", ["<&-", "2>&-", "<&- 2>&-"])
@pytest.mark.parametrize("interactive", [(), ("-i",)])
def test_closed_stdin_and_stderr_do_not_matter(hyrun: Hyrun, redirections: str, interactive: tuple[str]) -> None:
    result = _shell(hyrun, redirections, "run", "--rm", *interactive, "busybox", "sh", "-c", "cat; echo x; echo y >&2")
    assert (result.returncode, result.stdout) == (0, "x\n")
    assert result.stderr == ("" if "2>" in redirections else "y\n")


@pytest.mark.parametrize("redirections", [">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_stdout_does_not_matter(hyrun: Hyrun, redirections: str) -> None:
    result = _shell(hyrun, redirections, "run", "--rm", "busybox", "sh", "-c", "echo lost; exit 7")
    assert (result.returncode, result.stdout) == (7, "")


def test_closed_streams_of_a_failing_run_give_its_exit_status(hyrun: Hyrun) -> None:
    assert _shell(hyrun, "<&- >&- 2>&-", "run", "--rm", "busybox", "nosuch").returncode == 127


@pytest.mark.parametrize("redirections", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_files_of_the_store_inside(hyrun: Hyrun, redirections: str) -> None:
    script = "for fd in 0 1 2; do readlink /proc/self/fd/$fd >> /out/links; done"
    result = _shell(hyrun, redirections, "run", "--rm", "-v", "./out:/out", "busybox", "sh", "-c", script)
    assert result.returncode == 0
    assert str(hyrun.root) not in (hyrun.cwd / "out/links").read_text()


def _read_all(master: int) -> bytes:
    chunks = []
    while True:
        try:
            chunk = os.read(master, 1 << 16)
        except OSError as error:
            if error.errno == errno.EIO:  # the last one has closed the terminal
                break
            raise
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks)


def _on_terminal(hyrun: Hyrun, *arguments: str, stdin: bool = False) -> tuple[int, bytes]:
    master, slave = pty.openpty()
    try:
        given = slave if stdin else subprocess.DEVNULL
        process = hyrun.start(*arguments, stdin=given, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        output = _read_all(master)
        return process.wait(PATIENCE), output
    finally:
        os.close(master)


def test_container_on_a_terminal_sees_none(hyrun: Hyrun) -> None:
    script = "for fd in 0 1 2; do test -t $fd && echo $fd is a terminal; done; echo end"
    status, output = _on_terminal(hyrun, "run", "--rm", "-i", "busybox", "sh", "-c", f"{script}", stdin=True)
    assert (status, output) == (0, b"end\r\n")


def test_output_on_a_terminal_is_complete(hyrun: Hyrun) -> None:
    status, output = _on_terminal(hyrun, "run", "--rm", "busybox", "sh", "-c", "seq 20000; echo last >&2; exit 5")
    assert status == 5
    # The two streams are carried apart, so the one may come in the middle of the other's line.
    assert output.replace(b"last\r\n", b"", 1) == b"".join(b"%d\r\n" % number for number in range(1, 20_001))
    assert b"last\r\n" in output


def test_terminal_input_reaches_an_interactive_container(hyrun: Hyrun) -> None:
    master, slave = pty.openpty()
    process = hyrun.start("run", "--rm", "-i", "busybox", "head", "-n", "1", stdin=slave)
    os.close(slave)
    try:
        os.write(master, b"typed\n")
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        os.close(master)
    assert (process.returncode, out) == (0, "typed\n")


def test_reader_that_goes_away_ends_the_writer(hyrun: Hyrun) -> None:
    reader, writer = os.pipe()
    process = hyrun.start("run", "--rm", "busybox", "sh", "-c", "while echo y; do :; done; exit 9", stdout=writer)
    os.close(writer)
    assert os.read(reader, 2) == b"y\n"
    os.close(reader)
    # Pid 1 has no handler for SIGPIPE, so the kernel gives it none: its write fails.
    process.communicate(timeout=PATIENCE)
    assert process.returncode in (9, 141)
    assert hyrun.left("containers") == set()


def test_full_device_as_stdout_does_not_stop_the_container(hyrun: Hyrun) -> None:
    with open("/dev/full", "w") as full:
        process = hyrun.start("run", "--rm", "busybox", "sh", "-c", "echo x; echo $? >&2", stdout=full)
        _, errors = process.communicate(timeout=PATIENCE)
    assert errors.endswith("0\n")


def test_closed_terminal_does_not_leave_the_container_running(hyrun: Hyrun) -> None:
    master, slave = pty.openpty()
    process = hyrun.start(
        "run", "--rm", "--name", "orphan", "busybox", "sleep", "600", stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    until(lambda: hyrun.left("names") == {"orphan"} and any(hyrun.run.iterdir()), "the container runs")
    process.send_signal(1)
    os.close(master)
    process.send_signal(9)
    process.wait(PATIENCE)
    assert hyrun.lines("ps", "-aq") == []
