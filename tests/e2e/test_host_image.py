"""The built-in image `host`, and `--rootfs DIR`."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.command import Hyrun, Template


def test_host_has_this_machines_files(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "host", "cat", "/etc/os-release") == Path("/etc/os-release").read_text().rstrip(
        "\n"
    )


def test_changes_of_host_stay_in_the_layer(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "host", "sh", "-c", "echo x > /etc/made && rm /etc/passwd")
    assert not Path("/etc/made").exists()
    assert Path("/etc/passwd").exists()
    upper = Path(hyrun.record("one")["GraphDriver"]["Data"]["UpperDir"])
    assert (upper / "etc/made").read_text() == "x\n"
    assert (upper / "etc/passwd").is_char_device()


def test_store_and_run_directory_are_hidden_inside_of_host(hyrun: Hyrun) -> None:
    script = f"ls -A {hyrun.root} {hyrun.run} 2>&1; touch {hyrun.root}/x {hyrun.run}/x 2>/dev/null || echo refused"
    lines = hyrun.sh(script, image="host").splitlines()
    assert lines[-1] == "refused"
    assert not {"containers", "volumes", "layers"} & set(lines)
    assert not any(line.endswith(".json") for line in lines)


def test_store_behind_a_symlink_is_hidden_as_well(hyrun: Hyrun) -> None:
    link = hyrun.cwd / "link"
    link.symlink_to(hyrun.root)
    script = f"ls -A {hyrun.root} {link}/ 2>&1"
    assert "containers" not in hyrun.sh(script, image="host", env={"HYRUN_ROOT": str(link)})


def test_volumes_work_on_host(hyrun: Hyrun) -> None:
    assert hyrun.sh("echo x > /made/by/hyrun/f && ls /made/by/hyrun", "-v", "./v:/made/by/hyrun", image="host") == "f"
    assert (hyrun.cwd / "v/f").exists()
    assert not Path("/made").exists()


def test_volume_named_on_host_is_copied_up(hyrun: Hyrun) -> None:
    hyrun("run", "--rm", "-v", "named:/etc/default", "host", "true")
    copied = os.listdir(hyrun.root / "volumes/named/_data")
    assert sorted(copied) == sorted(os.listdir("/etc/default"))


def test_host_cannot_be_removed_and_is_listed(hyrun: Hyrun) -> None:
    hyrun.refused("rmi", "host", code=1)
    assert hyrun.out("run", "--rm", "host", "echo", "x") == "x"


def test_user_of_host_is_looked_up_in_the_hosts_accounts(hyrun: Hyrun) -> None:
    import pwd

    entry = pwd.getpwnam("daemon")
    assert hyrun.out("run", "--rm", "-u", "daemon", "host", "id", "-u") == str(entry.pw_uid)


@pytest.fixture
def rootfs(hyrun: Hyrun, template: Template) -> Iterator[Path]:
    """A directory with a root file system, which no test changes."""
    with tempfile.TemporaryDirectory(dir=hyrun.cwd.parent) as directory:
        subprocess.run(["tar", "-xf", str(template.rootfs), "-C", directory], check=True)
        Path(directory).chmod(0o755)
        before = sorted(str(path) for path in Path(directory).rglob("*"))
        yield Path(directory)
        assert sorted(str(path) for path in Path(directory).rglob("*")) == before


def test_rootfs_is_run_without_an_image(hyrun: Hyrun, rootfs: Path) -> None:
    assert hyrun.out("run", "--rm", "--rootfs", rootfs, "cat", "/etc/hello") == "hello from the image"


def test_rootfs_may_be_relative(hyrun: Hyrun, rootfs: Path) -> None:
    assert hyrun.out("run", "--rm", "--rootfs", rootfs.name, "echo", "x", cwd=rootfs.parent) == "x"


def test_rootfs_is_not_changed(hyrun: Hyrun, rootfs: Path) -> None:
    hyrun("run", "--rm", "--rootfs", rootfs, "-v", "/new/place", "-w", "/work", "sh", "-c", "touch /x && rm /etc/hello")
    assert (rootfs / "etc/hello").exists()


def test_rootfs_is_shown_as_the_image(hyrun: Hyrun, rootfs: Path) -> None:
    hyrun("run", "--name", "one", "--rootfs", rootfs, "true")
    assert hyrun.out("ps", "-a", "--format", "{{.Image}}") == f"rootfs:{rootfs}"


def test_rootfs_without_a_command_is_a_shell(hyrun: Hyrun, rootfs: Path) -> None:
    assert hyrun.out("run", "--rm", "-i", "--rootfs", rootfs, input="cat /etc/hello") == "hello from the image"


def test_missing_rootfs_is_refused(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    assert "/nosuch" in hyrun.refused("run", "--rootfs", "/nosuch", "true")
    assert hyrun.tree() == before


def test_store_inside_of_a_rootfs_is_hidden(hyrun: Hyrun, template: Template) -> None:
    top = hyrun.cwd / "rootfs"
    top.mkdir()
    subprocess.run(["tar", "-xf", str(template.rootfs), "-C", str(top)], check=True)
    inside = {"HYRUN_ROOT": str(top / "store"), "HYRUN_RUN": str(top / "run/state")}
    script = "ls -A /store /run/state; touch /store/x 2>/dev/null || echo refused"
    lines = hyrun.out("run", "--rm", "--rootfs", top, "sh", "-c", script, env=inside).splitlines()
    assert lines[-1] == "refused"
    assert "containers" not in lines
    shutil.rmtree(top)


def test_store_and_run_directory_of_another_place_are_none_of_a_rootfs(hyrun: Hyrun, rootfs: Path) -> None:
    assert hyrun.out("run", "--rm", "--rootfs", rootfs, "ls", hyrun.root.anchor + "etc/hello") == "/etc/hello"


@pytest.fixture
def bare(hyrun: Hyrun, template: Template) -> Iterator[Path]:
    """A directory with a root file system that has none of the engine's mount points."""
    with tempfile.TemporaryDirectory(dir=hyrun.cwd.parent) as directory:
        subprocess.run(["tar", "-xf", str(template.rootfs), "-C", directory], check=True)
        for name in ("dev", "proc", "sys"):
            if os.path.isdir(f"{directory}/{name}"):
                os.rmdir(f"{directory}/{name}")
        yield Path(directory)


def test_the_engines_mount_points_are_no_change_of_a_rootfs(hyrun: Hyrun, bare: Path) -> None:
    hyrun("run", "--name", "one", "--rootfs", bare, "sh", "-c", "touch /new && cat /etc/hosts /dev/null")
    assert hyrun.lines("diff", "one") == ["A /new"]
    hyrun("commit", "one", "mine")
    hyrun("run", "--name", "two", "mine", "sh", "-c", "ls /new && touch /newer")
    assert hyrun.lines("diff", "two") == ["A /newer"]


def test_a_rootfs_with_the_store_in_it_runs(hyrun: Hyrun, template: Template) -> None:
    # overlayfs would not take the engine's own layer below a directory that it is in.
    with tempfile.TemporaryDirectory(dir=hyrun.cwd.parent) as directory:
        subprocess.run(["tar", "-xf", str(template.rootfs), "-C", directory], check=True)
        place = {"HYRUN_ROOT": f"{directory}/var/store"}
        assert hyrun.out("run", "--rm", "--rootfs", directory, "cat", "/etc/hello", env=place)
