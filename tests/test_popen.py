"""`hyrun.Popen`: a container as a child process, in the shape of subprocess.Popen."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import hyrun
from hyrun.store import Store
from support.api import loaded, place

__all__ = ["loaded", "place"]


def popen(script: str, **options: Any) -> hyrun.Popen:
    return hyrun.Popen("busybox", ["sh", "-c", script], **options)


def test_it_goes_on_while_the_caller_does_something_else(place: Store) -> None:
    with popen("read x; exit 4", stdin=hyrun.PIPE, name="child") as child:
        assert child.poll() is None
        assert (child.name, child.pid > 1, len(child.id)) == ("child", True, 64)
        assert os.listdir(place.path("containers")) == [child.id]
        assert child.stdin is not None
        child.stdin.write(b"\n")
        assert child.wait(20) == 4
        assert child.poll() == child.returncode == 4
    assert os.listdir(place.path("containers")) == []


def test_what_overlayfs_leaves_for_the_end_is_removed_while_it_runs(place: Store) -> None:
    with popen("read x", stdin=hyrun.PIPE) as child:
        work = Path(place.path("containers", child.id, "work/work"))
        assert list(work.iterdir()) == []
        child.communicate(b"", 20)


def test_communicate(place: Store) -> None:
    with popen("cat; echo err >&2", stdin=hyrun.PIPE, stdout=hyrun.PIPE, stderr=hyrun.PIPE, text=True) as child:
        assert child.communicate("in\n", 20) == ("in\n", "err\n")
    with popen("head -c 3000000 /dev/zero", stdout=hyrun.PIPE, stderr=hyrun.STDOUT) as child:
        out, err = child.communicate()
        assert (len(out), err) == (3_000_000, None)
    # It has stopped reading before all was written.
    with popen("exit 0", stdin=hyrun.PIPE) as child:
        child.communicate(b"x" * 1_000_000)
        assert child.returncode == 0


def test_lines_can_be_read_while_it_runs(place: Store) -> None:
    with popen("echo one; read x; echo two", stdin=hyrun.PIPE, stdout=hyrun.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "one\n"
        child.stdin.write("\n")
        child.stdin.close()
        assert child.stdout.readline() == "two\n"


def test_time_is_over(place: Store) -> None:
    with popen("exec sleep 600", stdout=hyrun.PIPE) as child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.05)
        with pytest.raises(hyrun.TimeoutExpired):
            child.communicate(timeout=0.05)
        child.kill()
        assert child.wait(20) == -signal.SIGKILL


def test_signals(place: Store) -> None:
    script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    with popen(script, stdout=hyrun.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.terminate()
        assert child.wait(20) == 3
    child.kill()


def test_files_of_the_caller(place: Store, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from a file\n")
    with (tmp_path / "in").open() as source, (tmp_path / "out").open("w") as target:
        child = popen("cat", stdin=source, stdout=target)
        assert child.wait(20) == 0
    assert (tmp_path / "out").read_text() == "from a file\n"


def test_an_exception_in_the_block_does_not_leave_it_running(place: Store) -> None:
    with pytest.raises(KeyError), popen("cat", stdin=hyrun.PIPE) as child:
        raise KeyError
    assert child.returncode == 0


def test_what_cannot_start_leaves_nothing(place: Store) -> None:
    with pytest.raises(hyrun.SpawnError, match="not found"):
        hyrun.Popen("busybox", ["nosuch"], stdout=hyrun.PIPE)
    with pytest.raises(hyrun.InvalidArgument, match="list of strings"):
        hyrun.Popen("busybox", "true")


def test_one_that_is_kept_can_be_looked_at(place: Store) -> None:
    from hyrun import container_list

    with popen("exit 2", remove=False, name="kept") as child:
        pass
    record = container_list.find(place, "kept")
    assert (record.id, record.exit_code) == (child.id, 2)
    container_list.remove(place, record)
