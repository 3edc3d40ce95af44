"""/dev, /proc and /sys of a container: what is there, and what is hidden or read-only."""

import os
import stat
from pathlib import Path

import pytest

from hyrun import _core
from hyrun.spec import CAPABILITIES, MASKED_PATHS, READONLY_PATHS
from support.rootfs import Box

CAP_SYS_ADMIN, CAP_MKNOD = 1 << 21, 1 << 27


def test_dev_holds_exactly_these(box: Box) -> None:
    found = box.output("cd /dev; stat -c '%n %F %t:%T %a' * | sort")
    assert found.splitlines() == [
        "console symbolic link 0:0 777",
        "core symbolic link 0:0 777",
        "fd symbolic link 0:0 777",
        "full character special file 1:7 666",
        "mqueue directory 0:0 1777",
        "null character special file 1:3 666",
        "ptmx symbolic link 0:0 777",
        "pts directory 0:0 755",
        "random character special file 1:8 666",
        "shm directory 0:0 1777",
        "stderr symbolic link 0:0 777",
        "stdin symbolic link 0:0 777",
        "stdout symbolic link 0:0 777",
        "tty character special file 5:0 666",
        "urandom character special file 1:9 666",
        "zero character special file 1:5 666",
    ]


def test_the_devices_work(box: Box) -> None:
    script = """
        echo gone > /dev/null; wc -c < /dev/null
        head -c 5 /dev/zero | tr '\\0' z; echo
        head -c 9 /dev/random | wc -c
        head -c 9 /dev/urandom | wc -c
        echo said > /dev/stdout
        echo asked | cat /dev/fd/0
    """
    assert box.output(script).split() == ["0", "zzzzz", "9", "9", "said", "asked"]
    full = box.sh("echo x > /dev/full")
    assert full.returncode != 0
    assert "No space left on device" in full.stderr


def test_mknod_is_refused(box: Box) -> None:
    ended = box.sh("mknod /zero c 1 5")
    assert ended.returncode != 0
    assert "Operation not permitted" in ended.stderr


def test_device_nodes_of_the_image_or_of_ones_own_cannot_be_opened(box: Box) -> None:
    layer = box.layer({})
    os.mknod(layer / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    script = "head -c 1 /zero; mknod /own c 1 5 && head -c 1 /own; mknod /tmp/own c 1 5 && head -c 1 /tmp/own"
    ended = box.sh(script, capabilities=CAPABILITIES | CAP_MKNOD)
    assert ended.stdout == ""
    assert ended.stderr.count("Permission denied") == 3


@pytest.mark.parametrize("nodev", [True, False])
def test_device_nodes_of_a_volume_open_unless_nodev(box: Box, tmp_path: Path, nodev: bool) -> None:
    os.mknod(tmp_path / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    volume = _core.Bind(source=str(tmp_path), target="/v", nodev=nodev)
    ended = box.sh("head -c 3 /v/zero | wc -c", mounts=[volume])
    assert ended.stdout.strip() == ("0" if nodev else "3")


def test_terminals_are_the_containers_own(box: Box) -> None:
    ends = os.openpty()
    try:
        assert box.output("ls /dev/pts") == "ptmx\n"
        assert box.sh(": < /dev/console").returncode != 0
        assert box.output("exec 3<>/dev/ptmx; ls /dev/pts") == "0\nptmx\n"
    finally:
        for descriptor in ends:
            os.close(descriptor)


def test_shared_memory_and_message_queues_can_be_written_and_are_private(box: Box) -> None:
    script = "echo x > /dev/shm/f; touch /dev/mqueue/q; ls /dev/shm /dev/mqueue"
    for _ in range(2):
        assert box.output(script, uid=1000).split() == ["/dev/mqueue:", "q", "/dev/shm:", "f"]
    assert "f" not in os.listdir("/dev/shm")


def test_masked_paths_are_empty(box: Box) -> None:
    there = [path for path in MASKED_PATHS if os.path.exists(path)]
    assert there
    script = 'for path; do if [ -d "$path" ]; then ls -A "$path"; else cat "$path"; fi; done'
    assert box.run("sh", "-c", script, "sh", *there) == (0, "", "")


def test_masks_cover_files_and_directories_of_the_image(box: Box) -> None:
    box.layer({"secret/key": b"key", "secret2/key": b"key", "password": b"password", "link": Path("/password")})
    masked = ["/secret", "/secret2", "/link", "/not/there", "/password/below"]
    assert box.output("ls -A /secret /secret2; cat /password", masked_paths=masked) == "/secret:\n\n/secret2:\n"
    ended = box.sh("echo > /secret/x; echo > /secret2/x", masked_paths=masked)
    assert ended.stderr.count("Read-only file system") == 2


def test_read_only_paths_cannot_be_written(box: Box) -> None:
    there = [path for path in READONLY_PATHS if os.path.exists(path)]
    table = box.output("cat /proc/self/mountinfo", capabilities=CAPABILITIES | CAP_SYS_ADMIN).splitlines()
    options = {line.split()[4]: line.split()[5].split(",") for line in table}
    assert [path for path in there if options[path][0] != "ro"] == []
    for path in ("/proc/sys/kernel/hostname", "/sys/class/net/lo/mtu"):
        ended = box.sh(f"echo 1 > {path}", capabilities=CAPABILITIES | CAP_SYS_ADMIN | 1 << 12)
        assert "Read-only file system" in ended.stderr


def test_read_only_covers_what_is_mounted_below(box: Box) -> None:
    options = {"mounts": [_core.Tmpfs(target="/a/b")], "readonly_paths": ["/a"]}
    ended = box.sh("echo x > /a/f; echo x > /a/b/f", **options)
    assert ended.stderr.count("Read-only file system") == 2


def test_proc_and_sys_are_locked_down(box: Box) -> None:
    table = box.output("cat /proc/self/mountinfo").splitlines()
    options = {line.split()[4]: set(line.split()[5].split(",")) for line in table}
    locked = {"nosuid", "nodev", "noexec"}
    assert options["/"] >= {"rw", "nodev"}
    assert options["/proc"] >= {"rw"} | locked
    assert options["/sys"] >= {"ro"} | locked
    assert options["/dev/shm"] >= {"rw"} | locked
    assert options["/dev/mqueue"] >= {"rw"} | locked
    assert options["/dev"] >= {"rw", "nosuid"}
    assert options["/dev/pts"] >= {"rw", "nosuid", "noexec"}


def test_a_read_only_root_leaves_volumes_and_tmpfs_writable(box: Box, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    mounts = [_core.Bind(source=str(tmp_path / "volume"), target="/v"), _core.Tmpfs(target="/t")]
    options = {"mounts": mounts, "read_only": True, "cwd": "/w"}
    assert box.output("pwd; echo x > /v/f; echo x > /t/f; echo x > /dev/shm/f", **options) == "/w\n"
    assert (tmp_path / "volume" / "f").read_text() == "x\n"
    ended = box.sh("echo x > /f; echo x > /etc/hello; mkdir /d", **options)
    assert ended.stderr.count("Read-only file system") == 3


def test_tmpfs_options_and_attributes(box: Box) -> None:
    mounts = [
        _core.Tmpfs(target="/a", options=["size=64k", "mode=0711", "uid=7"]),
        _core.Tmpfs(target="/b", read_only=True, nosuid=False, nodev=False, noexec=False),
    ]
    assert box.output("stat -c '%a %u' /a", mounts=mounts) == "711 7\n"
    assert box.sh("head -c 99999 /dev/zero > /a/f; stat -c %s /a/f", mounts=mounts).stdout == "65536\n"
    table = box.output("cat /proc/self/mountinfo", mounts=mounts).splitlines()
    options = {line.split()[4]: line.split()[5] for line in table}
    assert options["/a"] == "rw,nosuid,nodev,noexec,relatime"
    assert options["/b"] == "ro,relatime"
