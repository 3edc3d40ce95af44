"""`events`: what happens to images and volumes, by commands and by functions."""

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.command import Hyrun, Template
from hyrun import volumes
from hyrun.store import Store

FORM = '{{.Action}} {{.Actor.ID}} {{index .Actor.Attributes "name"}}'


def past(hyrun: Hyrun, kind: str, *flags: str) -> list[str]:
    form = FORM if kind == "image" else "{{.Action}} {{.Actor.ID}}"
    return hyrun.lines("events", "--since", "0", "--until", "0s", "--filter", f"type={kind}", "--format", form, *flags)


@pytest.fixture
def image(hyrun: Hyrun) -> str:
    """The id of an image."""
    identifier: str = hyrun.inspect("busybox")["Id"]
    return identifier


def test_names_come_and_go(hyrun: Hyrun, image: str) -> None:
    hyrun("tag", "busybox", "other:1")
    hyrun("rmi", "other:1")
    hyrun("rmi", "busybox")
    assert past(hyrun, "image") == [
        f"tag {image} other:1",
        f"untag {image} other:1",
        f"untag {image} busybox:latest",
        f"delete {image} {image}",
    ]
    assert past(hyrun, "image", "--filter", "image=busybox") == [f"untag {image} busybox:latest"]
    assert past(hyrun, "image", "--filter", "event=delete") == [f"delete {image} {image}"]
    assert len(past(hyrun, "image", "--filter", f"image={image}")) == 4


def test_archives(hyrun: Hyrun, image: str) -> None:
    hyrun("save", "-o", "out.tar", "busybox")
    hyrun("load", "-i", "out.tar")
    hyrun("create", "--name", "one", "busybox")
    hyrun("export", "-o", "root.tar", "one")
    new = hyrun.out("import", "-c", "LABEL job=ci", "root.tar", "mine")
    bare = hyrun.out("import", "root.tar")
    assert past(hyrun, "image") == [
        f"save {image} busybox:latest",
        f"load {image} busybox:latest",
        f"tag {new} mine:latest",
        f"import {new} mine:latest",
        f"import {bare} {bare}",
    ]
    assert past(hyrun, "image", "--filter", "label=job=ci") == [f"tag {new} mine:latest", f"import {new} mine:latest"]


def test_what_failed_is_not_told(hyrun: Hyrun, template: Template) -> None:
    hyrun("create", "--name", "one", "busybox")
    hyrun("rmi", "busybox", code=1)
    hyrun("save", "-o", "out.tar", "missing", code=1)
    (hyrun.cwd / "bad.tar").write_bytes(template.archive.read_bytes()[:-100_000])
    hyrun("load", "-i", "bad.tar", code=1)
    assert past(hyrun, "image") == []


def test_commit_is_told_of_the_container_and_its_name_of_the_image(hyrun: Hyrun) -> None:
    hyrun("create", "--name", "one", "busybox")
    made = hyrun.out("commit", "-m", "done", "one", "two:2")
    (line,) = hyrun.lines("events", "--since", "0", "--until", "0s", "--filter", "event=commit", "--format", "json")
    event: dict[str, Any] = json.loads(line)
    assert (event["Type"], event["Actor"]["ID"]) == ("container", hyrun.record("one")["Id"])
    assert (
        event["Actor"]["Attributes"] | {"comment": "done", "imageID": made, "imageRef": "two:2", "name": "one"}
        == (event["Actor"]["Attributes"])
    )
    assert past(hyrun, "image") == [f"tag {made} two:2"]


def test_prune_tells_of_each_image(hyrun: Hyrun, image: str) -> None:
    hyrun("image", "prune", "-a", "-f")
    lines = past(hyrun, "image", "--filter", f"image={image}")
    assert lines == [f"untag {image} busybox:latest", f"delete {image} {image}"]
    assert past(hyrun, "image", "--filter", "event=prune")


def test_volumes_are_told_by_whoever_makes_them(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "data")
    hyrun("volume", "create", "data")  # it is there
    hyrun("run", "--rm", "-v", "/anonymous", "-v", "data:/data", "-v", "named:/named", "busybox", "true")
    hyrun("volume", "rm", "data")
    lines = past(hyrun, "volume")
    anonymous = {line.split()[1] for line in lines} - {"data", "named"}
    (name,) = anonymous
    assert sorted(lines) == sorted(
        ["create data", "create named", f"create {name}", f"destroy {name}", "destroy data"]
    )  # fmt: skip
    assert lines[-1] == "destroy data"
    assert past(hyrun, "volume", "--filter", "volume=data") == ["create data", "destroy data"]
    assert past(hyrun, "volume", "--filter", "event=destroy", "--filter", f"volume={name}") == [f"destroy {name}"]


def test_volumes_of_a_removed_container(hyrun: Hyrun) -> None:
    hyrun("create", "--name", "one", "-v", "/anonymous", "busybox")
    hyrun("rm", "-v", "one")
    hyrun("create", "--name", "two", "-v", "/anonymous", "busybox")
    hyrun("rm", "two")
    assert [line.split()[0] for line in past(hyrun, "volume")] == ["create", "destroy", "create"]
    hyrun("volume", "prune", "-f")
    assert [line.split()[0] for line in past(hyrun, "volume")][3:] == ["destroy", "prune"]


def test_functions_tell_as_commands_do(hyrun: Hyrun, tmp_path: Path) -> None:
    store = Store(str(hyrun.root), str(hyrun.run))
    volumes.create(store, "mine")
    volumes.remove(store, "mine")
    assert past(hyrun, "volume") == ["create mine", "destroy mine"]
