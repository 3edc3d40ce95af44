"""What is refused at the command line, how, and what help says."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from e2e.command import COMMAND, Hyrun
from hyrun.cli.app import app


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--privileged"], "--privileged"),
        (["-p", "80:80"], "--publish"),
        (["-p80:80"], "--publish"),
        (["-P"], "--publish-all"),
        (["--memory", "1g"], "--memory"),
        (["--memory=1g"], "--memory"),
        (["-m", "1g"], "--memory"),
        (["--cpus", "2"], "--cpus"),
        (["--gpus", "all"], "--gpus"),
        (["--net", "host", "--dns", "1.1.1.1"], "--dns"),
        (["--cap-add", "NET_ADMIN"], "--cap-add"),
        (["--device", "/dev/kvm"], "--device"),
        (["--security-opt", "x"], "--security-opt"),
        (["--shm-size", "1g"], "--shm-size"),
        (["--ulimit", "x"], "--ulimit"),
        (["--volumes-from", "x"], "--volumes-from"),
        (["--rm", "-v", "/a:/b", "--name", "x1", "--pid", "host"], "--pid"),
        (["-e", "-P", "-P"], "--publish-all"),
    ],
)
def test_docker_flag_without_support_is_refused_by_name(hyrun: Hyrun, flags: list[str], name: str) -> None:
    before = hyrun.tree()
    message = hyrun.refused("run", *flags, "busybox", "true")
    assert name in message
    assert "not supported" in message
    assert hyrun.tree() == before


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["rm", "-l", "x"], "-l of rm"),
        (["container", "rm", "--link", "x"], "--link of container rm"),
        (["logs", "--details", "x"], "--details of logs"),
        (["start", "--checkpoint=x", "x"], "--checkpoint of start"),
        (["volume", "create", "-o", "type=nfs"], "-o of volume create"),
        (["volume", "create", "--driver", "nfs"], "--driver nfs of volume create"),
        (["container", "exec", "--privileged", "x", "sh"], "--privileged of container exec"),
        (["create", "--gpus", "all", "busybox"], "--gpus of create"),
    ],
)
def test_flags_of_other_commands_are_refused_by_name_too(hyrun: Hyrun, arguments: list[str], name: str) -> None:
    message = hyrun.refused(*arguments, code=125)
    assert f"docker's flag {name} is not supported" in message


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["build", "-t", "x", "."], "build"),
        (["--debug", "compose", "up"], "compose"),
        (["image", "build", "."], "image build"),
        (["network", "ls"], "network"),
        (["search", "busybox"], "search"),
        (["update", "--memory", "1g", "x"], "update"),
        (["container", "update", "x"], "container update"),
    ],
)
def test_commands_of_docker_that_are_not_here_are_refused_by_name(
    hyrun: Hyrun, arguments: list[str], name: str
) -> None:
    message = hyrun.refused(*arguments, code=125)
    assert f"docker's command {name} is not supported by hyrun: " in message


@pytest.mark.parametrize(
    ("arguments", "same"),
    [
        (["container", "remove", "nosuch"], ["rm", "nosuch"]),
        (["image", "remove", "nosuch"], ["rmi", "nosuch"]),
        (["system", "events", "--until", "nosuch"], ["events", "--until", "nosuch"]),
    ],
)
def test_dockers_other_names_of_commands_are_known(hyrun: Hyrun, arguments: list[str], same: list[str]) -> None:
    assert hyrun.refused(*arguments, code=1) == hyrun.refused(*same, code=1)


def test_flags_behind_two_dashes_are_names(hyrun: Hyrun) -> None:
    assert "no such container: -l" in hyrun.refused("rm", "--", "-l", code=1)


def test_debug_shows_where_and_changes_no_exit_status(hyrun: Hyrun) -> None:
    command = [*COMMAND, "--debug", "run", "--pull", "never", "nosuch"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=hyrun.cwd)
    assert result.returncode == 125
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("hyrun: no image nosuch")
    hyrun("--debug", "rm", "nosuch", code=1)


@pytest.mark.parametrize("path", [[], ["volume"], ["container"]])
def test_a_group_without_a_command_shows_its_help_and_nothing_else(hyrun: Hyrun, path: list[str]) -> None:
    result = hyrun(*path, code=125)
    assert "Usage: hyrun" in result.stdout
    assert result.stderr == ""


def test_network_has_dockers_short_name(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "--net", "host", "busybox", "hostname") == os.uname().nodename


def test_flags_of_the_command_inside_are_not_ours(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "busybox", "echo", "--privileged", "-it") == "--privileged -it"


@pytest.mark.parametrize(("flag", "hint"), [("--nam", "--name"), ("--volumes", "--volume"), ("--wrkdir", "--workdir")])
def test_unknown_flag_is_125_with_a_hint(hyrun: Hyrun, flag: str, hint: str) -> None:
    result = hyrun("run", flag, "x", "busybox", "true", code=125)
    assert flag in result.stderr
    assert hint in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["run", "-z"], ["run", "--name"], ["run", "-v"], ["run", "--rm=maybe", "x"]])
def test_flag_that_cannot_be_read_is_125(hyrun: Hyrun, arguments: list[str]) -> None:
    result = hyrun(*arguments, code=125)
    assert result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["ps", "--nosuch"], ["rm"], ["volume", "nosuch"], ["--nosuch"], ["ps", "-a=maybe"]]
)
def test_other_usage_errors_are_one_line_and_125_as_well(hyrun: Hyrun, arguments: list[str]) -> None:
    assert hyrun.refused(*arguments, code=125)


def _commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    command = command or typer.main.get_command(app)
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*path, name))


@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(path) or "hyrun") for path in _commands()])
def test_help_has_an_example_and_succeeds(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"], prog_name="hyrun")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "hyrun" in result.stdout
    assert result.stderr == ""


def test_help_of_run_names_every_flag(hyrun: Hyrun) -> None:
    from hyrun.cli.flags import RUN

    shown = hyrun.out("run", "--help")
    assert [flag.name for flag in RUN if f"--{flag.name}" not in shown] == []


def test_h_of_run_is_the_hostname_and_no_help(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "-h", "box", "busybox", "hostname") == "box"


def test_version_is_one_line(hyrun: Hyrun) -> None:
    from hyrun import __version__

    for arguments in (["--version"], ["-v"], ["--debug", "-v"]):
        assert hyrun.out(*arguments) == f"hyrun {__version__}"


@pytest.mark.parametrize("path", [[], ["run"], ["volume", "create"]])
def test_help_is_a_command_as_well(hyrun: Hyrun, path: list[str]) -> None:
    assert hyrun.out("help", *path) == hyrun.out(*path, "--help")


def test_help_and_version_make_no_store(hyrun: Hyrun) -> None:
    root = hyrun.cwd / "none"
    for arguments in (["--help"], ["--version"], ["run", "--help"], ["ps", "--help"]):
        hyrun(*arguments, env={"HYRUN_ROOT": str(root)})
    assert not root.exists()


def test_a_working_directory_that_is_gone_is_said_to_be(hyrun: Hyrun) -> None:
    for place, arguments in (("", "run --rm -v ./a:/a busybox true"), ("relative", "ps")):
        script = f"mkdir gone && cd gone && rmdir ../gone && exec {' '.join(COMMAND)} {arguments}"
        environment = {**os.environ, "HYRUN_ROOT": place or str(hyrun.root), "HYRUN_RUN": str(hyrun.run)}
        result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=hyrun.cwd, env=environment)
        assert result.stderr == "hyrun: the working directory has been removed: cd to one that is there\n"
        assert result.returncode


def test_store_that_cannot_be_made_is_one_line(hyrun: Hyrun) -> None:
    (hyrun.cwd / "file").write_text("")
    place = {"HYRUN_ROOT": str(hyrun.cwd / "file/store")}
    assert "--root" in hyrun.refused("run", "--rm", "busybox", "true", env=place)
    hyrun.refused("ps", code=1, env=place)
