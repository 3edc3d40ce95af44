"""`hyrun run`: what each option does inside."""

import os
from pathlib import Path

import pytest

from e2e.command import Hyrun


def test_env_sets_a_variable(hyrun: Hyrun) -> None:
    assert hyrun.sh("echo $A $B", "-e", "A=1", "--env=B=x=y") == "1 x=y"


def test_env_name_alone_passes_the_callers_value_on(hyrun: Hyrun) -> None:
    assert hyrun.sh("echo $A", "-e", "A", env={"A": "mine"}) == "mine"


def test_env_name_alone_that_the_caller_lacks_takes_the_images_away(hyrun: Hyrun) -> None:
    arguments = ("run", "--rm", "--entrypoint", "env", "-e", "COLOUR", "entry")
    assert not any(line.startswith("COLOUR") for line in hyrun.lines(*arguments))


def test_environment_of_the_caller_does_not_leak(hyrun: Hyrun) -> None:
    names = {line.partition("=")[0] for line in hyrun.lines("run", "--rm", "busybox", "env", env={"SECRET": "x"})}
    assert names == {"PATH", "HOSTNAME", "HOME"}


def test_env_overrides_the_images(hyrun: Hyrun) -> None:
    lines = hyrun.lines("run", "--rm", "--entrypoint", "env", "-e", "COLOUR=red", "entry")
    assert "COLOUR=red" in lines
    assert "SIZE=small" in lines


@pytest.mark.parametrize("text", ["=x", ""])
def test_env_without_a_name_is_refused(hyrun: Hyrun, text: str) -> None:
    hyrun.refused("run", "--rm", "-e", text, "busybox", "true")


def test_env_file_has_comments_empty_lines_and_names_alone(hyrun: Hyrun) -> None:
    (hyrun.cwd / "file").write_text('# comment\n\n  A=1\nB="quoted" # kept\nC\nNOT_MINE\n')
    lines = hyrun.lines("run", "--rm", "--env-file", "file", "busybox", "env", env={"C": "mine"})
    assert {"A=1", 'B="quoted" # kept', "C=mine"} <= set(lines)
    assert not any(line.startswith(("NOT_MINE", "#")) for line in lines)


def test_env_option_wins_over_env_file(hyrun: Hyrun) -> None:
    (hyrun.cwd / "file").write_text("A=file\nB=file\n")
    assert hyrun.sh("echo $A $B", "-e", "A=option", "--env-file", "file") == "option file"


def test_bad_line_of_an_env_file_is_refused_with_its_number(hyrun: Hyrun) -> None:
    (hyrun.cwd / "file").write_text("A=1\nB AD=2\n")
    assert "file, line 2" in hyrun.refused("run", "--rm", "--env-file", "file", "busybox", "true")


def test_missing_env_file_is_refused(hyrun: Hyrun) -> None:
    assert "nosuch" in hyrun.refused("run", "--rm", "--env-file", "nosuch", "busybox", "true")


def test_workdir_is_the_current_directory(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "-w", "/tmp", "busybox", "pwd") == "/tmp"


def test_workdir_is_made_if_it_is_missing(hyrun: Hyrun) -> None:
    assert hyrun.sh("pwd; stat -c '%a %u:%g' . ..", "-w", "/new/deep") == "/new/deep\n755 0:0\n755 0:0"


def test_workdir_must_be_absolute(hyrun: Hyrun) -> None:
    assert "must be absolute" in hyrun.refused("run", "--rm", "-w", "tmp", "busybox", "pwd")


def test_workdir_that_is_a_file_is_refused(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    hyrun.refused("run", "-w", "/etc/passwd", "busybox", "pwd")
    assert hyrun.tree() == before


def test_workdir_of_the_image_is_used(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "--entrypoint", "pwd", "entry") == "/home/app"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("app", "1000 1000 1000 50"),
        ("1000", "1000 1000 1000 50"),
        ("app:staff", "1000 50 50"),
        ("app:0", "1000 0 0"),
        ("1234", "1234 0 0"),
        ("1234:5678", "1234 5678 5678"),
        ("0:50", "0 50 50"),
        ("root", "0 0 0"),
        ("", "0 0 0"),
    ],
)
def test_user_is_looked_up_in_the_image(hyrun: Hyrun, user: str, expected: str) -> None:
    assert hyrun.sh("echo $(id -u) $(id -g) $(id -G)", f"--user={user}") == expected


@pytest.mark.parametrize("user", ["nosuch", "app:nosuch", ":", "-1", "4294967296", "app:staff:x"])
def test_unknown_user_is_refused_and_leaves_nothing(hyrun: Hyrun, user: str) -> None:
    before = hyrun.tree()
    hyrun.refused("run", f"--user={user}", "busybox", "id")
    assert hyrun.tree() == before


def test_user_of_the_image_is_used_and_overridden(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "--entrypoint", "whoami", "entry") == "app"
    assert hyrun.out("run", "--rm", "-u", "0", "--entrypoint", "whoami", "entry") == "root"


def test_home_is_the_users(hyrun: Hyrun) -> None:
    assert hyrun.sh("echo $HOME", "-u", "app") == "/home/app"
    assert hyrun.sh("echo $HOME") == "/root"
    assert hyrun.sh("echo $HOME", "-e", "HOME=/x") == "/x"


def test_hostname_is_set_everywhere(hyrun: Hyrun) -> None:
    script = "hostname; cat /etc/hostname; echo $HOSTNAME; grep -c box /etc/hosts"
    assert hyrun.sh(script, "-h", "box") == "box\nbox\nbox\n1"


def test_hostname_is_the_beginning_of_the_id(hyrun: Hyrun) -> None:
    shown = hyrun.out("run", "--cidfile", "id", "busybox", "hostname")
    assert shown == (hyrun.cwd / "id").read_text()[:12]


@pytest.mark.parametrize("name", ["", "a b", "x" * 64, "a/b", "ü"])
def test_bad_hostname_is_refused(hyrun: Hyrun, name: str) -> None:
    before = hyrun.tree()
    hyrun.refused("run", f"--hostname={name}", "busybox", "true")
    assert hyrun.tree() == before


def test_host_keeps_its_hostname(hyrun: Hyrun) -> None:
    before = os.uname().nodename
    hyrun("run", "--rm", "-h", "box", "busybox", "hostname")
    assert os.uname().nodename == before


def test_entrypoint_of_the_image_gets_the_images_command(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "entry") == "entrypoint command"


def test_arguments_replace_the_images_command_only(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "entry", "a", "b") == "entrypoint a b"


def test_entrypoint_option_drops_the_images_command(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "--entrypoint", "echo", "entry") == ""


def test_entrypoint_option_gets_the_arguments(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "--entrypoint", "printf", "entry", "%s-", "a", "b") == "a-b-"


def test_empty_entrypoint_clears_the_images(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "--entrypoint", "", "entry", "echo", "x") == "x"
    assert hyrun.out("run", "--rm", "--entrypoint=", "entry", "echo", "x") == "x"


def test_empty_entrypoint_without_a_command_is_refused(hyrun: Hyrun) -> None:
    assert "no command" in hyrun.refused("run", "--rm", "--entrypoint", "", "entry")


def test_read_only_root_refuses_writes(hyrun: Hyrun) -> None:
    assert "Read-only file system" in hyrun.sh("touch /x 2>&1 || true", "--read-only")


def test_read_only_root_still_has_its_mount_points_and_writable_volumes(hyrun: Hyrun) -> None:
    flags = ("--read-only", "-v", "/data", "--tmpfs", "/scratch", "-v", "./here:/bound")
    assert hyrun.sh("touch /data/x /scratch/x /bound/x /dev/shm/x && echo done", *flags) == "done"


def test_label_is_recorded_and_added_to_the_images(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "labelled", "-l", "a=1", "--label", "b", "--label=level=2", "entry")
    assert hyrun.record("labelled")["Config"]["Labels"] == {"kind": "entry", "level": "2", "a": "1", "b": ""}


def test_label_without_a_name_is_refused(hyrun: Hyrun) -> None:
    hyrun.refused("run", "--label", "=x", "busybox", "true")


def test_network_none_is_a_namespace_of_its_own_with_lo_only(hyrun: Hyrun) -> None:
    script = "readlink /proc/self/ns/net; grep -c : /proc/net/dev; cat /sys/class/net/lo/flags"
    namespace, count, flags = hyrun.sh(script, "--network", "none").splitlines()
    assert namespace != os.readlink("/proc/self/ns/net")
    assert count == "1"
    assert int(flags, 16) & 1, "lo is not up"


def test_network_host_is_the_callers_namespace(hyrun: Hyrun) -> None:
    assert hyrun.sh("readlink /proc/self/ns/net", "--network", "host") == os.readlink("/proc/self/ns/net")


def test_network_host_has_the_hosts_name_and_resolver(hyrun: Hyrun) -> None:
    assert hyrun.sh("hostname; cat /etc/resolv.conf", "--network=host").splitlines() == [
        os.uname().nodename,
        *Path("/etc/resolv.conf").read_text().splitlines(),
    ]


@pytest.mark.parametrize("network", ["bridge", "container:x", "mine"])
def test_other_networks_are_refused_by_name(hyrun: Hyrun, network: str) -> None:
    before = hyrun.tree()
    message = hyrun.refused("run", "--network", network, "busybox", "true")
    assert repr(network) in message
    assert hyrun.tree() == before


def test_letters_combine_and_take_their_value_at_once(hyrun: Hyrun) -> None:
    assert hyrun.sh("cat; echo $A", "-ieA=1", input="x") == "x1"
    assert hyrun.out("run", "--rm", "-w/tmp", "busybox", "pwd") == "/tmp"


def test_switch_with_false_is_off(hyrun: Hyrun) -> None:
    hyrun("run", "--rm=false", "--name", "kept", "busybox", "true")
    assert hyrun.record("kept")["HostConfig"]["AutoRemove"] is False


def test_last_of_a_repeated_option_counts(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "-w", "/", "-w", "/tmp", "busybox", "pwd") == "/tmp"
