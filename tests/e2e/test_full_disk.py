"""A disk without a free block: what is there can be read, and above all removed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.command import COMMAND, Template
from e2e.disk import Disk

_FILL = (
    "import os, sys\n"
    "fd = os.open(sys.argv[1] + '/filler', os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
    "for size in (1 << 20, 4096, 512, 1):\n"
    "    try:\n"
    "        while True:\n"
    "            os.write(fd, b'x' * size)\n"
    "    except OSError:\n"
    "        pass\n"
    "try:\n"
    "    for number in range(100000):\n"
    "        os.mkdir(f'{sys.argv[1]}/filler{number}')\n"
    "except OSError:\n"
    "    pass\n"
)


@pytest.fixture(params=["ext4", "tmpfs"])
def full(request: pytest.FixtureRequest, template: Template, tmp_path: Path) -> Iterator[Disk]:
    """A disk with three images, a container and a volume, and then full to the last block and inode."""
    with Disk(tmp_path, request.param, 24) as disk:
        if request.param == "tmpfs":
            disk.run("mount", "-o", "remount,size=24m,nr_inodes=2000", disk.mountpoint, check=True)
        for archive in (template.archive, template.layout, template.archive.parent / "entry.tar"):
            disk.hyrun("load", "-q", "-i", archive)
        disk.hyrun("volume", "create", "unused")
        disk.hyrun("run", "--name", "kept", "-v", "/data", "-v", "named:/v", "filled", "sh", "-c", "echo mine > /mine")
        disk.run(COMMAND[0], "-c", _FILL, disk.mountpoint, check=True)
        # Really full: nothing can be loaded, and that is said in one line.
        result = disk.hyrun("load", "-q", "-i", template.layout, code=None)
        assert result.returncode == 0 or "No space left on device" in result.stderr
        assert disk.run("mkdir", disk.mountpoint / "one-more").returncode != 0
        yield disk


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_how_a_container_ended_is_known(kind: str, template: Template, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.mkdir()
    with Disk(tmp_path, kind, 24) as disk:
        disk.hyrun("load", "-q", "-i", template.archive)
        command = "while [ ! -e /go/now ]; do sleep 0.05; done; exit 7"
        disk.hyrun("run", "-d", "--name", "box", "-v", f"{go}:/go", "busybox", "sh", "-c", command)
        disk.run(COMMAND[0], "-c", _FILL, disk.mountpoint, check=True)
        (go / "now").touch()
        assert disk.hyrun("wait", "box").stdout == "7\n"
        assert "Exited (7)" in disk.hyrun("ps", "-a").stdout
        assert disk.hyrun("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "box").stdout == "exited 7\n"
        disk.hyrun("rm", "box")


def test_everything_can_be_removed(full: Disk) -> None:
    full.hyrun("ps", "-a")
    full.hyrun("images")
    full.hyrun("system", "df")
    full.hyrun("system", "check")
    full.hyrun("rmi", "entry")
    full.hyrun("rm", "-v", "kept")
    full.hyrun("volume", "rm", "named", "unused")
    full.hyrun("rmi", "filled", "busybox")
    assert full.hyrun("images", "-q").stdout == ""
    for kind in ("layers", "images", "tags", "containers", "names", "volumes", "tmp", "blobs/sha256"):
        assert full.run("ls", full.mountpoint / "root" / kind, check=True).stdout == "", kind


@pytest.mark.parametrize(
    "command",
    [
        "rmi entry",
        "rm kept",
        "rm -v kept",
        "volume rm unused",
        "volume prune -af",
        "image prune -af",
        "system prune -f",
    ],
)
def test_a_removal_needs_no_room_to_begin_with(full: Disk, command: str) -> None:
    full.hyrun(*command.split())
    assert full.hyrun("system", "check").stdout == ""


def test_system_prune_makes_room(full: Disk, template: Template) -> None:
    output = full.hyrun("system", "prune", "-a", "-f", "--volumes").stdout
    assert "Total reclaimed space" in output
    full.hyrun("load", "-q", "-i", template.archive)
    assert full.hyrun("run", "--rm", "busybox", "cat", "/etc/hello").stdout == "hello from the image\n"
    full.hyrun("system", "check", "--repair")


def test_a_repair_removes_leftovers(full: Disk) -> None:
    full.run("sh", "-c", f"mv {full.mountpoint}/filler {full.mountpoint}/root/tmp/stale", check=True)
    full.hyrun("system", "check", "--repair")
    full.run("sh", "-c", f"rm -rf {full.mountpoint}/filler1*", check=True)
    assert full.hyrun("run", "--rm", "busybox", "echo", "x").stdout == "x\n"
