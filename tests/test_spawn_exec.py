"""The command: where it is looked for, and why it cannot be executed."""

import errno
from pathlib import Path
from typing import Any

import pytest

from hyrun.errors import SpawnError
from support.rootfs import Box


def check(error: SpawnError, number: int, filename: str, message: str, code: int) -> None:
    found = (error.step, error.errno, error.filename, str(error), error.exit_code)
    assert found == ("exec", number, filename, message, code)


@pytest.mark.parametrize(
    ("env", "path"), [(["PATH=/usr/bin:/bin"], "/usr/bin:/bin"), (["PATH="], ""), ([], ""), (["PATH=::"], "::")]
)
def test_a_command_that_is_nowhere(box: Box, env: list[str], path: str) -> None:
    error = box.refused("nope", env=env)
    check(error, errno.ENOENT, "nope", f"exec nope: not found in the container's PATH ({path})", 127)


def test_without_a_path_nothing_is_found_by_name(box: Box) -> None:
    # Also not in the working directory, which an empty element would mean to a shell.
    error = box.refused("true", env=["PATH=:"], cwd="/bin")
    check(error, errno.ENOENT, "true", "exec true: not found in the container's PATH (:)", 127)


@pytest.mark.parametrize(
    ("command", "number", "words", "code"),
    [
        ("/bin/nope", errno.ENOENT, "No such file or directory", 127),
        ("/etc/hello/nope", errno.ENOTDIR, "Not a directory", 127),
        ("/etc", errno.EACCES, "Permission denied", 126),
        ("/etc/hello", errno.EACCES, "Permission denied", 126),
        ("/bin/plain", errno.ENOEXEC, "Exec format error", 126),
        ("plain", errno.ENOEXEC, "Exec format error", 126),
        ("/bin/empty", errno.ENOEXEC, "Exec format error", 126),
        ("/bin/orphan", errno.ENOENT, "the interpreter or loader that it names is not in the image", 126),
        ("orphan", errno.ENOENT, "the interpreter or loader that it names is not in the image", 126),
        ("./orphan", errno.ENOENT, "the interpreter or loader that it names is not in the image", 126),
    ],
)
def test_a_command_that_cannot_be_executed(box: Box, command: str, number: int, words: str, code: int) -> None:
    box.layer({"bin/plain": "echo no interpreter line\n", "bin/empty": "", "bin/orphan": "#!/nope/sh\n"})
    check(box.refused(command, cwd="/bin"), number, command, f"exec {command}: {words}", code)


def test_an_empty_command(box: Box) -> None:
    error = box.refused("")
    assert (error.step, error.errno, error.exit_code) == ("exec", errno.ENOENT, 127)


@pytest.mark.parametrize(
    "options",
    [
        {"env": ["PATH=/usr/bin:/bin"]},
        {"env": ["PATH=/nowhere:/etc/hello:/bin"]},
        {"env": ["PATH=/root:/bin"], "uid": 1000, "gid": 1000},
        {"env": [f"PATH=/{'n' * 5000}:/bin"]},
        {"env": ["A=1", "PATH=/bin", "B=2"]},
    ],
    ids=["second", "not a directory", "not searchable", "too long", "among others"],
)
def test_a_command_is_found_further_on_in_the_path(box: Box, options: dict[str, Any]) -> None:
    assert box.run("echo", "found", **options) == (0, "found\n", "")


def test_the_first_file_that_can_be_executed_is_taken(box: Box) -> None:
    box.layer({"usr/bin/tool": b"not executable", "bin/tool": "#!/bin/sh\necho bin\n", "home/tool": "#!/bin/sh\n"})
    assert box.run("tool", env=["PATH=/usr/bin:/bin:/home"]) == (0, "bin\n", "")


def test_one_that_may_not_be_executed_is_said_when_there_is_no_other(box: Box) -> None:
    box.layer({"usr/bin/tool": b"not executable"})
    error = box.refused("tool", env=["PATH=/usr/bin:/bin"])
    check(error, errno.EACCES, "tool", "exec tool: Permission denied", 126)


def test_a_relative_command_starts_in_the_working_directory(box: Box) -> None:
    assert box.run("./echo", "here", cwd="/bin", env=[]) == (0, "here\n", "")


def test_arguments_and_environment_arrive_byte_for_byte(box: Box) -> None:
    odd = b"\xff \n'\"".decode(errors="surrogateescape")
    with box.running("echo ready; read x", env=["PATH=/bin", f"ODD={odd}"]) as running:
        environ = Path(f"/proc/{running.process.pid}/environ").read_bytes()
    assert environ == b"PATH=/bin\0ODD=\xff \n'\"\0"
    assert box.run("printf", "%s|", "", "a b", "$HOME", "*") == (0, "|a b|$HOME|*|", "")


def test_the_exit_status_is_the_commands_own(box: Box) -> None:
    assert [box.sh(f"exit {status}").returncode for status in (0, 1, 7, 125, 255)] == [0, 1, 7, 125, 255]
    assert box.sh("kill -9 $$; true").returncode == 0  # pid 1 of a namespace is immune to itself
