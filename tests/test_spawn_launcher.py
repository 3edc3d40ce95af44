"""hyrun-init: sealed, found again, and the only program that changes credentials."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyrun import _core
from support.leaks import LAUNCHER
from support.rootfs import Box, in_process, wait

F_GET_SEALS = 1034
SEALS = 1 | 2 | 4 | 8  # seal, shrink, grow, write
HELPER = """
import sys
from pathlib import Path
from support.rootfs import Box
box = Box(Path(sys.argv[1]), Path(sys.argv[2]))
assert box.run("true", uid=1000, gid=1000, groups=[5]).returncode == 0
assert box.run("true").returncode == 0
assert box.refused("nope", uid=1000).exit_code == 127
"""


@pytest.fixture
def programs() -> Iterator[None]:
    """The programs of the host that a hostile image would like to write to."""
    paths = [Path(sys.executable).resolve(), Path(_core.__file__)]
    before = [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    yield
    assert [hashlib.sha256(path.read_bytes()).digest() for path in paths] == before


def launcher() -> int:
    """The descriptor that this process keeps."""
    _, found = max((os.readlink(f"/proc/self/fd/{name}") == LAUNCHER, int(name)) for name in fds())
    assert os.readlink(f"/proc/self/fd/{found}") == LAUNCHER
    return found


def fds() -> list[str]:
    return [name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")]


def test_the_launcher_is_sealed(box: Box) -> None:
    assert box.run("true").returncode == 0
    found = launcher()
    assert fcntl.fcntl(found, F_GET_SEALS) == SEALS
    assert not os.get_inheritable(found)
    again = os.open(f"/proc/self/fd/{found}", os.O_RDWR)
    try:
        for write in (
            lambda: os.write(again, b"x"),
            lambda: os.ftruncate(again, 0),
            lambda: os.ftruncate(again, 1 << 20),
        ):
            with pytest.raises(PermissionError):
                write()
        with pytest.raises(PermissionError):
            fcntl.fcntl(again, 1033, 0)  # F_ADD_SEALS
    finally:
        os.close(again)


@pytest.mark.parametrize("command", ["/run.sh", "/proc/self/exe", "/link"])
def test_an_image_that_leads_back_to_its_starter_finds_hyrun_init(box: Box, programs: None, command: str) -> None:
    box.layer({"run.sh": "#!/proc/self/exe\n", "link": Path("/proc/self/exe")})
    assert box.run(command) == (125, "", "hyrun-init: started by hyrun only\n")
    # Arguments of one's own choice: it may only ever become what the container may execute anyway.
    ended = box.run(command, "exec", "1", "0", "0", "", "0", "0", "/bin/true")
    assert (ended.returncode, ended.stderr) in [(0, ""), (125, ""), (125, "hyrun-init: started by hyrun only\n")]


def test_the_starter_cannot_be_written_to_from_inside(box: Box, programs: None) -> None:
    script = """
        (echo overwritten > /proc/1/exe) 2>/dev/null && echo written
        readlink /proc/1/exe
        for fd in /proc/[0-9]*/fd/*; do
            case $(readlink $fd) in *hyrun*|*python*|*layer*|*rootfs*) echo $fd;; esac
        done
        echo ready
        read x
    """
    with box.running(script) as running:
        assert running.said == os.readlink(f"/proc/{running.process.pid}/exe") != str(Path(sys.executable).resolve())
        with pytest.raises(OSError, match="Text file busy"):
            os.open(f"/proc/{running.process.pid}/exe", os.O_WRONLY)
        running.tell("x\n")
        assert wait(running.process) == 0


def test_a_caller_that_closed_every_descriptor_can_still_spawn(box: Box) -> None:
    def work() -> None:
        assert box.run("true").returncode == 0
        for _ in range(2):
            os.closerange(3, 1024)
            assert box.run("echo", "again") == (0, "again\n", "")

    in_process(work)


def test_a_number_that_another_file_has_now_is_left_alone(box: Box, tmp_path: Path) -> None:
    def work() -> None:
        assert box.run("true").returncode == 0
        number = launcher()
        mine = os.open(tmp_path / "mine", os.O_RDWR | os.O_CREAT)
        os.dup2(mine, number)
        for _ in range(3):
            assert box.run("echo", "again") == (0, "again\n", "")
        os.write(number, b"still mine")
        assert (tmp_path / "mine").read_text() == "still mine"
        assert fcntl.fcntl(launcher(), F_GET_SEALS) == SEALS

    in_process(work)


def test_a_caller_without_descriptors_left_is_told(box: Box) -> None:
    def work() -> None:
        import resource

        spec = box.spec("true")
        assert _core.spawn(spec).wait() == 0
        most = max(int(name) for name in fds()) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        with pytest.raises(OSError, match="Too many open files") as caught:
            _core.spawn(spec)
        assert caught.value.errno == errno.EMFILE

    in_process(work)


def test_credentials_change_only_after_the_hop_and_no_signal_comes_before_it(box: Box, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "strace"
    calls = "execve,execveat,clone,rt_sigprocmask,/set.*[ug]id,setgroups,capset,prctl"
    helper = [sys.executable, "-c", HELPER, str(box.rootfs), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run(["strace", "-f", "-qq", "-o", log, "-e", f"trace={calls}", *helper], check=True, env=environment)
    hopped: set[str] = set()
    masks: dict[str, str] = {}
    changed: dict[str, set[str]] = {}
    for line in log.read_text().splitlines():
        pid, call = line.split(maxsplit=1)
        if call.startswith("rt_sigprocmask(SIG_SETMASK, "):
            masks[pid] = call.split(", ")[1]
        elif call.startswith("clone(") and "CLONE_NEWPID" in call:
            assert masks[pid] == "~[]", f"a handler could run in the child: {line}"
        elif call.endswith(" = 0") and ("execveat(" in call or "execveat resumed" in call):
            hopped.add(pid)
        elif found := re.match(
            r"(set\w+|capset|prctl\(PR_(?:SET_DUMPABLE|CAPBSET_DROP|CAP_AMBIENT|SET_NO_NEW_PRIVS))", call
        ):
            assert pid in hopped, f"before the hop: {line}"
            changed.setdefault(pid, set()).add(found[1])
    assert len(hopped) == 4
    for names in changed.values():
        assert names >= {"setgroups", "setresgid", "setresuid", "capset", "prctl(PR_SET_NO_NEW_PRIVS"}
    assert set(changed) == hopped
