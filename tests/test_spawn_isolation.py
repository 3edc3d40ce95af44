"""What a container shares with its host: what was asked for, and nothing else."""

import os
import platform
import signal
import struct
from pathlib import Path
from typing import Any

import pytest

from hyrun import _core
from hyrun.errors import InvalidArgument
from hyrun.spec import CAPABILITIES
from support.leaks import mounts
from support.rootfs import Box, add_key, in_process, keyctl, prctl

NAMESPACES = ("mnt", "pid", "uts", "ipc", "cgroup", "net")
PR_GET_DUMPABLE = 3
KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_SETPERM = 1, 5


def namespaces_of(pid: int | str) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in (*NAMESPACES, "user")}


def status_of(box: Box, **options: object) -> dict[str, str]:
    """/proc/self/status of a container's only process."""
    ended = box.run("cat", "/proc/self/status", **options)
    assert ended.returncode == 0, ended
    return dict(line.split(":\t", 1) for line in ended.stdout.splitlines() if ":\t" in line)


def test_every_namespace_is_the_containers_own(box: Box) -> None:
    with box.running("echo ready; read x") as running:
        inside, outside = namespaces_of(running.process.pid), namespaces_of("self")
    assert [name for name in NAMESPACES if inside[name] == outside[name]] == []
    assert inside["user"] == outside["user"]


def test_the_hosts_network_is_the_only_thing_shared_with_it(box: Box) -> None:
    with box.running("echo ready; read x", network="host") as running:
        inside, outside = namespaces_of(running.process.pid), namespaces_of("self")
    assert [name for name in NAMESPACES if inside[name] == outside[name]] == ["net"]


def test_the_network_is_lo_and_it_is_up(box: Box) -> None:
    interfaces, flags = box.output("ls /sys/class/net; cat /sys/class/net/lo/flags").split()
    assert interfaces == "lo"
    assert int(flags, 16) & 1


def test_the_application_is_process_1_and_sees_no_other(box: Box) -> None:
    assert box.output("echo $$; echo /proc/[0-9]*") == "1\n/proc/1\n"


def test_the_hostname_is_the_containers_own(box: Box) -> None:
    before = os.uname().nodename
    assert box.output("hostname", hostname="elsewhere") == "elsewhere\n"
    assert os.uname().nodename == before


def test_the_hosts_mount_table_does_not_change_while_a_container_runs(box: Box, tmp_path: Path) -> None:
    before = mounts()
    volume = _core.Bind(source=str(tmp_path), target="/test", propagation="rshared")
    with box.running("echo ready; read x", mounts=[volume]):
        assert mounts() == before


def test_the_mount_table_shows_no_path_of_the_host_but_the_volumes(box: Box, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    volume = _core.Bind(source=str(tmp_path / "data"), target="/data")
    lines = box.output("cat /proc/self/mountinfo", mounts=[volume]).splitlines()
    shown = [line.split()[4] for line in lines if tmp_path.name in line or "rootfs" in line]
    assert shown == ["/data"]
    assert not any("shared:" in line or "master:" in line for line in lines)


def test_only_stdio_is_open_whatever_the_caller_leaks(box: Box, tmp_path: Path) -> None:
    leaked = [os.open(tmp_path, os.O_RDONLY) for _ in range(20)]
    try:
        for descriptor in leaked:
            os.set_inheritable(descriptor, True)
        assert box.output("ls /proc/1/fd; true").split() == ["0", "1", "2"]
    finally:
        for descriptor in leaked:
            os.close(descriptor)


def test_stdio_may_be_crossed_over(box: Box) -> None:
    out, err = os.pipe(), os.pipe()

    def work() -> None:
        os.dup2(out[1], 2)
        os.dup2(err[1], 1)
        process = _core.spawn(box.spec("sh", "-c", "echo out; echo err >&2", stdin=0, stdout=2, stderr=1))
        assert process.wait() == 0

    try:
        in_process(work)
        assert (os.read(out[0], 99), os.read(err[0], 99)) == (b"out\n", b"err\n")
    finally:
        for descriptor in (*out, *err):
            os.close(descriptor)


def test_a_caller_with_closed_stdio_can_still_spawn(box: Box) -> None:
    out = os.pipe()

    def work() -> None:
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        spec = box.spec("sh", "-c", "echo out; ls /proc/1/fd; true", stdin=out[0], stdout=out[1], stderr=out[1])
        assert _core.spawn(spec).wait() == 0

    try:
        in_process(work)
        assert os.read(out[0], 99) == b"out\n0\n1\n2\n"
    finally:
        for descriptor in out:
            os.close(descriptor)


def test_signals_are_as_after_a_login_whatever_the_caller_does_with_them(box: Box) -> None:
    def work() -> None:
        signals = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGPIPE, signal.SIGRTMIN + 3}
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signals | {signal.SIGCHLD, signal.SIGUSR2, signal.SIGRTMAX})
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        status = status_of(box)
        assert {status[name] for name in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd")} == {"0" * 16}
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN

    in_process(work)


def test_the_application_leads_a_session_without_a_terminal(box: Box) -> None:
    def work() -> None:
        pid, terminal = os.forkpty()
        if pid == 0:
            os._exit(spawn_below_a_terminal())
        output = b""
        try:
            while data := os.read(terminal, 1024):
                output += data
        except OSError:
            pass  # how the end of a terminal looks like
        os.close(terminal)
        assert os.waitpid(pid, 0)[1] == 0, output

    def spawn_below_a_terminal() -> int:
        os.close(os.open("/dev/tty", os.O_RDWR))
        ended = box.sh("cut -d' ' -f5-7 /proc/1/stat; : < /dev/tty")
        return ended.stdout != "1 1 0\n" or "/dev/tty" not in ended.stderr

    in_process(work)


def test_the_umask_is_022_whatever_the_callers_is(box: Box) -> None:
    def work() -> None:
        os.umask(0o077)
        assert box.output("umask; touch /f; stat -c %a /f /dev /dev/null", cwd="/made") == ("0022\n644\n755\n666\n")
        assert box.upper("made").stat().st_mode & 0o777 == 0o755
        assert os.umask(0) == 0o077

    in_process(work)


def test_capabilities_of_root_are_exact(box: Box) -> None:
    status = status_of(box)
    wanted = f"{CAPABILITIES:016x}"
    assert [status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [
        "0" * 16,
        wanted,
        wanted,
        wanted,
        "0" * 16,
    ]


@pytest.mark.parametrize("capabilities", [0, 1, CAPABILITIES, CAPABILITIES | 1 << 21])
def test_capabilities_of_another_user_are_none(box: Box, capabilities: int) -> None:
    status = status_of(box, uid=1000, gid=1000, capabilities=capabilities)
    assert [status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Amb")] == ["0" * 16] * 4
    assert status["CapBnd"] == f"{capabilities:016x}"


def test_user_and_groups_are_exact(box: Box) -> None:
    def work() -> None:
        os.setgroups([7, 8])
        status = status_of(box, uid=1000, gid=50, groups=[5, 1 << 31, 1000])
        assert status["Uid"].split() == ["1000"] * 4
        assert status["Gid"].split() == ["50"] * 4
        assert status["Groups"].split() == ["5", "1000", str(1 << 31)]
        assert status_of(box)["Groups"].split() == []

    in_process(work)


def test_as_many_groups_as_are_allowed(box: Box) -> None:
    groups = list(range(100_000, 101_024))
    assert status_of(box, groups=groups)["Groups"].split() == [str(group) for group in groups]


@pytest.mark.parametrize(("option", "said"), [({}, "1"), ({"no_new_privileges": False}, "0")])
def test_no_new_privileges_is_the_default(box: Box, option: dict[str, bool], said: str) -> None:
    assert status_of(box, **option)["NoNewPrivs"] == said


def test_a_setuid_file_gives_nothing(box: Box) -> None:
    program = box.layer({"geteuid": geteuid_program()}) / "geteuid"
    program.chmod(0o4755)
    assert box.run("/geteuid", uid=100, gid=100, no_new_privileges=False).returncode == 0, "it works at all"
    assert box.run("/geteuid", uid=100, gid=100).returncode == 100


def geteuid_program() -> bytes:
    """A program that exits with its effective user id: no libc needed, and it does not drop what it was given."""
    if platform.machine() == "x86_64":
        machine, code = 62, b"\xb8\x6b\0\0\0\x0f\x05\x89\xc7\xb8\x3c\0\0\0\x0f\x05"
    elif platform.machine() == "aarch64":
        machine, code = 183, struct.pack("<4I", 0xD28015E8, 0xD4000001, 0xD2800BA8, 0xD4000001)
    else:
        pytest.skip("no machine code for this machine")
    base, headers = 0x400000, 64 + 56
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = headers + len(code)
    return ident + header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def test_the_caller_stays_dumpable_and_who_it_was(box: Box) -> None:
    def work() -> None:
        before = Path("/proc/self/status").read_text()
        assert box.run("true", uid=1000, gid=1000, groups=[5]).returncode == 0
        assert box.refused("nope", uid=1000, gid=1000).exit_code == 127
        assert prctl(PR_GET_DUMPABLE) == 1
        after = Path("/proc/self/status").read_text()
        for name in ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "SigBlk", "Umask"):
            assert [line for line in after.splitlines() if line.startswith(name)] == [
                line for line in before.splitlines() if line.startswith(name)
            ]

    in_process(work)


@pytest.mark.parametrize("options", [{"uid": 0xFFFF_FFFF}, {"gid": 0xFFFF_FFFF}, {"groups": [1, 0xFFFF_FFFF]}])
def test_the_id_that_means_unchanged_is_refused(box: Box, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="4294967295 is no user or group"):
        _core.spawn(box.spec("true", **options))


def test_the_callers_keys_are_not_the_containers(box: Box) -> None:
    def work() -> None:
        keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0)
        keyctl(KEYCTL_SETPERM, add_key("hyrun-test-secret"), 0x3F000000)  # all rights, for who possesses it only
        assert "hyrun-test-secret" in Path("/proc/keys").read_text()
        assert "hyrun-test-secret" not in box.output("cat /proc/keys", masked_paths=[])

    in_process(work)
