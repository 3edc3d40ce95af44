"""The power fails (ext4's shutdown ioctl on a loop device): what was acknowledged is there afterwards, and verifies."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.command import COMMAND, Template
from e2e.disk import Disk
from support.points import spread

pytestmark = [pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"), pytest.mark.timeout(300)]

#: Before these system calls the power fails, spread over the command.
CALLS = "rename,unlink,rmdir,unlinkat,fsync,syncfs,mkdir,openat"
POINTS = 5


@pytest.fixture(scope="module")
def loaded(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with three images, one of them without a name, and a container."""
    top = tmp_path_factory.mktemp("power")
    with Disk(top, "ext4", 48) as disk:
        for archive in (template.archive, template.layout, template.archive.parent / "entry.tar"):
            disk.hyrun("load", "-q", "-i", archive)
        disk.run("rm", disk.mountpoint / "root/tags/docker.io%2Flibrary%2Fentry:latest", check=True)
        disk.hyrun("run", "--name", "kept", "-v", "data:/v", "busybox", "true")
        disk.unmount()
    return top / "disk.img"


@pytest.fixture
def disk(loaded: Path, tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path, "ext4", 48) as disk:
        restore(disk, loaded)
        yield disk


def restore(disk: Disk, loaded: Path) -> None:
    disk.unmount()
    subprocess.run(["cp", "--sparse=always", str(loaded), str(disk.image)], check=True)
    disk.mount()


def points(disk: Disk, *arguments: object) -> list[tuple[str, int]]:
    """Return (system call, its how manyeth) of those that are about the store."""
    log = disk.top / "log"
    disk.run("strace", "-f", "-o", log, "-e", f"trace={CALLS}", *COMMAND, *arguments)
    counts: dict[str, int] = {}
    found = []
    for line in log.read_text().splitlines():
        if (match := re.match(r"\d+ +(\w+)\(", line)) is None:
            continue
        counts[match[1]] = counts.get(match[1], 0) + 1
        if str(disk.mountpoint) in line or match[1] in ("fsync", "syncfs", "unlinkat"):
            found.append((match[1], counts[match[1]]))
    assert len(found) >= POINTS
    return spread(found, POINTS)


def cut_before(disk: Disk, point: tuple[str, int], *arguments: object) -> None:
    """Let a command come as far as that system call, and the power fail."""
    name, count = point
    flags = ["-f", "-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={count}"]
    disk.run("strace", *flags, *COMMAND, *arguments)
    disk.cut_the_power()


def names(disk: Disk) -> set[str]:
    return set(disk.hyrun("images", "--format", "{{.Repository}}").stdout.split())


def damage(disk: Disk) -> list[dict[str, object]]:
    """Return what is damaged after the power came back: leftovers are none."""
    result = disk.hyrun("system", "check", "--format", "json", code=None)
    return [found for found in map(json.loads, result.stdout.splitlines()) if not found["Harmless"]]


@pytest.mark.parametrize(
    "command",
    [
        "image prune -af",
        "system prune -af --volumes",
        "rmi filled",
        "system check --repair",
        "load",
        "commit kept snapshot",
    ],
)
def test_images_are_whole_or_gone(
    disk: Disk, loaded: Path, template: Template, command: str, tell: Callable[[str], None]
) -> None:
    arguments = ["load", "-q", "-i", template.layout] if command == "load" else command.split()

    def prepare() -> None:
        restore(disk, loaded)
        if command == "load":
            disk.hyrun("rmi", "filled")
        if "check" in command:
            disk.run("mkdir", "-p", disk.mountpoint / "root/tmp/stale/deep", check=True)
            disk.run("sh", "-c", f"echo x > {disk.mountpoint}/root/tags/docker.io%2Flibrary%2Fnobody:1", check=True)
            disk.run("mkdir", disk.mountpoint / "root/layers" / ("1" * 64), check=True)

    prepare()
    tried = points(disk, *arguments)
    for point in tried:
        prepare()
        cut_before(disk, point, *arguments)
        found = damage(disk)
        # What a repair removes was damage before it, and may be again.
        assert all("check" in command and item["Kind"] == "tag-dangling" for item in found), (point, found)
        assert command.startswith("system prune") or "busybox" in names(disk), point
        for name in names(disk) & {"busybox", "filled", "snapshot"}:
            assert disk.hyrun("run", "--rm", name, "cat", "/etc/hello").stdout == "hello from the image\n"
        disk.hyrun(*arguments, code=None)
        assert damage(disk) == []
    tell(f"{len(tried)} power cuts, nothing lost")


def test_what_was_acknowledged_is_so_after_a_power_cut(disk: Disk, template: Template) -> None:
    disk.hyrun("rmi", "filled")
    disk.cut_the_power()
    assert names(disk) == {"busybox", "<none>"}
    assert damage(disk) == []
    disk.hyrun("load", "-q", "-i", template.layout)
    disk.cut_the_power()
    assert names(disk) == {"busybox", "filled", "<none>"}
    assert damage(disk) == []
    assert disk.hyrun("run", "--rm", "filled", "cat", "/data/file").stdout == "from the image\n"
    disk.hyrun("image", "prune", "-f")
    disk.cut_the_power()
    assert names(disk) == {"busybox", "filled"}
    disk.hyrun("tag", "filled", "other")
    disk.cut_the_power()
    assert names(disk) == {"busybox", "filled", "other"}
    assert damage(disk) == []


def test_the_cut_is_one(disk: Disk) -> None:
    """What nobody synced is gone: were it not, the other tests would show nothing."""
    disk.run("sh", "-c", f"echo lost > {disk.mountpoint}/unsynced", check=True)
    disk.cut_the_power()
    assert disk.run("cat", disk.mountpoint / "unsynced").stdout != "lost\n"
