"""`NAME@DIGEST`: what pull and push note of an image, and what means it from then on."""

import io
import json
import shutil
import tarfile
import urllib.request
from pathlib import Path

from e2e.command import Hyrun
from e2e.registries import Content, of_platforms
from support import images
from support.faults import Faults, status
from support.registry import Registry


def test_by_digest_the_image_has_no_tag_and_is_found_by_the_digest(
    hyrun: Hyrun, plain: Registry, content: Content, tmp_path: Path
) -> None:
    shutil.copytree(content.layout, tmp_path / "layout")
    hyrun_name = f"{plain.host}/team/box@{plain.digest('team/box:1')}"
    hyrun("pull", hyrun_name)
    assert hyrun.out("run", "--rm", "--pull", "never", hyrun_name, "cat", "/data/word") == "hello"
    (row,) = hyrun.lines("images", "--format", "{{.Repository}} {{.Tag}}", f"{plain.host}/team/box")
    assert row == f"{plain.host}/team/box <none>"
    hyrun("rmi", hyrun_name)
    assert hyrun.lines("images", "-q", f"{plain.host}/team/box") == []


def test_the_digest_of_a_pull_is_known_of_its_name(
    hyrun: Hyrun, faults: Faults, plain: Registry, tmp_path: Path
) -> None:
    plain.put(of_platforms(tmp_path), "team/many:3")
    name = f"{faults.host}/team/many"
    digest = hyrun.lines("pull", f"{name}:3")[0].removeprefix("Digest: ")
    assert digest == images.sha256(urllib.request.urlopen(_index(plain.host)).read())
    pinned = f"{name}@{digest}"
    faults.on(".*", status(404))
    asked = len(faults.requests)
    for word in (pinned, digest):
        assert hyrun.out("run", "--rm", "--pull", "never", word, "cat", "/arch") == images.ARCHITECTURE
    assert hyrun.out("run", "--rm", pinned, "cat", "/arch") == images.ARCHITECTURE
    assert len(faults.requests) == asked
    (shown,) = json.loads(hyrun.out("image", "inspect", pinned))
    assert (shown["RepoTags"], shown["RepoDigests"]) == ([f"{name}:3"], [pinned])
    form = "{{.Repository}} {{.Tag}} {{.Digest}}"
    assert hyrun.lines("images", "--digests", "--format", form, name) == [f"{name} 3 {digest}"]
    # A name that no registry has given has none.
    hyrun("tag", pinned, "mine:1")
    assert hyrun.lines("images", "--digests", "--format", form, "mine") == ["mine 1 <none>"]
    assert json.loads(hyrun.out("image", "inspect", "mine:1"))[0]["RepoDigests"] == [pinned]


def _index(host: str) -> urllib.request.Request:
    return urllib.request.Request(
        f"http://{host}/v2/team/many/manifests/3", headers={"Accept": "application/vnd.oci.image.index.v1+json"}
    )


def test_digests_are_references_beside_the_tags(hyrun: Hyrun, box: str, plain: Registry) -> None:
    digest = plain.digest("team/box:1")
    pinned = f"{plain.host}/team/box@{digest}"
    rows = ("images", "--format", "{{.Repository}}:{{.Tag}}", f"{plain.host}/*/*")
    hyrun("pull", "-q", box)
    # In an archive there are names only.
    for word, names in ((f"{plain.host}/team/box", [box]), (pinned, None)):
        hyrun("save", "-o", hyrun.cwd / "saved.tar", word)
        with tarfile.open(hyrun.cwd / "saved.tar") as archive:
            assert json.load(archive.extractfile("manifest.json") or io.BytesIO())[0]["RepoTags"] == names
        (hyrun.cwd / "saved.tar").unlink()
    assert hyrun.lines("rmi", pinned) == [f"Untagged: {pinned}"]
    assert hyrun.lines(*rows) == [box]
    # It is known by its manifest still, but that is no reference of its own.
    assert f"has the name: {box}: remove that, or" in hyrun.refused("rmi", pinned, code=1)
    hyrun("pull", "-q", box)
    hyrun("tag", box, f"{plain.host}/team/box:2")
    hyrun("tag", box, "other:1")
    assert hyrun.lines("rmi", box) == [f"Untagged: {box}"]
    # The last tag of a repository takes its digests with it.
    assert hyrun.lines("rmi", f"{plain.host}/team/box:2") == [
        f"Untagged: {plain.host}/team/box:2",
        f"Untagged: {pinned}",
    ]
    assert hyrun.lines(*rows) == []
    assert hyrun.lines("rmi", "other:1")[0] == "Untagged: other:1"
    hyrun("pull", "-q", box)
    identifier = hyrun.out("images", "-q", box)
    # One tag with its digest is one name.
    assert hyrun.lines("rmi", identifier)[:2] == [f"Untagged: {box}", f"Untagged: {pinned}"]
    assert [path for path in (hyrun.root / "tags").iterdir() if "box@" in path.name] == []


def test_a_name_with_no_room_for_its_digest_is_pulled_all_the_same(
    hyrun: Hyrun, plain: Registry, content: Content
) -> None:
    path = "a" * 150
    plain.put(content.layout, f"{path}:1")
    hyrun("pull", "-q", f"{plain.host}/{path}:1")
    assert [file.name for file in (hyrun.root / "tags").iterdir() if path in file.name] == [f"{plain.host}%2F{path}:1"]
    # Known by its manifest.
    pinned = f"{plain.host}/{path}@{plain.digest(f'{path}:1')}"
    assert hyrun.out("image", "inspect", "-f", "{{.Id}}", pinned) == content.image_id


def test_an_image_whose_tag_has_gone_is_known_by_its_digest(
    hyrun: Hyrun, plain: Registry, content: Content, tmp_path: Path
) -> None:
    plain.put(content.layout, "team/moving:1")
    name = f"{plain.host}/team/moving"
    hyrun("pull", "-q", f"{name}:1")
    pinned = f"{name}@{plain.digest('team/moving:1')}"
    images.oci_layout(tmp_path / "newer", content.layers[:2], {}, ["box:1"])
    plain.put(tmp_path / "newer", "team/moving:1")
    hyrun("pull", "-q", f"{name}:1")
    assert sorted(hyrun.lines("images", "--format", "{{.Tag}}", name)) == ["1", "<none>"]
    assert hyrun.out("run", "--rm", "--pull", "never", pinned, "cat", "/data/word") == "hello"
    assert hyrun.out("images", "-q", "--no-trunc", "-f", "dangling=true") == content.image_id
    assert f"untagged: {pinned}" in hyrun.lines("image", "prune", "-f")
    assert hyrun.lines("images", "--format", "{{.Tag}}", name) == ["1"]


def test_each_repository_has_the_digest_that_its_registry_has(hyrun: Hyrun, plain: Registry, pulled: str) -> None:
    target = f"{plain.host}/push/digests:1"
    hyrun("tag", pulled, target)
    hyrun("push", "-q", "--compression-format", "zstd", target)
    expected = {f"{plain.host}/{name}@{plain.digest(f'{name}:1')}" for name in ("team/box", "push/digests")}
    assert len({text.partition("@")[2] for text in expected}) == 2
    assert set(json.loads(hyrun.out("image", "inspect", pulled))[0]["RepoDigests"]) == expected
    hyrun("pull", "-q", target)
    assert set(json.loads(hyrun.out("image", "inspect", target))[0]["RepoDigests"]) == expected
    for text in expected:
        hyrun("run", "--rm", "--pull", "never", text, "true")
