"""Volumes and files: where they go, whatever the image says, and what reaches the host."""

import os
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from hyrun import _core
from hyrun.spec import CAPABILITIES
from support.leaks import mountinfo
from support.rootfs import MS_BIND, MS_SHARED, Box, in_mount_namespace, mount, unmount, wait

CAP_SYS_ADMIN = 1 << 21


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory of the host."""
    path = tmp_path / "source"
    path.mkdir()
    (path / "file").write_text("volume\n")
    return path


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that nobody may touch."""
    path = tmp_path / "canary"
    path.mkdir()
    (path / "file").write_text("unchanged")
    before = path.stat().st_mtime_ns
    yield path
    assert (os.listdir(path), path.stat().st_mtime_ns) == (["file"], before)


def bind(source: Path, target: str, **options: object) -> _core.Bind:
    return _core.Bind(source=str(source), target=target, **options)  # type: ignore[arg-type]


def test_a_volume_is_the_host_directory_and_stays_out_of_the_writable_layer(box: Box, source: Path) -> None:
    assert box.output("cat /test/file; echo new > /test/new", mounts=[bind(source, "/test")]) == "volume\n"
    assert (source / "new").read_text() == "new\n"
    assert os.listdir(box.upper()) == ["test"]
    assert os.listdir(box.upper("test")) == []
    assert box.upper("test").stat().st_mode & 0o7777 == 0o755


def test_a_volume_hides_what_the_image_has_there(box: Box, source: Path) -> None:
    assert box.output("ls /etc", mounts=[bind(source, "/etc")]) == "file\n"
    assert box.output("cat /etc/hello", mounts=[bind(source / "file", "/etc/hello")]) == "volume\n"
    assert box.output("cat /new/path", mounts=[bind(source / "file", "/new/path")]) == "volume\n"


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_nested_volumes_are_all_visible_in_any_order(box: Box, tmp_path: Path, order: tuple[int, ...]) -> None:
    targets = ("/a", "/a/b", "/a/b/c")
    mounts = []
    for number, target in enumerate(targets):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "name").write_text(f"{target}\n")
        mounts.append(bind(tmp_path / str(number), target))
    mounts = [mounts[number] for number in order]
    assert box.output("cat /a/name /a/b/name /a/b/c/name", mounts=mounts).split() == list(targets)
    assert box.output("cat /a/name", mounts=[*mounts, _core.Tmpfs(target="/a/b/t")]) == "/a\n"


@pytest.mark.parametrize(
    ("link", "target", "where"),
    [
        ("/host/dir", "/evil/m", "/host/dir/m"),
        ("/host/dir", "/evil", "/host/dir"),
        ("../../../../../../../host/dir", "/evil/m", "/host/dir/m"),
        ("/..", "/evil/etc/m", "/etc/m"),
        ("etc/../../../../home/./m", "/evil", "/home/m"),
        ("hop", "/evil/m", "/home/made/m"),
        ("nowhere//at/all", "/evil//m/", "/nowhere/at/all/m"),
        ("/proc/../home", "/evil/m", "/home/m"),
    ],
)
def test_symlinks_of_the_image_lead_to_where_they_lead_inside(
    box: Box, source: Path, link: str, target: str, where: str
) -> None:
    box.layer({"evil": Path(link), "hop": Path("/home/made")})
    found = box.output(f"cat {where}/file; cat {target}/file", mounts=[bind(source, target)])
    assert found == "volume\nvolume\n"
    assert not os.path.exists("/host")


def test_a_file_goes_through_a_dangling_link(box: Box, source: Path) -> None:
    box.layer({"etc/resolv.conf": Path("../run/systemd/resolve/stub.conf")})
    script = "cat /run/systemd/resolve/stub.conf /etc/resolv.conf"
    assert box.output(script, mounts=[bind(source / "file", "/etc/resolv.conf")]) == "volume\nvolume\n"
    assert box.output(script, files=[_core.File(target="/etc/resolv.conf", content=b"own\n")]) == "own\nown\n"


def test_a_link_to_a_path_of_the_host_means_that_path_inside(box: Box, source: Path, canary: Path) -> None:
    box.layer({"evil": canary, "up": Path(f"{'../' * 30}{canary}")})
    mounts = [bind(source, "/evil/m"), bind(source / "file", "/up/n"), _core.Tmpfs(target="/evil/t")]
    options = {"mounts": mounts, "files": [_core.File(target="/evil/f", content=b"f")], "cwd": "/evil/cwd"}
    assert sorted(box.output(f"ls {canary}", **options).split()) == ["cwd", "f", "m", "n", "t"]


def test_a_link_in_a_volume_leads_inside_the_root(box: Box, source: Path, canary: Path) -> None:
    (source / "evil").symlink_to(canary)
    mounts = [bind(source, "/v"), bind(source, "/v/evil/m")]
    assert box.output(f"cat {canary}/m/file", mounts=mounts) == "volume\n"
    assert set(os.listdir(source)) == {"file", "evil"}


def test_files_are_the_containers_own(box: Box) -> None:
    contents = (b"first\n", b"second\n")
    with box.running(
        "cat /etc/hello; echo changed > /etc/hello; read x",
        files=[_core.File(target="/etc/hello", content=contents[0]), _core.File(target="/new/f", content=b"")],
    ) as running:
        assert running.said == "first"
        upper = box.upper()
        assert box.output("cat /etc/hello", files=[_core.File(target="/etc/hello", content=contents[1])]) == "second\n"
    assert (box.rootfs / "etc/hello").read_text() == "hello from the image\n"
    assert [path.stat().st_size for path in upper.rglob("*") if path.is_file()] == [0]


def test_files_may_be_written_and_are_not_executable(box: Box) -> None:
    files = [_core.File(target="/etc/f", content=b"#!/bin/sh\n")]
    assert box.output("stat -c '%a %u' /etc/f; echo more >> /etc/f; wc -l < /etc/f", files=files) == "644 0\n2\n"


def test_a_file_that_the_user_mounts_is_the_users(box: Box, source: Path) -> None:
    files = [_core.File(target="/etc/hosts", content=b"own\n"), _core.File(target="/etc/hostname", content=b"name\n")]
    mounts = [bind(source / "file", "/etc/hosts")]
    assert box.output("cat /etc/hosts /etc/hostname", mounts=mounts, files=files) == "volume\nname\n"


def test_a_volume_on_etc_keeps_the_containers_own_hosts(box: Box, source: Path) -> None:
    files = [_core.File(target="/etc/hosts", content=b"own\n")]
    assert box.output("cat /etc/hosts /etc/file", mounts=[bind(source, "/etc")], files=files) == "own\nvolume\n"


def test_a_read_only_volume_is_read_only_with_everything_below_it(box: Box, source: Path) -> None:
    def work() -> None:
        (source / "sub").mkdir()
        mount("none", source / "sub", kind="tmpfs")
        (source / "sub" / "below").write_text("below\n")
        script = "cat /v/sub/below; for f in /v/new /v/sub/new; do touch $f && rm $f && echo $f; done 2>/dev/null; true"
        cases = {
            "below": {"read_only": True},
            "below /v/sub/new": {"read_only": True, "read_only_recursive": False},
            "below /v/new /v/sub/new": {},
        }
        for said, options in cases.items():
            assert box.output(script, mounts=[bind(source, "/v", **options)]).split() == said.split()
        plain = box.sh(script, mounts=[bind(source, "/v", recursive=False)])
        assert (plain.stdout.split(), "/v/sub/below" in plain.stderr) == (["/v/new", "/v/sub/new"], True)

    in_mount_namespace(work)


def shared_volume(box: Box, source: Path, propagation: str) -> tuple[str, bool]:
    """What a container sees of a mount made outside meanwhile, and whether its own one came out."""
    mount(source, source, MS_BIND)
    for name in ("outside", "inside"):
        (source / name).mkdir()
    script = """
        echo ready
        until [ -e /v/go ]; do sleep 0.01; done
        cat /v/outside/mark 2>/dev/null || echo nothing
        mount -t tmpfs none /v/inside && touch /v/inside/mark && touch /v/done
        until [ -e /v/end ]; do sleep 0.01; done
    """
    options: dict[str, Any] = {"capabilities": CAPABILITIES | CAP_SYS_ADMIN, "seccomp": False}
    reader, writer = os.pipe()
    process = _core.spawn(
        box.spec("sh", "-c", script, stdout=writer, mounts=[bind(source, "/v", propagation=propagation)], **options)
    )
    os.close(writer)
    with open(reader) as lines:
        assert lines.readline() == "ready\n"
        mount("none", source / "outside", kind="tmpfs")
        (source / "outside" / "mark").write_text("seen\n")
        (source / "go").touch()
        seen = lines.readline().strip()
        while not (source / "done").exists() and process.wait(0.01) is None:
            pass
        came_out = (source / "inside" / "mark").exists()
        (source / "end").touch()
        assert wait(process) == 0
    if came_out:
        unmount(source / "inside")
    unmount(source / "outside")
    return seen, came_out


@pytest.mark.parametrize(
    ("propagation", "seen", "came_out"),
    [
        ("rshared", "seen", True),
        ("shared", "seen", True),
        ("rslave", "seen", False),
        ("slave", "seen", False),
        ("rprivate", "nothing", False),
        ("private", "nothing", False),
    ],
)
def test_propagation(box: Box, source: Path, propagation: str, seen: str, came_out: bool) -> None:
    def work() -> None:
        assert shared_volume(box, source, propagation) == (seen, came_out)

    in_mount_namespace(work, MS_SHARED)


def test_nothing_reaches_a_host_whose_mounts_are_shared(box: Box, source: Path) -> None:
    def work() -> None:
        before = mountinfo()
        script = "mount -t tmpfs none /home; echo ready; read x"
        options: dict[str, Any] = {"capabilities": CAPABILITIES | CAP_SYS_ADMIN, "mounts": [bind(source, "/v")]}
        options["seccomp"] = False  # it would refuse mount(2)
        with box.running(script, **options) as running:
            assert running.said == "ready"
            assert mountinfo() == before
            (box.top / "outside").mkdir()
            mount("none", box.top / "outside", kind="tmpfs")
            inside = Path(f"/proc/{running.process.pid}/mountinfo").read_text()
            assert "outside" not in inside
            assert " /home " in inside
            unmount(box.top / "outside")

    in_mount_namespace(work, MS_SHARED)


def test_the_image_is_never_written(box: Box) -> None:
    before = (box.rootfs / "etc/hello").stat()
    assert box.output("echo changed > /etc/hello; rm -r /home; touch /new; cat /etc/hello") == "changed\n"
    after = (box.rootfs / "etc/hello").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (box.rootfs / "home").is_dir()
    assert box.upper("etc/hello").read_text() == "changed\n"


def test_a_layer_that_claims_to_be_redirected_shows_nothing_of_other_layers(box: Box) -> None:
    layer = box.layer({"forged": None, "hello": b""})
    os.setxattr(layer / "forged", "trusted.overlay.redirect", b"/etc")
    ended = box.sh("ls /forged")
    assert "hello" not in ended.stdout
    os.setxattr(layer / "hello", "trusted.overlay.metacopy", b"")
    os.setxattr(layer / "hello", "trusted.overlay.redirect", b"/etc/hello")
    assert "hello from" not in box.sh("cat /hello").stdout


def test_directories_made_on_the_way_to_a_mount_point_belong_to_root(box: Box, source: Path) -> None:
    assert box.output("stat -c '%a %u:%g' /a /a/b /a/b/c", mounts=[bind(source, "/a/b/c/d")]) == "755 0:0\n" * 3
    assert box.upper("a/b/c/d").is_dir()
