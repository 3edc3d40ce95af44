"""A pull, and a repair of what was pulled, on a disk that is full."""

from pathlib import Path

import pytest

from e2e.disk import Disk
from support.registry import Registry


@pytest.mark.parametrize("command", [["pull", "-q"], ["run", "--rm", "-q"]])
def test_a_full_disk_is_named_with_what_makes_room(plain: Registry, tmp_path: Path, command: list[str]) -> None:
    name = f"{plain.host}/team/box:1"
    with Disk(tmp_path, "tmpfs", 4) as disk:
        result = disk.hyrun(*command, name, code=None)
        assert result.returncode == (1 if command[0] == "pull" else 125)
        cause = f"pull of {name} into {disk.mountpoint}/root: No space left on device: make room and pull again"
        assert cause in result.stderr
        assert result.stderr.count("\n") == 1
        assert "hyrun system prune removes interrupted downloads" in result.stderr
        # Which is true: there is room for that.
        assert disk.stored("partial/*")
        disk.hyrun("system", "prune", "-f")
        assert disk.stored("partial/*") == []
        disk.run("mount", "-o", "remount,size=64m", disk.mountpoint, check=True)
        disk.hyrun("pull", "-q", name)


def test_a_repair_on_a_full_disk_keeps_what_the_next_one_needs(plain: Registry, tmp_path: Path) -> None:
    name = f"{plain.host}/team/box:1"
    with Disk(tmp_path, "tmpfs", 64) as disk:
        disk.hyrun("pull", "-q", name)
        (noise,) = disk.stored("layers/*/diff/data/noise")
        disk.run("truncate", "-s", "100", noise, check=True)
        disk.run("mount", "-o", "remount,size=12m", disk.mountpoint, check=True)
        disk.run("dd", "if=/dev/zero", f"of={disk.mountpoint}/filler", "bs=4k")
        told = disk.hyrun("system", "check", "--repair", code=1)
        assert "No space left on device" in told.stdout
        assert disk.stored("layers/*/diff/data/noise") == [noise]
        disk.run("mount", "-o", "remount,size=64m", disk.mountpoint, check=True)
        assert "unpacked again" in disk.hyrun("system", "check", "--repair").stdout
        assert disk.hyrun("run", "--rm", name, "stat", "-c", "%s", "/data/noise").stdout == f"{3 << 20}\n"
