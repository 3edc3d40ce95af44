"""The walk through docs/containers.md, command by command, on an image and on the host's own root file system."""

import re
from pathlib import Path

import pytest

from e2e.command import Hyrun
from e2e.terminal import at_terminal
from support import images


@pytest.fixture
def helloworld(hyrun: Hyrun) -> str:
    """A small image whose command keeps running."""
    archive = hyrun.cwd / "helloworld.tar"
    base = images.busybox_rootfs_tar(hyrun.cwd / "rootfs.tar").read_bytes()
    script = "while :; do echo hello world; sleep 1; done"
    images.docker_archive(archive, [base], {"Cmd": ["sh", "-c", script]}, ["helloworld:latest"])
    hyrun("load", "-q", "-i", archive)
    return "helloworld"


def test_the_walk_with_an_image(hyrun: Hyrun, helloworld: str) -> None:
    identifier = hyrun.out("run", "-d", "-v", "/test", helloworld)
    assert re.fullmatch("[0-9a-f]{64}", identifier)
    header, line = hyrun.lines("volume", "ls")
    assert re.fullmatch(r"DRIVER +VOLUME NAME", header)
    match = re.fullmatch(r"local +([0-9a-f]{64})", line)
    assert match is not None
    data = Path(hyrun.inspect(match[1])["Mountpoint"])
    assert data == hyrun.root / "volumes" / match[1] / "_data"
    _write_a_file(identifier)
    assert [entry.name for entry in data.iterdir()] == ["text.txt"]
    upper = Path(hyrun.out("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", identifier))
    assert list((upper / "test").iterdir()) == []
    assert hyrun.out("diff", identifier) == "A /test"
    hyrun("commit", identifier, "snapshot")
    assert hyrun.out("run", "--rm", "snapshot", "ls", "-A", "/test") == ""
    # Docker records an anonymous destination in the image.
    assert hyrun.out("image", "inspect", "-f", "{{json .Config.Volumes}}", "snapshot") == '{"/test":{}}'
    hyrun("rm", "-f", "-v", identifier)
    assert not data.exists()


def test_the_walk_on_the_host(hyrun: Hyrun) -> None:
    identifier = hyrun.out("run", "-d", "-v", "/test", "host", "sleep", "600")
    (volume,) = hyrun.lines("volume", "ls", "-q")
    _write_a_file(identifier)
    assert [entry.name for entry in (hyrun.root / "volumes" / volume / "_data").iterdir()] == ["text.txt"]
    assert "A /test" in hyrun.lines("diff", identifier)
    assert hyrun("commit", identifier, "snapshot").stdout.startswith("sha256:")
    assert hyrun.out("run", "--rm", "snapshot", "ls", "-A", "/test") == ""
    assert "this machine" in hyrun.refused("save", "-o", "x.tar", "snapshot", code=1)
    hyrun("rm", "-f", "-v", identifier)


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_the_walk_with_a_path_of_the_host(hyrun: Hyrun, helloworld: str, kind: str) -> None:
    source = hyrun.cwd / "source"
    source.mkdir()
    (source / "text.txt").touch()
    bound = source if kind == "directory" else source / "text.txt"
    target = "/test" if kind == "directory" else "/text.txt"
    inside = f"{target}/text.txt" if kind == "directory" else target
    hyrun("run", "-d", "--name", "box", "-v", f"{bound}:{target}", helloworld)
    hyrun("exec", "box", "sh", "-c", f"echo written > {inside}")
    assert (source / "text.txt").read_text() == "written\n"
    assert hyrun.out("diff", "box") == f"A {target}"
    said = hyrun("commit", "box", "snapshot").stderr
    assert target in said
    # The empty mount point is in the image, and nothing of the data.
    assert hyrun.out("run", "--rm", "snapshot", "sh", "-c", f"ls -A {target}; cat {target} 2>/dev/null; true") in (
        "",
        target,
    )
    hyrun("rm", "-f", "box")


def _write_a_file(identifier: str) -> None:
    with at_terminal("exec", "-it", identifier[:12], "/bin/sh") as terminal:
        terminal.type("cd /test\n")
        terminal.type("touch text.txt\n")
        terminal.type("exit\n")
        assert terminal.wait() == 0
