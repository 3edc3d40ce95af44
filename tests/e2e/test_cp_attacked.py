"""`cp` while the container moves things: the host's are neither read nor written, the image's never run."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.command import COMMAND, Hyrun
from hyrun import cp
from hyrun.errors import HyrunError
from hyrun.store import Store
from support.rootfs import helper, renameat2_exchange

#: Copies in each direction.
COPIES = 300
SECRET = "the host's own"


@pytest.fixture
def canary(hyrun: Hyrun) -> Iterator[Path]:
    """A directory of the host that a container knows the path of; it is as it was afterwards."""
    directory = hyrun.cwd / "canary"
    (directory / "sub").mkdir(parents=True)
    for path in (directory / "file", directory / "sub/file"):
        path.write_text(SECRET)

    def state() -> list[tuple[str, str, int, int]]:
        found = []
        for path in (directory, *sorted(directory.rglob("*"))):
            status = path.lstat()
            text = path.read_text() if path.is_file() else ""
            found.append((str(path), text, status.st_mode, status.st_mtime_ns if not path.is_dir() else 0))
        return found

    before = state()
    yield directory
    assert state() == before


def attempts(work: Callable[[int], object]) -> int:
    """Do it again and again; return how often it succeeded."""
    good = 0
    for number in range(COPIES):
        try:
            work(number)
            good += 1
        except HyrunError:
            continue
    return good


def copy_both_ways(hyrun: Hyrun, place: str) -> None:
    """Copy through names that change between a directory, a symlink to the canary, and nothing."""
    store = Store()
    source = hyrun.cwd / "source"
    (source / "sub").mkdir(parents=True)
    for path in (source / "file", source / "sub/file", source / "new"):
        path.write_text("from outside")
    out = hyrun.cwd / "out"

    def inward(number: int) -> None:
        # Into it, over it, and a name in it.
        target = (place, f"{place}/sub", f"{place}/file")[number % 3]
        cp.copy(
            store, str(source / "file") if number % 3 == 2 else f"{source}/.", f"box:{target}", archive=number % 2 == 0
        )

    def outward(number: int) -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        name = (place, place, f"{place}/sub", f"{place}/file")[number % 4]
        cp.copy(store, f"box:{name}", str(out), follow=number % 2 == 0)
        for path in out.rglob("*"):
            if not path.is_symlink() and path.is_file():
                assert SECRET not in path.read_text(), path

    for work in (inward, outward):
        # With all of them refused, nothing would have been tried.
        assert attempts(work) > COPIES // 20


def test_a_container_that_swaps_a_directory_and_a_symlink(hyrun: Hyrun, canary: Path) -> None:
    script = f"""
        mkdir -p /w/d/sub; echo inside > /w/d/file; echo inside > /w/d/sub/file; ln -s {canary} /w/l; cd /w; echo ready
        while :; do
            mv d e; mv l d; mv d l; mv e d
            mv d/sub d/bus; ln -s {canary} d/sub; rm -f d/sub; mv d/bus d/sub
        done
    """
    hyrun.ready("run", "--name", "box", "busybox", "sh", "-c", script)
    copy_both_ways(hyrun, "/w/d")


def test_a_volume_that_somebody_swaps_as_fast_as_can_be(hyrun: Hyrun, canary: Path) -> None:
    volume = hyrun.cwd / "volume"
    (volume / "d/sub").mkdir(parents=True)
    for path in (volume / "d/file", volume / "d/sub/file"):
        path.write_text("inside")
    # So many that there is time between the look at a directory and the step into it.
    for number in range(40):
        (volume / f"d/{number}").write_text("")
    (volume / "l").symlink_to(canary)
    (volume / "d/l").symlink_to(canary / "sub")
    hyrun.sleeper("--name", "box", "-v", f"{volume}:/v")

    def swap() -> None:
        while True:
            for one, other in ((volume / "d", volume / "l"), (volume / "d/sub", volume / "d/l")):
                try:
                    renameat2_exchange(one, other)
                    renameat2_exchange(one, other)
                except OSError:
                    continue  # the copy has just replaced one of them

    pid = helper(swap)
    try:
        copy_both_ways(hyrun, "/v/d")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_symlinks_of_a_container_lead_to_places_in_it(hyrun: Hyrun, canary: Path) -> None:
    script = (
        f"mkdir -p /w; ln -s {canary} /w/abs; ln -s ../../../../../../../../{canary} /w/rel; ln -s {canary}/new /w/new"
    )
    hyrun("run", "--name", "box", "busybox", "sh", "-c", script)
    (hyrun.cwd / "file").write_text("outside")
    for name in ("abs", "rel"):
        assert "no such file" in hyrun.refused("cp", "-L", f"box:/w/{name}", ".", code=1)
        assert "no such" in hyrun.refused("cp", "file", f"box:/w/{name}/file", code=1)
    assert "no such directory" in hyrun.refused("cp", "file", "box:/w/new", code=1)


@pytest.mark.parametrize("path", ["/proc/1/environ", "/w/link", "/w/root/etc/hostname", "/sys/kernel/mm"])
def test_kernel_interfaces_are_neither_read_nor_written(hyrun: Hyrun, path: str) -> None:
    script = "mkdir /w; ln -s /proc/1/oom_score_adj /w/link; ln -s /proc/1/root /w/root; echo ready; exec sleep 600"
    hyrun.ready("run", "--name", "box", "busybox", "sh", "-c", script)
    (hyrun.cwd / "file").write_text("-1000")
    pid = hyrun.record("box")["State"]["Pid"]
    hyrun.refused("cp", "-L", f"box:{path}", "out", code=1)
    hyrun.refused("cp", "file", f"box:{path}", code=1)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "0\n"
    assert not (hyrun.cwd / "out").exists()


def test_a_whole_running_container_without_what_the_kernel_shows_there(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "box")
    hyrun("cp", "box:/", "out")
    for name in ("proc", "sys", "dev/pts"):
        assert list((hyrun.cwd / "out" / name).iterdir()) == []
    assert (hyrun.cwd / "out/bin/busybox").exists()


def test_a_copy_is_not_copied_into_itself(hyrun: Hyrun) -> None:
    (hyrun.cwd / "v/sub").mkdir(parents=True)
    (hyrun.cwd / "v/sub/file").write_text("")
    hyrun("run", "--name", "box", "-v", "./v:/v", "busybox", "true")
    assert "leads into itself" in hyrun.refused("cp", "box:/v", "v/sub", code=1)
    assert "leads into itself" in hyrun.refused("cp", "v", "box:/v/new", code=1)


def test_deep_trees_need_few_descriptors(hyrun: Hyrun) -> None:
    script = "d=/w; i=0; while [ $i -lt 400 ]; do d=$d/n; i=$((i+1)); done; mkdir -p $d; echo deep > $d/f"
    hyrun("run", "--name", "box", "busybox", "sh", "-c", script)
    command = f"ulimit -n 100; exec {' '.join(COMMAND)} cp box:/w out"
    subprocess.run(["sh", "-c", command], cwd=hyrun.cwd, check=True, timeout=60)
    assert (hyrun.cwd / "out" / ("n/" * 400) / "f").read_text() == "deep\n"


def test_nothing_of_the_image_is_executed_or_loaded(hyrun: Hyrun, tmp_path: Path) -> None:
    script = "mkdir -p /lib; touch /lib/libnss_files.so.2; for n in tar xz gzip; do echo '#!/bin/sh' > /bin/$n; done"
    hyrun("run", "--name", "box", "busybox", "sh", "-c", script)
    trace = tmp_path / "trace"
    strace = ("strace", "-f", "-qq", "-o", str(trace), "-e", "trace=execve,execveat,chroot,setns,fork,vfork", *COMMAND)
    hyrun("cp", "box:/bin", "out", command=strace)
    hyrun("cp", "out", "box:/new", command=strace)
    calls = [line for line in trace.read_text().splitlines() if "+++" not in line and "---" not in line]
    assert len(calls) == 1, calls  # Python itself
