"""`system df|prune|info`, `info`, `version`, and `image prune|tree|diff`: docker's words and columns."""

import json
import os
import re
from pathlib import Path

import pytest

from e2e.command import COMMAND, Hyrun, Template
from e2e.terminal import at_terminal
from hyrun.images import lookup
from hyrun.store import Store
from support.images import docker_archive, tar_bytes


def untag(hyrun: Hyrun, name: str) -> None:
    """Leave an image without a name, as a load of a newer one does."""
    (hyrun.root / f"tags/docker.io%2Flibrary%2F{name}:latest").unlink()


def identifier(hyrun: Hyrun, name: str) -> str:
    return lookup(Store(str(hyrun.root), str(hyrun.run)), name).id


def test_df_has_dockers_columns_and_rows(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "user", "-v", "data:/v", "filled", "sh", "-c", "head -c 100000 /dev/zero > /big")
    header, *rows = hyrun.lines("system", "df")
    assert header.split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    cells = {row[0]: row[1:] for row in (re.split(r"\s{2,}", row) for row in rows)}
    assert list(cells) == ["Images", "Containers", "Local Volumes", "Build Cache"]
    assert cells["Images"][:2] == ["3", "1"]
    assert cells["Containers"][:2] == ["1", "0"]
    assert cells["Containers"][3].endswith("(100%)")
    assert cells["Local Volumes"][:2] == ["2", "2"]


def test_df_counts_a_shared_layer_once(hyrun: Hyrun) -> None:
    sizes = {
        row["Repository"]: row for row in json.loads(hyrun.out("system", "df", "-v", "--format", "json"))["Images"]
    }
    assert sizes["filled"]["SharedSize"] == sizes["busybox"]["Size"]
    assert sizes["busybox"]["UniqueSize"] == "0B"
    assert json.loads(hyrun.lines("system", "df", "--format", "json")[0])["Size"] == sizes["filled"]["Size"]


def test_df_verbose_has_three_tables(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "user", "filled", "true")
    text = hyrun.out("system", "df", "-v")
    for title in ("Images space usage:", "Containers space usage:", "Local Volumes space usage:"):
        assert title in text
    assert "user" in text
    assert re.search(r"REPOSITORY +TAG +IMAGE ID +CREATED +SIZE +SHARED SIZE +UNIQUE SIZE +CONTAINERS", text)


def test_image_prune_takes_images_without_a_name(hyrun: Hyrun) -> None:
    image = identifier(hyrun, "filled")
    untag(hyrun, "filled")
    output = hyrun.out("image", "prune", "--force")
    assert f"deleted: {image}" in output
    assert "Total reclaimed space: 10.2kB" in output
    assert {row.split()[0] for row in hyrun.lines("images")[1:]} == {"busybox", "entry"}
    assert hyrun.out("image", "prune", "-f") == "Total reclaimed space: 0B"


def test_image_prune_all_leaves_what_a_container_uses(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "user", "entry")
    output = hyrun.out("image", "prune", "-a", "-f")
    assert "untagged: busybox:latest" in output
    assert hyrun.lines("images", "--format", "{{.Repository}}") == ["entry"]
    assert hyrun.out("run", "--rm", "entry") == "entrypoint command"


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (("--filter", "label=kind=entry"), {"busybox", "filled"}),
        (("--filter", "label!=kind=entry"), {"entry"}),
        (("--filter", "until=2024-01-01"), {"busybox", "entry", "filled"}),
        (("--filter", "until=24h"), set()),
        (("--filter", "until=1h30m", "--filter", "label=kind"), {"busybox", "filled"}),
    ],
)
def test_image_prune_filters(hyrun: Hyrun, filters: tuple[str, ...], left: set[str]) -> None:
    hyrun("image", "prune", "-a", "-f", *filters)
    assert set(hyrun.lines("images", "--format", "{{.Repository}}")) == left


@pytest.mark.parametrize("command", ["image", "system"])
@pytest.mark.parametrize("answer", ["", "n\n", "yo\n", "\n", "\udcff\n", "n\ny\n"])
def test_prune_reads_its_answer_from_any_stdin(hyrun: Hyrun, command: str, answer: str) -> None:
    before = hyrun.tree()
    result = hyrun(command, "prune", "-a", input=answer, errors="surrogateescape")
    assert result.stdout == ""
    assert result.stderr.startswith("WARNING! ")
    assert "Are you sure you want to continue? [y/N] " in result.stderr
    assert ("--force" in result.stderr) == (not answer)
    assert hyrun.tree() == before


@pytest.mark.parametrize("answer", ["y\n", "YES\n", "y"])
def test_who_says_yes_through_a_pipe_has_it_done(hyrun: Hyrun, answer: str) -> None:
    assert "untagged: busybox:latest" in hyrun.out("image", "prune", "-a", input=answer)
    assert hyrun.lines("images", "-q") == []


def test_prune_with_a_closed_stdin_removes_nothing(hyrun: Hyrun) -> None:
    hyrun("image", "prune", "-a", command=("sh", "-c", 'exec "$@" <&-', "sh", *COMMAND))
    assert len(hyrun.lines("images", "-q")) == 3


@pytest.mark.parametrize("command", ["system", "image", "container", "volume"])
def test_who_says_no_to_prune_gets_what_was_asked_for(hyrun: Hyrun, command: str) -> None:
    hyrun("run", "--name", "ended", "-v", "named:/v", "busybox", "true")
    before = hyrun.tree()
    with at_terminal(command, "prune", "-a" if command in ("image", "volume") else "--filter=until=1s") as terminal:
        terminal.expect("WARNING")
        terminal.expect("continue")
        terminal.type("n\n")
        assert terminal.wait() == 0
    assert hyrun.tree() == before


def test_system_prune(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "ended", "-v", "/data", "-v", "named:/v", "busybox", "true")
    hyrun.sleeper("--name", "running")
    untag(hyrun, "filled")
    output = hyrun.out("system", "prune", "-f")
    assert re.search(r"Deleted Containers:\n[0-9a-f]{64}\n\nDeleted Images:\n", output)
    assert hyrun.lines("ps", "-a", "--format", "{{.Names}}") == ["running"]
    assert hyrun.lines("images", "--format", "{{.Repository}}") == ["entry", "busybox"]
    assert len(hyrun.lines("volume", "ls", "-q")) == 2
    assert re.search(r"Deleted Volumes:\n[0-9a-f]{64}\n", hyrun.out("system", "prune", "-f", "--volumes"))
    assert hyrun.lines("volume", "ls", "-q") == ["named"]
    hyrun("system", "prune", "-a", "-f")
    assert hyrun.lines("images", "--format", "{{.Repository}}") == ["busybox"]


def test_system_prune_filters(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "--label", "a=b", "busybox", "true")
    hyrun("run", "--name", "two", "busybox", "true")
    hyrun("system", "prune", "-f", "--filter", "until=1h")
    assert len(hyrun.lines("ps", "-aq")) == 2
    hyrun("system", "prune", "-f", "--filter", "label=a")
    assert hyrun.lines("ps", "-a", "--format", "{{.Names}}") == ["two"]
    assert "until" in hyrun.refused("system", "prune", "-f", "--volumes", "--filter", "until=1h", code=1)
    hyrun.refused("system", "prune", "-f", "--filter", "colour=red", code=1)


def test_info_has_dockers_fields(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "ended", "busybox", "true")
    assert hyrun.out("info", "--format", "{{.Containers}} {{.ContainersStopped}} {{.Images}}") == "1 1 3"
    assert hyrun.out("system", "info", "-f", "{{.DockerRootDir}} {{.Driver}}") == f"{hyrun.root} overlay2"
    assert f"Kernel Version: {os.uname().release}" in hyrun.lines("info")


def test_version_has_both_halves(hyrun: Hyrun) -> None:
    number = hyrun.out("--version").split()[1]
    assert hyrun.out("version", "--format", "{{.Client.Version}} {{.Server.Version}}") == f"{number} {number}"
    assert hyrun.out("version").startswith("Client:\n Version:")


def test_image_tree_shows_shared_layers(hyrun: Hyrun) -> None:
    first, *others = hyrun.lines("image", "tree")
    assert re.fullmatch(r"[0-9a-f]{12} \S+B  (busybox:latest, entry:latest|entry:latest, busybox:latest)", first)
    (last,) = others
    assert re.fullmatch(r"└─ [0-9a-f]{12} 10.2kB  filled:latest", last)
    (root,) = json.loads(hyrun.out("image", "tree", "--format", "json"))
    assert [child["Images"] for child in root["Children"]] == [["filled:latest"]]


def test_image_diff(hyrun: Hyrun, template: Template) -> None:
    assert hyrun.out("image", "diff", "busybox", "entry") == ""
    assert hyrun.lines("image", "diff", "busybox", "filled") == [
        "A /data",
        "A /data/file",
        "A /data/hard",
        "A /data/soft",
        "A /data/sub",
        "A /data/sub/deep",
        "A /empty",
    ]
    assert hyrun.lines("image", "diff", "filled", "busybox")[0] == "D /data"
    upper = tar_bytes([("etc", None), ("etc/hello", b"changed\n"), ("etc/.wh.passwd", b"")])
    docker_archive(hyrun.cwd / "c.tar", [template.rootfs.read_bytes(), upper], {}, ["changed"])
    hyrun("load", "-i", "c.tar")
    assert hyrun.lines("image", "diff", "busybox", "changed") == ["C /etc/hello", "D /etc/passwd"]
    assert json.loads(hyrun.lines("image", "diff", "--format", "json", "busybox", "changed")[0])["Kind"] == "C"
    hyrun.refused("image", "diff", "busybox", "host", code=1)


def test_an_image_is_found_by_the_digest_that_images_shows(hyrun: Hyrun) -> None:
    digest = hyrun.out("images", "--digests", "--format", "{{.Digest}}", "filled")
    for word in (digest, digest[7:], f"filled@{digest}"):
        assert hyrun.out("image", "inspect", "-f", "{{.Id}}", word) == identifier(hyrun, "filled")
    assert hyrun.out("run", "--rm", digest, "cat", "/data/file") == "from the image"
    hyrun("rmi", digest)
    assert "filled" not in hyrun.out("images")


def test_one_damaged_image_does_not_hide_the_others(hyrun: Hyrun) -> None:
    Path(hyrun.root / f"images/{identifier(hyrun, 'filled')[7:]}.json").write_text("{")
    result = hyrun("images", "--format", "{{.Repository}}")
    assert set(result.stdout.split()) == {"busybox", "entry"}
    assert "damaged" in result.stderr
    hyrun("system", "df")
    assert "damaged" in hyrun.out("info", "--format", "{{json .Warnings}}")


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (("--filter", "dangling=true"), []),
        (("--filter", "reference=*box"), ["busybox"]),
        (("--filter", "label=kind=entry"), ["entry"]),
        (("--filter", "before=filled"), []),
        (("--filter", "since=filled"), []),
        (("-a", "busybox"), ["busybox"]),
    ],
)
def test_image_ls_filters(hyrun: Hyrun, flags: tuple[str, ...], names: list[str]) -> None:
    assert hyrun.lines("image", "ls", "--format", "{{.Repository}}", *flags) == names
    assert hyrun.lines("image", "list", "--format", "{{.Repository}}", *flags) == names


@pytest.mark.parametrize(
    "command", [("df",), ("prune",), ("check",), ("info",), ("image", "prune"), ("image", "diff"), ("image", "tree")]
)
def test_every_command_has_help_with_an_example(hyrun: Hyrun, command: tuple[str, ...]) -> None:
    assert "Example: hyrun" in hyrun.out(*(command if command[0] == "image" else ("system", *command)), "--help")


@pytest.mark.parametrize("command", ["system", "image"])
def test_prune_takes_interrupted_downloads(hyrun: Hyrun, command: str) -> None:
    directory = hyrun.root / "partial"
    directory.mkdir(mode=0o700)
    (directory / ("a" * 64)).write_bytes(bytes(2000))
    for flags in (("--filter", "until=1h"), ("--filter", "label=x")):
        assert hyrun.lines(command, "prune", "--force", *flags)[-1] == "Total reclaimed space: 0B"
        assert hyrun.left("partial") == {"a" * 64}
    assert hyrun.lines(command, "prune", "--force")[-1] == "Total reclaimed space: 2kB"
    assert hyrun.left("partial") == set()
