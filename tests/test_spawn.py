"""Many spawns: in a row, from threads, after a fork, under a storm of signals; and what is left of them."""

import gc
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hyrun import _core
from hyrun.errors import SpawnError
from support.leaks import Snapshot, left_since
from support.rootfs import PATIENCE, Box, end, helper, in_process, renameat2_exchange, wait

SPAWNS = int(os.environ.get("HYRUN_SPAWNS", "2000"))


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Do ``work`` in a thread and return it when the kernel has no such thread any more."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    while os.path.exists(f"/proc/self/task/{thread.native_id}"):
        pass
    return thread


def read_line(reader: int) -> bytes:
    """One line, or what there is at the end of it."""
    line = b""
    while not line.endswith(b"\n"):
        assert select.select([reader], [], [], PATIENCE)[0], "nobody writes"
        data = os.read(reader, 1)
        if not data:
            break
        line += data
    return line


class Echo:
    """Two pipes and a container that answers what it is told, until its stdin ends."""

    def __init__(self, box: Box, **options: object) -> None:
        self.stdin, self.tell = os.pipe()
        self.hear, self.stdout = os.pipe()
        self.spec = box.spec("cat", stdin=self.stdin, stdout=self.stdout, **options)

    def started(self) -> None:
        """The container has its ends now."""
        os.close(self.stdin)
        os.close(self.stdout)

    def answers(self) -> bool:
        """Whether it lives: dead ones say nothing."""
        try:
            os.write(self.tell, b"hello\n")
        except BrokenPipeError:
            return False
        return read_line(self.hear) == b"hello\n"

    def close(self) -> None:
        os.close(self.tell)
        os.close(self.hear)


@pytest.mark.timeout(0 if SPAWNS > 10_000 else 300)
def test_spawns_in_a_row_leave_nothing(box: Box) -> None:
    """HYRUN_SPAWNS of them, 2,000 unless set."""
    spec, failing = box.spec("true"), box.spec("nope")

    def one() -> None:
        assert _core.spawn(spec).wait() == 0

    def memory() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(200):
        one()
    before, size = Snapshot.take(), memory()
    for number in range(SPAWNS):
        one()
        if number % 10 == 0:
            with pytest.raises(SpawnError):
                _core.spawn(failing)
    assert left_since(before) == []
    grown = memory() - size
    print(f"{SPAWNS} spawns, {-(-SPAWNS // 10)} of them followed by a failing one: {grown / 1024:.0f} KiB more memory")
    assert grown < 4 << 20


def test_eight_threads_spawn_at_once(box: Box) -> None:
    """800 spawns in all."""
    boxes = [Box(box.rootfs, box.top / f"thread{number}") for number in range(8)]
    found: list[int | None] = []

    def work(own: Box) -> None:
        spec = own.spec("sh", "-c", "exit 7")
        for _ in range(100):
            found.append(_core.spawn(spec).wait())

    threads = [threading.Thread(target=work, args=(own,)) for own in boxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [7] * 800


def test_a_container_outlives_the_thread_that_started_it(box: Box) -> None:
    echo = Echo(box, die_with_parent=True)
    started: list[_core.Process] = []
    in_thread(lambda: started.append(_core.spawn(echo.spec)))
    echo.started()
    try:
        assert echo.answers()
        assert started[0].wait(0) is None
    finally:
        echo.close()
    assert wait(started[0]) == 0


def parent_that_is_killed(box: Box, from_thread: bool, die_with_parent: bool) -> Echo:
    echo = Echo(box, die_with_parent=die_with_parent)
    ready, say = os.pipe()

    def parent() -> None:
        def spawn() -> None:
            kept.append(_core.spawn(echo.spec))

        kept: list[_core.Process] = []
        if from_thread:
            in_thread(spawn)
        else:
            spawn()
        os.write(say, b"ready\n")
        signal.pause()

    pid = helper(parent)
    echo.started()
    os.close(say)
    assert read_line(ready) == b"ready\n"
    os.close(ready)
    assert echo.answers()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return echo


@pytest.mark.parametrize("from_thread", [False, True])
def test_a_container_dies_with_its_parent(box: Box, from_thread: bool) -> None:
    echo = parent_that_is_killed(box, from_thread, die_with_parent=True)
    try:
        assert read_line(echo.hear) == b""
    finally:
        echo.close()


@pytest.mark.parametrize("from_thread", [False, True])
def test_a_container_may_outlive_its_parent(box: Box, from_thread: bool) -> None:
    echo = parent_that_is_killed(box, from_thread, die_with_parent=False)
    try:
        assert echo.answers()
    finally:
        echo.close()


def test_a_forked_process_spawns_on_its_own(box: Box) -> None:
    spec = box.spec("true")

    def spawn() -> None:
        statuses.append(wait(_core.spawn(spec)))

    def child() -> None:
        statuses.clear()
        spawn()
        in_thread(spawn)
        in_process(spawn)
        assert statuses == [0, 0]

    statuses: list[int] = []
    in_thread(spawn)
    spawn()
    in_process(child)
    in_thread(lambda: in_process(child))
    in_thread(spawn)
    assert statuses == [0, 0, 0]


def test_spawns_work_while_signals_arrive_and_another_thread_allocates(box: Box) -> None:
    """300 spawns, a signal each millisecond."""

    def work() -> None:
        arrived = 0
        stop = threading.Event()

        def handler(*_: object) -> None:
            nonlocal arrived
            arrived += 1

        def allocate() -> None:
            while not stop.is_set():
                assert sum(len(bytearray(size)) for size in range(1, 5000, 50)) == 245_050

        signal.signal(signal.SIGALRM, handler)
        thread = threading.Thread(target=allocate)
        thread.start()
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            spec = box.spec("sh", "-c", "exit 3")
            assert [_core.spawn(spec).wait() for _ in range(300)] == [3] * 300
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            stop.set()
            thread.join()
        assert arrived > 0

    in_process(work)


def test_a_directory_swapped_for_a_symlink_leads_nowhere_outside(box: Box, tmp_path: Path) -> None:
    """400 spawns with volumes nested in a volume whose directory is swapped all the time."""
    canary, shared, inner = (tmp_path / name for name in ("canary", "shared", "inner"))
    for directory in (canary, shared, inner, shared / "dir"):
        directory.mkdir()
    (inner / "mark").touch()
    (shared / "link").symlink_to(canary)
    before = canary.stat().st_mtime_ns
    mounts = [
        _core.Bind(source=str(shared), target="/v"),
        _core.Bind(source=str(inner), target="/v/dir/deep/inner"),
        _core.Tmpfs(target="/v/dir/tmpfs"),
    ]
    spec = box.spec("true", mounts=mounts, files=[_core.File(target="/v/dir/file", content=b"x")], cwd="/v/dir/cwd")

    def swap() -> None:
        while True:
            renameat2_exchange(shared / "dir", shared / "link")

    racer = helper(swap)
    table = Snapshot.take().mounts
    started, failed = 0, set()
    try:
        for _ in range(400):
            try:
                started += _core.spawn(spec).wait() == 0
            except SpawnError as error:
                failed.add(error.step)
            assert os.listdir(canary) == []
    finally:
        os.kill(racer, signal.SIGKILL)
        os.waitpid(racer, 0)
    assert Snapshot.take().mounts == table
    assert canary.stat().st_mtime_ns == before
    assert os.listdir(inner) == ["mark"]
    assert failed <= {"bind", "mount", "file", "cwd"}
    assert started, "every spawn failed: nothing was tested"


def test_the_handle_of_a_running_container_can_be_dropped(box: Box) -> None:
    echo = Echo(box)
    process = _core.spawn(echo.spec)
    echo.started()
    pid, pidfd = process.pid, os.dup(process.pidfd)
    del process
    assert echo.answers()
    echo.close()
    assert select.select([pidfd], [], [], PATIENCE)[0]
    assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_pid == pid
    os.close(pidfd)


def test_the_interpreter_that_spawns_need_not_import_anything_else(box: Box) -> None:
    before = set(sys.modules)
    process = _core.spawn(box.spec("true"))
    assert wait(process) == 0
    end(process)
    assert set(sys.modules) == before
