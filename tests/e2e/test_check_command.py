"""`system check`: each kind of damage is found, mended as far as that needs no network, and healed by a re-load."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.command import Hyrun, Template
from e2e.damage import OTHERS, PODMANS, Damaged, flip
from hyrun import container_directory, container_list
from hyrun.check.checking import check
from hyrun.store import Store


@pytest.fixture
def damaged(hyrun: Hyrun, template: Template) -> Damaged:
    return Damaged(hyrun, template)


def test_a_store_without_damage_says_so(damaged: Damaged) -> None:
    result = damaged.hyrun("system", "check")
    assert (result.stdout, result.stderr) == ("", "No damage was found.\n")


@pytest.mark.parametrize("damage", [*PODMANS, *OTHERS])
def test_damage_is_found_and_a_reload_heals_it(damaged: Damaged, damage: str) -> None:
    hurt, kind = (PODMANS | OTHERS)[damage]
    hurt(damaged)
    report = check(damaged.store)
    assert kind in {finding.kind for finding in report.findings}
    assert report.healthy == all(finding.harmless for finding in report.findings)
    found = next(finding for finding in report.findings if finding.kind == kind)
    if kind.startswith(("layer-d", "layer-m", "blob-", "image-")) and damage != "a container's image is missing":
        assert "filled:latest" in found.images
    repaired = check(damaged.store, repair=True)
    assert all(finding.done or finding.advice for finding in repaired.findings)
    damaged.load()
    again = check(damaged.store, repair=True)
    assert all(finding.healed for finding in again.findings), [finding.view() for finding in again.findings]
    assert check(damaged.store).findings == []
    assert damaged.hyrun.out("run", "--rm", "filled", "cat", "/data/file") == "from the image"
    # The container is there with its layers at their old paths, and with what it wrote unless just that was lost.
    assert all(map(os.path.isdir, damaged.hyrun.record("kept")["GraphDriver"]["Data"]["LowerDir"].split(":")))
    if kind != "container-upper":
        assert (damaged.container / "upper/mine").read_text() == "mine\n"
    if kind not in ("volume-data", "volume-missing"):
        assert damaged.hyrun.out("run", "--rm", "-v", "named:/v", "busybox", "cat", "/v/v") == "v"


def test_every_kind_of_podmans_was_tried(tell: Callable[[str], None]) -> None:
    assert len(PODMANS) == 11
    tell(f"{len(PODMANS)} of podman's kinds of damage and {len(OTHERS)} more")


def test_an_image_on_top_of_a_directory_of_this_machine_is_not_made_again_without_it(damaged: Damaged) -> None:
    """Which one that is only the record knows: a configuration, which may be a stranger's, must not choose it."""
    damaged.hyrun("run", "--name", "onhost", "host", "touch", "/made")
    image = damaged.hyrun.out("commit", "onhost", "hosted")
    assert check(damaged.store).findings == []
    os.truncate(damaged.hyrun.root / f"images/{image[7:]}.json", 0)
    report = check(damaged.store, repair=True)
    assert [(finding.kind, finding.done) for finding in report.findings] == [
        ("image-record", "record and names removed")
    ]
    assert check(damaged.store).findings == []


def test_kept_containers_are_no_damage(damaged: Damaged) -> None:
    damaged.hyrun("run", "-d", "--name", "detached", "busybox", "sleep", "600")
    damaged.hyrun("create", "--name", "created", "-v", "/data", "filled", "true")
    try:
        assert check(damaged.store).findings == []
    finally:
        damaged.hyrun("rm", "-f", "-v", "detached", "created")
    assert check(damaged.store).findings == []


@pytest.mark.parametrize("part", ["layer", "file", "bit", "record", "members", "blob"])
def test_a_reload_heals_without_a_repair_before_it(damaged: Damaged, part: str) -> None:
    if part == "layer":
        shutil.rmtree(damaged.top / "diff")
    elif part == "file":
        os.truncate(damaged.top / "diff/data/file", 3)
    elif part == "bit":
        flip(damaged.base / "diff/bin/busybox")
    elif part == "record":
        os.truncate(damaged.record, 0)
    elif part == "members":
        damaged.record.write_text(json.dumps({"id": f"sha256:{damaged.image}", "layers": 5}))
    else:
        flip(damaged.blob(damaged.image))
    damaged.load()
    assert check(damaged.store, repair=True).healthy
    assert check(damaged.store).findings == []


@pytest.mark.parametrize("content", [None, "", "{}", '{"Name": "kept"'])
def test_a_container_without_record_is_named_and_its_data_stays(damaged: Damaged, content: str | None) -> None:
    config = damaged.container / "config.json"
    config.unlink() if content is None else config.write_text(content)
    report = check(damaged.store, repair=True)
    (finding,) = [finding for finding in report.findings if finding.kind == "container-record"]
    assert f"{damaged.container}/upper" in finding.advice
    assert "hyrun rm" in finding.advice
    assert not report.healthy
    assert (damaged.container / "upper/mine").read_text() == "mine\n"
    # Its layers are nobody's else, and still they are not collected: nobody can tell.
    assert damaged.top.is_dir()
    damaged.hyrun("rm", damaged.container.name)
    damaged.hyrun("system", "check", "--repair")
    assert check(damaged.store).findings == []


@pytest.mark.parametrize("content", ["sha256:" + "0" * 64, "", "rubbish"])
def test_a_tag_that_leads_nowhere_is_removed_and_named(damaged: Damaged, content: str) -> None:
    tag = damaged.hyrun.root / "tags/docker.io%2Flibrary%2Fother:1"
    tag.write_text(content)
    report = check(damaged.store, repair=True)
    (finding,) = report.findings
    assert (finding.kind, finding.name) == ("tag-dangling", "other:1")
    assert "hyrun pull other:1" in finding.advice
    assert not tag.exists()
    assert check(damaged.store).findings == []


def test_leftovers_are_harmless_and_removed(damaged: Damaged) -> None:
    root = damaged.hyrun.root
    (root / "tmp/stale/layer/diff").mkdir(parents=True)
    (root / "locks/layer-abc").touch()
    (root / "locks/name-ghost").touch()
    (root / "images/.half.0123").write_text("{")
    (root / "blobs/sha256" / ("1" * 64)).write_text("blob of nobody")
    os.symlink(container_directory.link_of_id("2" * 64), root / "names/nobody")
    (damaged.hyrun.run / f"{'3' * 64}.json").write_text("{}")
    (root / "containers" / ("4" * 64)).mkdir()
    result = damaged.hyrun("system", "check", "--format", "json")
    kinds = sorted(json.loads(line)["Kind"] for line in result.stdout.splitlines())
    assert kinds == [
        "blob-orphan",
        "container-orphan",
        "file-unfinished",
        "lock-stale",
        "lock-stale",
        "name-dangling",
        "staging-stale",
        "state-orphan",
    ]
    damaged.hyrun("system", "check", "--repair")
    assert check(damaged.store).findings == []


def test_what_is_not_hyruns_is_named_and_left_alone(damaged: Damaged) -> None:
    for path in ("volumes/lost+found", "containers/notes", "images/README"):
        (damaged.hyrun.root / path).mkdir()
    report = check(damaged.store, repair=True)
    assert {finding.kind for finding in report.findings} == {"volume-foreign", "container-foreign", "image-foreign"}
    assert (damaged.hyrun.root / "volumes/lost+found").is_dir()


def test_what_is_no_file_is_named_and_in_nobodys_way(damaged: Damaged) -> None:
    root = damaged.hyrun.root
    (root / "partial").mkdir(exist_ok=True)
    directories = ("blobs/sha256/dir", "images/.zd", "images/d.json", "tags/.dir", "tags/dir", "partial/d", "locks/d")
    for path in directories:
        (root / path).mkdir()
    for path in ("images/x.json", "tmp/fifo"):
        os.mkfifo(root / path)
    (root / "tags/UPPER CASE").write_text(f"sha256:{damaged.image}")
    damaged.load()
    damaged.hyrun("image", "prune", "-f")
    damaged.hyrun("system", "df")
    assert "filled" in damaged.hyrun.out("images")
    report = check(damaged.store, repair=True)
    foreign = sorted(finding.name for finding in report.findings if finding.kind.endswith("-foreign"))
    assert foreign == sorted([*(path.rpartition("/")[2] for path in directories), "x.json"])
    assert [finding.done for finding in report.findings if finding.name == "UPPER CASE"] == ["name removed"]
    assert report.healthy
    assert all((root / path).is_dir() for path in directories)


def test_damage_is_told_with_images_containers_and_what_to_type(damaged: Damaged) -> None:
    os.truncate(damaged.top / "diff/data/file", 0)
    result = damaged.hyrun("system", "check", code=1)
    assert "data/file: time, content (0 bytes instead of 15)" in result.stdout
    assert "images: filled:latest" in result.stdout
    assert f"containers: {damaged.container.name[:12]}" in result.stdout
    assert "hyrun pull filled:latest" in result.stdout
    assert "--repair" in result.stderr
    assert "repaired: set aside" in damaged.hyrun("system", "check", "--repair", code=1).stdout
    assert "is missing" in damaged.hyrun("system", "check", code=1).stdout
    assert "hyrun system check" in damaged.hyrun.refused("run", "--rm", "filled", "true")


def test_a_running_container_survives_the_repair_of_its_layer(damaged: Damaged) -> None:
    process = damaged.hyrun.start("run", "--name", "runner", "-i", "busybox", "sh", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("echo ready\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    (damaged.base / "diff/etc/new").touch()
    damaged.hyrun("system", "check", "--repair", code=1)
    damaged.load()
    damaged.hyrun("system", "prune", "-f")
    process.stdin.write("cat /etc/hello; ls /bin/busybox\n")
    process.stdin.close()
    assert process.stdout.read() == "hello from the image\n/bin/busybox\n"
    assert process.wait() == 0
    # Nobody has it mounted any more: the next sweep takes it.
    damaged.hyrun("system", "prune", "-f")
    assert os.listdir(damaged.hyrun.root / "damaged") == []


def test_a_check_changes_nothing(damaged: Damaged) -> None:
    os.truncate(damaged.top / "diff/data/file", 0)
    (damaged.hyrun.root / "tmp/stale").mkdir()
    before = damaged.hyrun.tree()
    damaged.hyrun("system", "check", code=1)
    assert damaged.hyrun.tree() == before
    (damaged.hyrun.root / "tmp/stale").rmdir()


def test_a_store_that_was_never_used_is_whole(tmp_path: Path) -> None:
    run = tmp_path / "r"
    run.mkdir(mode=0o700)
    assert check(Store(str(tmp_path / "new"), str(run)).prepare()).findings == []


@pytest.mark.parametrize("name", ["tmp", "locks", "names", "tags", "images", "blobs", "layers"])
def test_a_directory_of_the_store_that_is_gone_is_made_again(damaged: Damaged, name: str) -> None:
    shutil.rmtree(damaged.hyrun.root / name)
    report = check(damaged.store, repair=True)
    assert "was missing, and what was in it is gone" in report.findings[0].problem
    damaged.load()
    check(damaged.store, repair=True)
    # Of the other images nobody has brought the documents again.
    assert [finding.kind for finding in check(damaged.store).findings if "filled:latest" in finding.images] == []
    assert damaged.hyrun.out("run", "--rm", "filled", "cat", "/data/file") == "from the image"


def test_a_load_makes_directories_again_that_are_gone(damaged: Damaged) -> None:
    for name in ("tmp", "locks", "blobs", "images", "layers", "tags"):
        shutil.rmtree(damaged.hyrun.root / name)
    damaged.load()
    assert damaged.hyrun.out("run", "--rm", "filled", "cat", "/data/file") == "from the image"


def test_what_lost_its_record_is_no_garbage(damaged: Damaged) -> None:
    damaged.record.unlink()
    damaged.hyrun("rm", "kept")
    damaged.hyrun("image", "prune", "-f")
    report = check(damaged.store, repair=True)
    assert report.healthy, [finding.view() for finding in report.findings]
    assert damaged.hyrun.out("run", "--rm", "filled", "cat", "/data/file") == "from the image"


def test_a_container_that_runs_is_no_damage(damaged: Damaged) -> None:
    damaged.hyrun.sleeper("--name", "runner")
    assert check(damaged.store).findings == []
    records: list[Any] = container_list.list_all(damaged.store)
    assert {record.status for record in records} == {"running", "exited"}


def test_interrupted_downloads_are_told_and_go_when_they_are_old(hyrun: Hyrun) -> None:
    directory = hyrun.root / "partial"
    directory.mkdir(mode=0o700)
    for name in ("a", "b"):
        (directory / (name * 64)).write_bytes(bytes(2000))
    os.utime(directory / ("a" * 64), (0, 0))
    report = hyrun("system", "check")
    problem = "2kB of it were downloaded, and then the pull was interrupted"
    assert report.stdout.splitlines() == [
        f"download aaaaaaaaaaaa: {problem}",
        f"download bbbbbbbbbbbb: {problem}",
        "  to do: pull the image again, which goes on with it, or hyrun system prune",
    ]
    repaired = hyrun("system", "check", "--repair").stdout.splitlines()
    assert "  repaired: removed" in repaired
    assert hyrun.left("partial") == {"b" * 64}
    assert hyrun.out("system", "check", "--format", "{{.Kind}}") == "download-interrupted"
