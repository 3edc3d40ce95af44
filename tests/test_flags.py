"""The fast parser of `run` agrees with the one that Typer makes of the same table."""

from typing import Any

import pytest
import typer
import typer.main
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyrun.cli import flags
from hyrun.cli.app import app
from hyrun.errors import InvalidArgument

RUN: Any = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]


class Failed(Exception):
    """Typer refuses, or shows help."""


def typed(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return what Typer makes of arguments, in the form of `flags.parse`."""
    try:
        found = dict(RUN.make_context("run", list(arguments)).params)
    except (typer.Exit, typer.TyperException) as error:
        raise Failed from error
    words = list(found.pop("words") or ())
    for flag in flags.RUN:
        if flag.kind == flags.LIST:
            found[flag.field] = list(found[flag.field] or ())
    return found, words


def _both(arguments: list[str]) -> None:
    try:
        fast = flags.parse(arguments)
    except (flags.Unparsed, InvalidArgument):
        with pytest.raises(Failed):
            typed(arguments)
        return
    assert fast == typed(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["image"],
        ["image", "command", "--rm", "-v", "--"],
        ["--rm", "image"],
        ["-v", "/a", "-v", "/b:/c", "image"],
        ["-v/a:/b", "image"],
        ["--volume=/a", "--volume", "/b", "image"],
        ["-e", "A=1", "-eB=2", "-e=C", "--env", "D", "image"][:3],
        ["-ieA=1", "image"],
        ["-i", "-e", "-i", "image"],
        ["--name", "--rm", "image"],
        ["--name=", "image"],
        ["--net", "host", "--network=none", "image"],
        ["--name", "", "image"],
        ["--name=a=b", "image"],
        ["--name", "one", "--name", "two", "image"],
        ["--", "--rm", "image"],
        ["--rm", "--", "-x"],
        ["--", "--", "x"],
        ["-", "x"],
        ["", "x"],
        ["--read-only", "--dry-run", "--rootfs", "/r", "true"],
        ["--env-file", "f", "-w", "/", "-u", "u", "-h", "box", "-l", "a=b", "image"],
        ["--nosuch", "image"],
        ["-x", "image"],
        ["-ix", "image"],
        ["--name"],
        ["-v"],
        ["-iv"],
        ["--help"],
        ["--rm", "--help", "image"],
        ["--na", "x", "image"],
        ["---rm", "image"],
        ["--=x", "image"],
        ["-é", "image"],
    ],
)
def test_both_parsers_agree(arguments: list[str]) -> None:
    _both(arguments)


_NAMES = st.sampled_from([f"--{flag.name}" for flag in flags.RUN] + [f"-{flag.letter}" for flag in flags.RUN])
_LETTERS = "".join(flag.letter for flag in flags.RUN)
_VALUES = st.text("ab=:/,-. é", max_size=4)
_WORDS = st.one_of(
    _NAMES,
    _VALUES,
    # A value that follows at once: of a name with "=", of a letter without (docker drops a "=" there).
    st.builds(
        "--{}={}".format, st.sampled_from([flag.name for flag in flags.RUN if flag.kind != flags.SWITCH]), _VALUES
    ),
    st.builds("-{}{}".format, st.text(_LETTERS, min_size=1, max_size=3), st.sampled_from(["", "/x", "a", "é"])),
    st.sampled_from(["--", "-", "", "image", "--nosuch", "-x", "--help", "--no-rm", "-it", "--rm=x"]),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(_WORDS, max_size=7))
@example(["-ii", "image"])
@example(["-i", "--", "-i"])
def test_both_parsers_agree_on_anything(arguments: list[str]) -> None:
    # What docker has and Typer has not: a "=" behind a letter, and --switch=false.
    if not any(word[:1] == "-" and word[1:2] != "-" and "=" in word for word in arguments):
        _both(arguments)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("--rm=true", True), ("--rm=1", True), ("--rm=false", False), ("--rm=0", False), ("--rm=F", False)],
)
def test_switch_takes_a_boolean(word: str, expected: bool) -> None:
    assert flags.parse(["--rm", word, "image"]) == (flags.parse([])[0] | {"rm": expected}, ["image"])


@pytest.mark.parametrize("word", ["--rm=", "--rm=maybe", "--rm=TRUE "])
def test_switch_takes_nothing_else(word: str) -> None:
    with pytest.raises(InvalidArgument, match="true or false"):
        flags.parse([word, "image"])


@pytest.mark.parametrize(
    ("word", "interactive", "tty"), [("-i=0", False, False), ("-it=false", True, False), ("-ti=true", True, True)]
)
def test_a_letter_takes_a_boolean_as_well(word: str, interactive: bool, tty: bool) -> None:
    values, words = flags.parse([word, "image"])
    assert (values["interactive"], values["tty"], words) == (interactive, tty, ["image"])


def test_equals_behind_a_letter_is_dropped() -> None:
    values, words = flags.parse(["-v=/a:/b", "-e=A=1", "image"])
    assert (values["volume"], values["env"], words) == (["/a:/b"], ["A=1"], ["image"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--privileged", "image"], "--privileged"),
        (["--memory=1g", "image"], "--memory"),
        (["-P", "image"], "-P (--publish-all)"),
        (["-im", "1g", "image"], "-m (--memory)"),
        (["-v", "-P", "-P"], "-P (--publish-all)"),
        (["-v-P", "image", "-P"], None),
        (["image", "-P"], None),
        (["--", "-P"], None),
        (["--name", "--privileged", "image"], None),
        (["--name=x", "--privileged", "image"], "--privileged"),
        (["--nosuch", "--privileged"], None),
        (["-x", "-P"], None),
        ([], None),
    ],
)
def test_flag_of_docker_that_is_missing_is_found(arguments: list[str], expected: str | None) -> None:
    assert flags.unsupported(arguments) == expected


def test_no_flag_is_both_known_and_unsupported() -> None:
    assert not {flag.name for flag in flags.RUN} & flags.UNSUPPORTED
    assert not {flag.letter for flag in flags.RUN} & set(flags.UNSUPPORTED_LETTERS)
    assert set(flags.UNSUPPORTED_LETTERS.values()) <= flags.UNSUPPORTED
