"""Host directories and files in a container."""

import os
import subprocess
from pathlib import Path

import pytest

from e2e.command import COMMAND, PATIENCE, Hyrun, Template


@pytest.fixture
def source(hyrun: Hyrun) -> Path:
    """A host directory with a file."""
    directory = hyrun.cwd / "source"
    directory.mkdir()
    (directory / "file").write_text("on the host\n")
    return directory


def test_directory_is_read_and_written(hyrun: Hyrun, source: Path) -> None:
    assert hyrun.sh("cat /t/file; echo back > /t/new", "-v", f"{source}:/t") == "on the host"
    assert (source / "new").read_text() == "back\n"


def test_file_is_read_and_written(hyrun: Hyrun, source: Path) -> None:
    assert hyrun.sh("cat /etc/file; echo back > /etc/file", "-v", f"{source}/file:/etc/file") == "on the host"
    assert (source / "file").read_text() == "back\n"


def test_file_over_a_file_of_the_image(hyrun: Hyrun, source: Path) -> None:
    assert hyrun.sh("cat /etc/hello", "-v", f"{source}/file:/etc/hello") == "on the host"


def test_directory_hides_what_the_image_has_there(hyrun: Hyrun, source: Path) -> None:
    assert hyrun.sh("ls /home", "-v", f"{source}:/home") == "file"


def test_mount_bind_does_the_same(hyrun: Hyrun, source: Path) -> None:
    assert hyrun.sh("cat /t/file", "--mount", f"type=bind,source={source},target=/t") == "on the host"


def test_socket_can_be_bound(hyrun: Hyrun, source: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "s"))
        assert hyrun.sh("test -S /run/s && echo socket", "-v", f"{source}/s:/run/s") == "socket"


def test_symlink_as_source_is_followed_on_the_host(hyrun: Hyrun, source: Path) -> None:
    (hyrun.cwd / "link").symlink_to(source)
    assert hyrun.sh("cat /t/file", "-v", "./link:/t") == "on the host"


@pytest.mark.parametrize("flag", [("-v", "{}:/t:ro"), ("--mount", "type=bind,src={},dst=/t,readonly")])
def test_read_only_refuses_writes(hyrun: Hyrun, source: Path, flag: tuple[str, str]) -> None:
    output = hyrun.sh("cat /t/file; touch /t/new 2>&1 || true", flag[0], flag[1].format(source))
    assert "on the host" in output
    assert "Read-only file system" in output
    assert not (source / "new").exists()


def _with_mount(*steps: str) -> tuple[str, ...]:
    """Return the command in a mount namespace of its own in which a file system is mounted first."""
    return ("unshare", "--mount", "sh", "-ec", " && ".join((*steps, 'exec "$@"')), "sh", *COMMAND)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (("-v", "{}:/t"), "inner\nwritable"),
        (("-v", "{}:/t:ro"), "inner\nread-only"),
        (("--mount", "type=bind,src={},dst=/t,ro"), "inner\nread-only"),
        (("--mount", "type=bind,src={},dst=/t,ro,bind-recursive=writable"), "inner\nwritable"),
        (
            ("--mount", "type=bind,src={},dst=/t,ro,bind-recursive=readonly,bind-propagation=rprivate"),
            "inner\nread-only",
        ),
        (("--mount", "type=bind,src={},dst=/t,bind-recursive=disabled"), "writable"),
    ],
)
def test_submounts_of_the_source(hyrun: Hyrun, source: Path, flag: tuple[str, str], expected: str) -> None:
    (source / "below").mkdir()
    command = _with_mount("mount -t tmpfs none source/below", "touch source/below/inner")
    script = "ls /t/below; touch /t/below/new 2>/dev/null && echo writable || echo read-only"
    assert hyrun.sh(script, flag[0], flag[1].format(source), command=command) == expected


def test_relative_source_starts_from_the_working_directory(hyrun: Hyrun, source: Path) -> None:
    assert hyrun.sh("cat /t/file", "-v", "./source:/t") == "on the host"
    (source / "inner").mkdir()
    assert hyrun.sh("cat /t/file", "-v", "..:/t", cwd=source / "inner") == "on the host"
    assert hyrun.sh("cat /t/file", "-v", ".:/t", cwd=source) == "on the host"
    assert hyrun.sh("cat /t/file", "--mount", "type=bind,src=./source,dst=/t") == "on the host"


def test_missing_source_of_v_is_made_as_0755_of_root(hyrun: Hyrun) -> None:
    hyrun.sh("touch /t/x", "-v", f"{hyrun.cwd}/new/deep:/t")
    for directory in (hyrun.cwd / "new", hyrun.cwd / "new/deep"):
        status = directory.stat()
        assert (status.st_mode, status.st_uid, status.st_gid) == (0o40755, 0, 0)
    assert (hyrun.cwd / "new/deep/x").exists()


def test_missing_source_of_v_goes_again_when_the_run_fails(hyrun: Hyrun) -> None:
    hyrun.refused("run", "-v", "./new/deep:/t", "busybox", "nosuch", code=127)
    assert list(hyrun.cwd.iterdir()) == []


def test_missing_source_of_mount_is_refused_and_nothing_made(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    flags = ("-v", "named:/n", "-v", "/a", "-v", "./other:/o", "--mount", "type=bind,src=/nosuch/dir,dst=/t")
    assert "/nosuch/dir" in hyrun.refused("run", "--name", "x1", *flags, "busybox", "true")
    assert hyrun.tree() == before
    assert list(hyrun.cwd.iterdir()) == []


def test_source_below_a_file_is_refused(hyrun: Hyrun, source: Path) -> None:
    before = hyrun.tree()
    hyrun.refused("run", "-v", f"{source}/file/x:/t", "busybox", "true")
    assert hyrun.tree() == before


def test_dangling_symlink_as_source_is_refused(hyrun: Hyrun) -> None:
    (hyrun.cwd / "link").symlink_to("nowhere")
    before = hyrun.tree()
    hyrun.refused("run", "-v", "./link:/t", "busybox", "true")
    assert hyrun.tree() == before
    assert not (hyrun.cwd / "nowhere").exists()


@pytest.mark.parametrize(("volume", "what"), [("{}/file:/etc", "file"), ("{}:/etc/passwd", "directory")])
def test_file_over_directory_and_reverse_are_refused(hyrun: Hyrun, source: Path, volume: str, what: str) -> None:
    before = hyrun.tree()
    assert "irectory" in hyrun.refused("run", "-v", volume.format(source), "busybox", "true"), what
    assert hyrun.tree() == before


def test_symlink_of_the_image_stays_inside(hyrun: Hyrun, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    flags = ("-v", "./new:/evil/in", "--mount", "type=tmpfs,dst=/evil/t", "-v", "/evil/volume", "-w", "/evil/work")
    for number, target in enumerate([str(host), f"../../../../../../../..{host}", f"/proc/self/root{host}"]):
        _import_link(hyrun, tmp_path, f"evil{number}", target)
        before = hyrun.tree()
        process = hyrun.start("run", "--rm", *flags, f"evil{number}", "nosuch")
        process.communicate(timeout=PATIENCE)
        assert process.returncode in (125, 127)
        assert hyrun.tree() == before
        assert list(host.iterdir()) == []


def test_mount_below_a_symlink_of_the_image_is_where_the_link_leads_inside(
    hyrun: Hyrun, tmp_path: Path, template: Template
) -> None:
    host = tmp_path / "host"
    host.mkdir()
    link = tmp_path / "link"
    (link / "sub").mkdir(parents=True)
    (link / "evil").symlink_to(host)
    archive = tmp_path / "both.tar"
    archive.write_bytes(template.rootfs.read_bytes())
    subprocess.run(["tar", "-C", str(link), "-rf", str(archive), "evil", "sub"], check=True)
    hyrun("import", archive, "both")
    output = hyrun.sh(f"ls {host}; touch /evil/in/x", "-v", "./new:/evil/in", image="both")
    assert output == "in"
    assert list(host.iterdir()) == []
    assert (hyrun.cwd / "new/x").exists()


def _import_link(hyrun: Hyrun, tmp_path: Path, name: str, target: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    (directory / "evil").symlink_to(target)
    archive = tmp_path / f"{name}.tar"
    subprocess.run(["tar", "-C", str(directory), "-cf", str(archive), "evil"], check=True)
    hyrun("import", archive, name)


def test_shared_propagation_needs_a_shared_mount(hyrun: Hyrun, source: Path) -> None:
    private = _with_mount("mount -t tmpfs none source")
    before = hyrun.tree()
    message = hyrun.refused("run", "-v", f"{source}:/t:rshared", "busybox", "true", command=private)
    assert "not a shared mount" in message
    assert hyrun.tree() == before


@pytest.mark.parametrize(("mode", "expected"), [("rshared", "shared:"), ("rslave", "master:"), ("rprivate", "- tmpfs")])
def test_propagation_of_a_shared_mount(hyrun: Hyrun, source: Path, mode: str, expected: str) -> None:
    shared = _with_mount("mount -t tmpfs none source", "mount --make-shared source")
    (line,) = hyrun.sh("grep ' /t ' /proc/self/mountinfo", "-v", f"{source}:/t:{mode}", command=shared).splitlines()
    assert line.split(" ")[6].startswith(expected.split()[0])


def test_nested_mount_point_below_a_read_only_bind_is_refused(hyrun: Hyrun, source: Path) -> None:
    before = hyrun.tree()
    message = hyrun.refused("run", "-v", f"{source}:/t:ro", "-v", "/t/sub", "busybox", "true")
    assert "/t/sub" in message
    assert hyrun.tree() == before
    assert os.listdir(source) == ["file"]
