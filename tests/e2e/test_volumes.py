"""Volumes of a container: anonymous, named, of the image; how long they live and where writes land."""

import json
import os
import re
from pathlib import Path

import pytest

from e2e.command import Hyrun


def test_anonymous_volume_is_made_and_removed_with_rm(hyrun: Hyrun) -> None:
    assert hyrun.sh("touch /dst/x && ls /dst", "-v", "/dst") == "x"
    assert hyrun.left("volumes") == set()


def test_anonymous_volume_has_64_hex_digits_and_stays_without_rm(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "kept", "-v", "/dst", "busybox", "touch", "/dst/x")
    (name,) = hyrun.left("volumes")
    assert re.fullmatch("[0-9a-f]{64}", name)
    assert (hyrun.root / "volumes" / name / "_data/x").exists()
    (mount,) = hyrun.record("kept")["Mounts"]
    assert (mount["Type"], mount["Name"], mount["Destination"]) == ("volume", name, "/dst")


def test_rm_keeps_anonymous_volumes(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "kept", "-v", "/dst", "busybox", "true")
    hyrun("rm", "kept")
    assert len(hyrun.left("volumes")) == 1


def test_rm_v_removes_anonymous_volumes_and_keeps_named_ones(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "kept", "-v", "/dst", "-v", "named:/n", "busybox", "true")
    hyrun("rm", "-v", "kept")
    assert hyrun.left("volumes") == {"named"}


def test_named_volume_is_kept_by_rm_and_shared(hyrun: Hyrun) -> None:
    hyrun.sh("echo kept > /n/file", "-v", "named:/n")
    assert hyrun.sh("cat /m/file", "-v", "named:/m") == "kept"


def test_named_volume_by_mount(hyrun: Hyrun) -> None:
    hyrun.sh("echo kept > /n/file", "--mount", "source=named,target=/n,volume-label=a=b")
    assert hyrun.sh("cat /n/file; touch /n/x 2>/dev/null || echo ro", "--mount", "src=named,dst=/n,ro") == "kept\nro"
    assert hyrun.inspect("named", "--type", "volume")["Labels"] == {"a": "b"}


def test_named_volume_read_only(hyrun: Hyrun) -> None:
    assert "Read-only file system" in hyrun.sh("touch /n/x 2>&1 || true", "-v", "named:/n:ro")


def test_volume_of_another_container_that_is_gone_can_be_named_by_its_id(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "first", "-v", "/dst", "busybox", "touch", "/dst/x")
    (name,) = hyrun.left("volumes")
    hyrun("rm", "first")
    assert hyrun.sh("ls /again", "-v", f"{name}:/again") == "x"
    assert hyrun.left("volumes") == {name}


def test_volume_of_the_image_is_anonymous(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "filled", "touch", "/data/new")
    (mount,) = hyrun.record("one")["Mounts"]
    assert mount["Destination"] == "/data"
    assert (Path(mount["Source"]) / "new").exists()
    hyrun("rm", "-v", "one")
    assert hyrun.left("volumes") == set()


def test_volume_of_the_image_is_removed_with_rm(hyrun: Hyrun) -> None:
    hyrun("run", "--rm", "filled", "true")
    assert hyrun.left("volumes") == set()


@pytest.mark.parametrize("flag", ["named:/data", "./here:/data"])
def test_volume_of_the_image_yields_to_the_callers(hyrun: Hyrun, flag: str) -> None:
    hyrun("run", "--name", "one", "-v", flag, "filled", "touch", "/data/new")
    (mount,) = hyrun.record("one")["Mounts"]
    assert (Path(mount["Source"]) / "new").exists()
    hyrun("rm", "-v", "one")
    assert hyrun.left("volumes") <= {"named"}


def test_volume_of_the_image_yields_to_tmpfs(hyrun: Hyrun) -> None:
    assert hyrun.sh("ls /data; grep -c 'tmpfs /data' /proc/mounts", "--tmpfs", "/data", image="filled") == "1"


def test_writes_land_on_the_host_and_not_in_the_layer(hyrun: Hyrun) -> None:
    flags = ("-v", "/anonymous", "-v", "named:/named", "-v", "./bound:/bound")
    script = "touch /anonymous/x /named/x /bound/x"
    hyrun("run", "--name", "one", *flags, "busybox", "sh", "-c", script)
    seen = hyrun.record("one")
    upper = Path(seen["GraphDriver"]["Data"]["UpperDir"])
    for mount in seen["Mounts"]:
        assert (Path(mount["Source"]) / "x").exists()
        assert list((upper / mount["Destination"][1:]).iterdir()) == []


def test_mount_points_are_made_in_the_layer_as_0755_and_0644(hyrun: Hyrun) -> None:
    (hyrun.cwd / "file").write_text("content")
    flags = ("-v", "/a/deep", "-v", "./file:/f/file", "--tmpfs", "/t")
    hyrun("run", "--name", "one", *flags, "busybox", "true")
    upper = Path(hyrun.record("one")["GraphDriver"]["Data"]["UpperDir"])
    modes = {name: (upper / name).stat().st_mode for name in ("a", "a/deep", "f", "t", "f/file")}
    assert modes == {"a": 0o40755, "a/deep": 0o40755, "f": 0o40755, "t": 0o40755, "f/file": 0o100644}
    assert (upper / "f/file").stat().st_size == 0


def test_umask_of_the_caller_has_no_influence(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "-v", "/a/deep", "-v", "./made:/m", "-v", "named:/n", "busybox", "true", umask=0o077)
    upper = Path(hyrun.record("one")["GraphDriver"]["Data"]["UpperDir"])
    data = hyrun.root / "volumes/named/_data"
    modes = [path.stat().st_mode & 0o7777 for path in (upper, upper / "a", upper / "a/deep", data, hyrun.cwd / "made")]
    assert modes == [0o755] * 5


def test_umask_of_the_caller_has_no_influence_inside(hyrun: Hyrun) -> None:
    assert hyrun.sh("umask; stat -c %a / /etc /etc/hosts /dev/shm", umask=0o077).split() == (
        ["0022", "755", "755", "644", "1777"]
    )


def test_order_of_the_options_does_not_matter_for_nesting(hyrun: Hyrun) -> None:
    for order in (("named:/n", "./inner:/n/inner"), ("./inner:/n/inner", "named:/n")):
        flags = [word for volume in order for word in ("-v", volume)]
        hyrun.sh("touch /n/outer /n/inner/x", *flags)
    data = hyrun.root / "volumes/named/_data"
    assert sorted(path.name for path in data.iterdir()) == ["inner", "outer"]
    assert list((data / "inner").iterdir()) == []
    assert (hyrun.cwd / "inner/x").exists()


def test_hosts_files_come_on_top_of_a_volume_at_etc(hyrun: Hyrun) -> None:
    (hyrun.cwd / "etc").mkdir()
    (hyrun.cwd / "etc/own").write_text("own\n")
    assert hyrun.sh("cat /etc/own /etc/hostname", "-v", "./etc:/etc", "-h", "box") == "own\nbox"


def test_nothing_is_mounted_on_the_host_while_it_runs(hyrun: Hyrun) -> None:
    hyrun.sleeper("--rm", "--name", "one", "-v", "/a", "-v", "named:/n", "-v", "./b:/b", "--tmpfs", "/t")
    assert hyrun.mounts() == []
    inside = Path(f"/proc/{hyrun.record('one')['State']['Pid']}/mountinfo").read_text()
    assert all(f" {place} " in inside for place in ("/", "/a", "/n", "/b", "/t"))


def test_volumes_are_seen_by_two_containers_at_once(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "writer", "-v", "named:/n")
    hyrun.sh("echo here > /n/file", "-v", "named:/n")
    pid = hyrun.record("writer")["State"]["Pid"]
    assert Path(f"/proc/{pid}/root/n/file").read_text() == "here\n"


@pytest.mark.parametrize(
    ("option", "check", "expected"),
    [
        ("/t", "grep ' /t ' /proc/mounts | cut -d' ' -f3", "tmpfs"),
        ("/t:size=1m", "df -k /t | tail -n 1 | tr -s ' ' | cut -d' ' -f2", "1024"),
        ("/t:mode=0700,uid=1000,gid=50", "stat -c '%a %u %g' /t", "700 1000 50"),
        ("/t", "cp /bin/busybox /t/true && /t/true 2>/dev/null || echo noexec", "noexec"),
        ("/t:exec", "cp /bin/busybox /t/true && /t/true && echo exec", "exec"),
        ("/t:ro", "touch /t/x 2>/dev/null || echo ro", "ro"),
        ("/etc", "ls /etc", "hostname\nhosts\nresolv.conf"),
    ],
)
def test_tmpfs_options_take_effect(hyrun: Hyrun, option: str, check: str, expected: str) -> None:
    assert hyrun.sh(check, "--tmpfs", option) == expected


def test_tmpfs_by_mount_is_listed_and_by_tmpfs_is_not(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "--mount", "type=tmpfs,dst=/m,tmpfs-size=1m", "--tmpfs", "/t", "busybox", "true")
    seen = hyrun.record("one")
    assert [(mount["Type"], mount["Destination"]) for mount in seen["Mounts"]] == [("tmpfs", "/m")]
    assert list(seen["HostConfig"]["Tmpfs"]) == ["/t"]


def test_device_nodes_in_a_volume_cannot_be_opened(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "named")
    os.mknod(hyrun.root / "volumes/named/_data/null", 0o20666, os.makedev(1, 3))
    assert hyrun.sh("cat /n/null 2>/dev/null || echo refused", "-v", "named:/n") == "refused"


def test_mounts_are_inspected_as_docker_shows_them(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "-v", "./b:/b:ro", "-v", "named:/n:nocopy", "busybox", "true")
    volume = str(hyrun.root / "volumes/named/_data")
    assert json.loads(hyrun.out("inspect", "-f", "{{json .Mounts}}", "one")) == [
        {
            "Type": "bind",
            "Source": str(hyrun.cwd / "b"),
            "Destination": "/b",
            "Mode": "ro",
            "RW": False,
            "Propagation": "rprivate",
        },
        {
            "Type": "volume",
            "Name": "named",
            "Source": volume,
            "Destination": "/n",
            "Driver": "local",
            "Mode": "nocopy",
            "RW": True,
            "Propagation": "",
        },
    ]
