"""`events`: what the commands of the life of a container leave there."""

import json
import signal
import time
from pathlib import Path

import pytest

from e2e.command import PATIENCE, Hyrun, until


def past(hyrun: Hyrun, *flags: str) -> list[str]:
    return hyrun.lines("events", "--since", "0", "--until", "0s", *flags)


def test_line_is_as_dockers(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "-l", "job=ci", "busybox", "true")
    identifier = hyrun.record("one")["Id"]
    hyrun("rename", "one", "two")
    (line,) = past(hyrun, "--filter", "event=rename")
    moment, text = line.split(" ", 1)
    assert text == f"container rename {identifier} (image=busybox, job=ci, name=two, oldName=/one)"
    assert len(moment.removesuffix("Z")) >= 29


def test_commands_are_told_in_their_order(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "one")
    hyrun("kill", "-s", "HUP", "one")
    hyrun("stop", "-t", "0", "one")
    hyrun("rm", "one")
    form = ("--format", '{{.Action}} {{index .Actor.Attributes "signal"}}', "--filter", "event=kill")
    assert past(hyrun, *form) == ["kill 1", "kill 15", "kill 9"]
    names = past(hyrun, "--filter", "container=one", "--format", "{{.Status}}")
    assert [name for name in names if name in ("kill", "stop", "destroy")] == ["kill"] * 3 + ["stop", "destroy"]


def test_json_has_dockers_members(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    hyrun("rm", "one")
    for form in ("json", "{{json .}}"):
        (line,) = past(hyrun, "--filter", "event=destroy", "--format", form)
        event = json.loads(line)
        assert (event["status"], event["Type"], event["Action"], event["from"]) == (
            "destroy", "container", "destroy", "busybox",
        )  # fmt: skip
        assert event["id"] == event["Actor"]["ID"]
        assert abs(event["time"] - time.time()) < 3600


def test_it_goes_on_until_it_is_interrupted(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    process = hyrun.start("events", "--filter", "event=rename", "--format", "{{.Actor.Attributes.name}}")
    # It has opened what is there before the next happens.
    until(lambda: _waits(process.pid), "it waits")
    hyrun("rename", "one", "two")
    assert process.stdout is not None
    assert process.stdout.readline() == "two\n"
    hyrun("rename", "two", "three")
    assert process.stdout.readline() == "three\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130


def test_it_ends_when_its_reader_goes(hyrun: Hyrun) -> None:
    process = hyrun.start("events")
    until(lambda: _waits(process.pid), "it waits")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(PATIENCE) == 141


def test_it_ends_at_until(hyrun: Hyrun) -> None:
    assert hyrun("events", "--until", "-300ms").stdout == ""


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--since", "soon"), "--since"),
        (("--until", "x"), "--until"),
        (("--since", "0s", "--until", "1h"), "after"),
        (("--filter", "bad=x"), "bad"),
        (("--format", "table {{.ID}}"), "table"),
    ],
)
def test_mistakes_are_named(hyrun: Hyrun, flags: tuple[str, ...], word: str) -> None:
    assert word in hyrun.refused("events", *flags, code=1)


def _waits(pid: int) -> bool:
    """Tell whether a process watches the run directory and sleeps: it has read what was there then."""
    try:
        watched = any(str(entry.readlink()).endswith("hyrun-run") for entry in Path(f"/proc/{pid}/fd").iterdir())
        return watched and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    except OSError:
        return False
