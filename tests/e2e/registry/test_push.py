"""`hyrun push` to a real registry, and to one that fails."""

import json
import subprocess
from pathlib import Path

import pytest

from e2e.command import Hyrun
from e2e.registries import Content, layer_digests, pushed
from support import images
from support.faults import Answer, Faults, Request, Rule, cut_request, header, status
from support.registry import Registry


def test_the_manifest_is_the_same_everywhere(hyrun: Hyrun, plain: Registry, pulled: str, tmp_path: Path) -> None:
    other = Registry(tmp_path / "other")
    try:
        said = pushed(hyrun, pulled, f"{other.host}/copies/box:2")
        digest = plain.digest("team/box:1")
        assert other.digest("copies/box:2") == digest
        assert said.startswith(f"The push refers to repository [{other.host}/copies/box]\n")
        assert f"2: digest: {digest} size: " in said
        assert said.count(": Pushed\n") == 3
        # Another engine takes it, with every layer.
        copy = tmp_path / "copy"
        command = ["skopeo", "copy", "--src-tls-verify=false", f"docker://{other.host}/copies/box:2", f"oci:{copy}:2"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        said = hyrun("image", "push", f"{other.host}/copies/box:2").stderr
        assert said.count(": Layer already exists\n") == 3
    finally:
        other.close()


def test_a_docker_manifest_stays_one(hyrun: Hyrun, plain: Registry, content: Content, pulled: str) -> None:
    plain.put(content.layout, "push/docker:1", "--format", "v2s2")
    hyrun("pull", "-q", f"{plain.host}/push/docker:1")
    pushed(hyrun, f"{plain.host}/push/docker:1", f"{plain.host}/push/docker-copy:1")
    assert plain.digest("push/docker-copy:1") == plain.digest("push/docker:1")


def test_layers_of_a_neighbour_are_mounted(hyrun: Hyrun, faults: Faults, plain: Registry, pulled: str) -> None:
    here = f"{faults.host}/team/box:1"
    hyrun("tag", pulled, here)
    said = pushed(hyrun, here, f"{faults.host}/mounted/box:1")
    assert said.count(": Mounted from team/box\n") == 3
    assert not [request for request in faults.asked("PATCH|PUT .*/uploads/") if len(request.body) > 10_000]
    assert plain.digest("mounted/box:1") == plain.digest("team/box:1")


def test_a_registry_that_does_not_mount_gets_the_bytes(
    hyrun: Hyrun, faults: Faults, plain: Registry, pulled: str
) -> None:
    here = f"{faults.host}/team/box:1"
    hyrun("tag", pulled, here)
    faults.on("POST .*mount=", status(405))
    said = pushed(hyrun, here, f"{faults.host}/unmounted/box:1")
    assert said.count(": Pushed\n") == 3
    assert plain.digest("unmounted/box:1") == plain.digest("team/box:1")


def test_the_manifest_goes_last(hyrun: Hyrun, faults: Faults, pulled: str) -> None:
    pushed(hyrun, pulled, f"{faults.host}/order/box:1")
    changes = [request for request in faults.requests if request.method not in ("GET", "HEAD")]
    assert [request.path for request in changes if request.method == "PUT"][-1] == "/v2/order/box/manifests/1"
    assert changes[-1].path == "/v2/order/box/manifests/1"


def test_connections_serve_one_exchange_after_the_other(hyrun: Hyrun, faults: Faults, pulled: str) -> None:
    for number in range(5):
        pushed(hyrun, pulled, f"{faults.host}/calm{number}/box:1")
    # Three layers, which the registry then mounts from there, and a configuration each time. A connection that was
    # still busy would have had them begun twice.
    assert len(faults.asked("POST .*/uploads/$")) == 3 + 5
    assert faults.asked("GET .*/uploads/") == []


def test_an_upload_that_breaks_is_gone_on_with(hyrun: Hyrun, faults: Faults, plain: Registry, pulled: str) -> None:
    # After the registry has got the first megabyte; what it has of that, it says itself.
    faults.on("PATCH ", cut_request(1 << 20), times=1)
    pushed(hyrun, pulled, f"{faults.host}/resumed/box:1")
    (first, end), *others = _ranges(faults)
    assert first == 0
    assert [end for _, end in others] == [end] * len(others)
    assert len(faults.asked("GET .*/uploads/")) >= 1
    assert plain.digest("resumed/box:1") == plain.digest("team/box:1")
    hyrun("rmi", f"{faults.host}/resumed/box:1")
    hyrun("pull", f"{faults.host}/resumed/box:1")


def _ranges(faults: Faults) -> list[tuple[int, int]]:
    """Return from where to where was sent of the layer that was spoilt, which ends where the first one does."""
    found = []
    for request in faults.asked("PATCH "):
        start, _, end = request.headers["content-range"].partition("-")
        found.append((int(start), int(end)))
    return [(start, end) for start, end in found if end == found[0][1]]


def test_an_upload_goes_on_where_the_registry_says(hyrun: Hyrun, faults: Faults, plain: Registry, pulled: str) -> None:
    faults.on("PATCH ", cut_request(1 << 20), times=1)
    half = 1 << 19

    def said(request: Request, answer: Answer) -> Answer:
        return answer._replace(status=204, body=b"", headers={**answer.headers, "Range": f"0-{half - 1}"})

    faults.on("GET .*/uploads/", said, times=1)
    # A registry that does not agree any more (this one does not) is begun with anew.
    pushed(hyrun, pulled, f"{faults.host}/ranges/box:1")
    assert [start for start, _ in _ranges(faults)] == [0, half, 0]
    assert plain.digest("ranges/box:1") == plain.digest("team/box:1")


@pytest.mark.parametrize("where", [["0-5"], ["0-5", "0-2000000"]])
def test_an_upload_that_gets_no_further_ends(hyrun: Hyrun, faults: Faults, pulled: str, where: list[str]) -> None:
    def standing(request: Request, answer: Answer) -> Answer:
        answers = len(faults.asked("(PATCH|GET) .*/uploads/"))
        return header("Range", where[answers // 2 % len(where)])(request, answer)

    faults.on("PATCH ", standing)
    faults.on("GET .*/uploads/", standing)
    faults.on("POST .*mount=", status(404))
    target = f"{faults.host}/push/standing{len(where)}:1"
    hyrun("tag", pulled, target)
    message = hyrun.refused("push", "-q", target, code=1)
    assert message.startswith(f"hyrun: registry {faults.host} takes ")
    assert " bytes of blob sha256:" in message


def test_an_upload_that_is_not_known_any_more_is_begun_anew(
    hyrun: Hyrun, faults: Faults, plain: Registry, pulled: str
) -> None:
    faults.on("PATCH ", cut_request(1 << 20), times=1)
    faults.on("GET .*/uploads/", status(404), times=1)
    pushed(hyrun, pulled, f"{faults.host}/anew/box:1")
    assert [start for start, _ in _ranges(faults)] == [0, 0]
    assert plain.digest("anew/box:1") == plain.digest("team/box:1")


@pytest.mark.parametrize("pattern", ["POST .*/uploads/", "PUT .*/uploads/", "PUT .*/manifests/", "HEAD "])
def test_a_failure_that_passes_is_waited_for(
    hyrun: Hyrun, faults: Faults, plain: Registry, pulled: str, pattern: str
) -> None:
    faults.on(pattern, status(503, {"Retry-After": "0"}), times=2)
    name = f"passing/{pattern[:3].lower()}{len(pattern)}:1"
    pushed(hyrun, pulled, f"{faults.host}/{name}")
    assert plain.digest(name) == plain.digest("team/box:1")


def test_all_tags_of_a_repository(hyrun: Hyrun, plain: Registry, pulled: str) -> None:
    names = [f"{plain.host}/tags/box:{tag}" for tag in ("a", "b", "latest")]
    for name in names:
        hyrun("tag", pulled, name)
    assert hyrun.lines("push", "-qa", f"{plain.host}/tags/box") == names
    assert plain.digest("tags/box:b") == plain.digest("team/box:1")


#: What is refused, and what the sentence says. HOST is the registry before which the faults are.
REFUSED = {
    "an image that is not here": (
        ["HOST/nosuch:1"],
        "no image HOST/nosuch:1 here: hyrun tag IMAGE HOST/nosuch:1 first",
    ),
    "a repository without tags": (["-a", "HOST/nosuch"], "no image of HOST/nosuch here"),
    "a digest": ([f"HOST/box@sha256:{'0' * 64}"], "pushed by a tag"),
    "a tag with all tags": (["-a", "HOST/box:1"], "leave one of the two out"),
    "a compression that is not there": (
        ["--compression-format", "zstd:chunked", "HOST/box:1"],
        "'zstd:chunked': there are gzip and zstd",
    ),
    "no compression": (["-a", "--compression-format", "none", "HOST/box"], "'none': there are gzip and zstd"),
    "the host": (["host"], "this machine's own root file system"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_pushed(hyrun: Hyrun, faults: Faults, name: str) -> None:
    arguments, expected = REFUSED[name]
    message = hyrun.refused("push", *(word.replace("HOST", faults.host) for word in arguments), code=1)
    assert expected.replace("HOST", faults.host) in message
    assert faults.requests == []


@pytest.mark.parametrize(
    ("pattern", "rule", "expected"),
    [
        ("HEAD ", status(403), "denies access to blob"),
        ("POST ", status(401, {"WWW-Authenticate": 'Basic realm="x"'}), "wants hyrun login"),
        ("POST ", status(202), "does not say where to send"),
        (
            "PUT .*/uploads/",
            status(400, {}, b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}'),
            "digest_invalid: no",
        ),
        ("PATCH ", status(413), "answers status 413"),
        ("PUT .*/manifests/", status(400), "answers status 400 to bad/"),
        ("PUT .*/manifests/", header("Docker-Content-Digest", "sha256:" + "0" * 64), "has stored bad/"),
    ],
)
def test_a_registry_that_does_not_want_it(
    hyrun: Hyrun, faults: Faults, pulled: str, pattern: str, rule: Rule, expected: str
) -> None:
    faults.on(pattern, rule)
    target = f"{faults.host}/bad/{''.join(filter(str.isalpha, (pattern + expected).lower()))}:1"
    hyrun("tag", pulled, target)
    before = hyrun.tree()
    assert expected in hyrun.refused("push", "-q", target, code=1)
    assert hyrun.tree() == before


def test_an_image_that_was_loaded_or_committed_is_packed(hyrun: Hyrun, plain: Registry) -> None:
    hyrun("run", "--name", "box", "busybox", "sh", "-c", "echo made > /made")
    hyrun("commit", "box", f"{plain.host}/made/box:1")
    identifier = hyrun.out("images", "-q", "--no-trunc", f"{plain.host}/made/box:1")
    hyrun("push", "-q", f"{plain.host}/made/box:1")
    digest = plain.digest("made/box:1")
    # The same bytes once more: nothing is sent.
    assert hyrun("push", f"{plain.host}/made/box:1").stderr.count(": Layer already exists\n") == 2
    assert plain.digest("made/box:1") == digest
    hyrun("rm", "box")
    for name in set(hyrun.lines("images", "-q")):
        hyrun("rmi", "-f", name)
    hyrun("pull", "-q", f"{plain.host}/made/box:1")
    assert hyrun.out("images", "-q", "--no-trunc", f"{plain.host}/made/box:1") == identifier
    assert hyrun.out("run", "--rm", f"{plain.host}/made/box:1", "cat", "/made") == "made"


def test_a_commit_of_the_host_is_refused(hyrun: Hyrun, plain: Registry) -> None:
    hyrun("run", "--name", "box", "host", "true")
    hyrun("commit", "box", f"{plain.host}/made/host:1")
    assert "this machine" in hyrun.refused("push", "-q", f"{plain.host}/made/host:1", code=1)


def test_an_image_of_other_bytes_gets_a_manifest_that_names_them(
    hyrun: Hyrun, plain: Registry, content: Content, pulled: str, tmp_path: Path
) -> None:
    """Of a layer the store has the first bytes it came as; another image names others for the same content."""
    images.oci_layout(tmp_path / "zstd", content.layers, {"Cmd": ["sh"], "User": "app"}, ["x:1"], compression="zstd")
    plain.put(tmp_path / "zstd", "push/zstd:1")
    hyrun("pull", "-q", f"{plain.host}/push/zstd:1")
    other = Registry(tmp_path / "other")
    try:
        pushed(hyrun, f"{plain.host}/push/zstd:1", f"{other.host}/push/zstd:1")
        command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{other.host}/push/zstd:1"]
        manifest = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
        assert [layer["digest"] for layer in manifest["layers"]] == layer_digests(content)
        assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
        hyrun("rmi", "-f", f"{other.host}/push/zstd:1")
        hyrun("pull", "-q", f"{other.host}/push/zstd:1")
        assert hyrun.out("run", "--rm", f"{other.host}/push/zstd:1", "cat", "/data/word") == "hello"
    finally:
        other.close()


def test_events_tell_of_pulls_and_pushes(hyrun: Hyrun, plain: Registry, pulled: str) -> None:
    target = f"{plain.host}/told/box:1"
    hyrun("tag", pulled, target)
    hyrun("push", target)
    lines = hyrun.lines(
        "events", "--since", "0", "--until", "0s", "--filter", "type=image", "--filter", "event=pull",
        "--filter", "event=push", "--format", "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}",
    )  # fmt: skip
    assert lines == [
        f"pull {pulled} {pulled.rpartition(':')[0]}",
        f"push {target} {target.removesuffix(':1')}",
    ]
