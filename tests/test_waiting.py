"""`waiting.wait`: the exit status, whoever owns the container and whatever is left of it."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hyrun import container_directory, container_list, container_state, pidfds, stopping, waiting
from hyrun.errors import NotFound
from hyrun.store import Store
from support.handmade import ONE, PATIENCE, keep, make, monitored, settle, shell, until

#: A foreground owner of a container with --rm: it removes it without a word about how it ended.
_OWNER = """
import os, subprocess, sys
from hyrun import container_directory, container_state
from hyrun.store import Store
store = Store()
process = subprocess.Popen(sys.argv[2:])
container_state.write_state(store, os.path.basename(sys.argv[1]), process.pid, 5)
process.wait()
container_directory.discard(store, os.path.basename(sys.argv[1]), "one", [])
"""


class Waiter(threading.Thread):
    """Waits for a container in a thread of its own."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.record = settle(store)
        self.result: int | Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = waiting.wait(self.store, self.record)
        except NotFound as error:
            self.result = error

    def done(self) -> int | Exception | None:
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.result


def test_ended_and_never_started_ones_are_not_waited_for(store: Store) -> None:
    directory = keep(store)
    assert waiting.wait(store, settle(store)) == 0
    container_state.write_exit(str(directory), -15, 5)
    assert waiting.wait(store, settle(store)) == 143


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("true", 0)])
def test_status_of_a_running_one(store: Store, script: str, code: int) -> None:
    directory = keep(store)
    gate = Path(store.run, "gate")
    os.mkfifo(gate)
    with monitored(store, directory, *shell(f"read line < {gate}; {script}")):
        waiter = Waiter(store)
        gate.write_text("go\n")
        assert waiter.done() == code


def test_several_wait_for_one(store: Store) -> None:
    directory = keep(store)
    with monitored(store, directory, "sleep", "600"):
        waiters = [Waiter(store) for _ in range(3)]
        stopping.kill(store, settle(store), signal.SIGKILL)
        assert [waiter.done() for waiter in waiters] == [137] * 3


def test_one_that_is_started_again_has_not_ended(store: Store) -> None:
    directory = keep(store, RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 0})
    script = f"echo x >> {directory}/rounds; test $(wc -l < {directory}/rounds) -ge 3 && exit 0; sleep 0.1; exit 4"
    with monitored(store, directory, *shell(script), policy="on-failure", delay=0.05):
        assert Waiter(store).done() == 0
    assert settle(store).restart_count == 2


def test_one_that_waits_to_be_started_again_is_waited_for(store: Store) -> None:
    directory = keep(store, RestartPolicy={"Name": "always", "MaximumRetryCount": 0})
    with monitored(store, directory, *shell("sleep 0.1; exit 4"), policy="always"):
        until(lambda: settle(store).status == "restarting", "it waits to be started again")
        waiter = Waiter(store)
        waiter.join(0.3)
        assert waiter.is_alive()
        assert stopping.stop(store, [settle(store)]) == [None]
        assert waiter.done() == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143)])
def test_status_of_a_foreground_one_that_is_removed_at_its_end(store: Store, number: int, code: int) -> None:
    directory = make(store, AutoRemove=True)
    lock = container_directory.try_lock(str(directory))
    assert lock is not None
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(directory), "sleep", "600"], pass_fds=[lock])
    os.close(lock)
    until(lambda: settle(store).pid != 0, "it runs")
    waiter = Waiter(store)
    waiter.join(0.2)
    stopping.send(store, settle(store), number)
    assert waiter.done() == code
    assert owner.wait(PATIENCE) == 0
    assert container_list.settle(store, ONE) is None


def test_status_is_unknown_when_the_owner_was_killed_first(store: Store) -> None:
    directory = keep(store)
    with monitored(store, directory, "sleep", "600") as monitor:
        waiter = Waiter(store)
        waiter.join(0.2)
        monitor.kill()
        # The kernel has told, or nobody knows.
        assert waiter.done() in (137, 255)


def test_exit_status_is_told_by_the_kernel_once_it_was_waited_for() -> None:
    process = subprocess.Popen(["sh", "-c", "read line; exit 5"], stdin=subprocess.PIPE)
    descriptor = os.pidfd_open(process.pid)
    try:
        assert pidfds.exit_status(descriptor) is None
        process.communicate(b"go\n")
        major, minor = (int(part) for part in os.uname().release.split(".")[:2])
        assert pidfds.exit_status(descriptor) == (5 if (major, minor) >= (6, 15) else None)
    finally:
        os.close(descriptor)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_it_does_not_look_again_and_again(store: Store, tmp_path: Path) -> None:
    directory = keep(store)
    code = "import sys; from hyrun import waiting, container_list; from hyrun.store import Store\n"
    code += f"store = Store(); print(waiting.wait(store, container_list.settle(store, '{ONE}')))"
    with monitored(store, directory, *shell("sleep 1.5; exit 6")):
        trace = tmp_path / "trace"
        command = ["strace", "-f", "-o", str(trace), sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        assert done.stdout == "6\n"
        calls = trace.read_text().splitlines()
        # Two to see that it runs, one to wait; then the lock.
        assert len([line for line in calls if " poll(" in line or " ppoll(" in line]) == 3
        assert not [line for line in calls if "nanosleep(" in line or "select(" in line]
