"""`hyrun pull` from servers that fail, lie, or want to know who asks."""

import json
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.command import Hyrun
from e2e.registries import Content, layer_digests
from support import images
from support.faults import Answer, Faults, Request, cut, header, redirect, replace, status
from support.registry import Authority, Registry

_MANIFEST = "GET /v2/team/box/manifests/1$"


@pytest.fixture
def big(content: Content) -> str:
    """The digest of the layer of 3 MiB."""
    return layer_digests(content)[-1]


def _works(hyrun: Hyrun, faults: Faults) -> None:
    assert hyrun.out("run", "--rm", "--pull", "never", f"{faults.host}/team/box:1", "cat", "/data/word") == "hello"
    assert hyrun.left("partial") == set()


def test_a_connection_that_breaks_is_gone_on_with(hyrun: Hyrun, faults: Faults, big: str) -> None:
    faults.on(f"GET .*/blobs/{big}", cut(1 << 20), times=1)
    faults.on(f"GET .*/blobs/{big}", cut(100_000), times=1)
    hyrun("pull", f"{faults.host}/team/box:1")
    asked = [request.headers.get("range", "") for request in faults.asked(f"GET .*/blobs/{big}")]
    assert len(asked) == 3
    first, second, third = asked
    assert first == ""
    assert 0 < _start(second) <= 1 << 20
    assert _start(second) < _start(third) <= _start(second) + 100_000
    _works(hyrun, faults)


def test_a_pull_that_was_killed_is_gone_on_with_by_the_next(hyrun: Hyrun, faults: Faults, big: str) -> None:
    part = (3 << 20) // 2

    def slow(request: Request, answer: Answer) -> Answer:
        return answer._replace(cut=part)

    # Cut for ever: it fails, and leaves what it has; as a kill does.
    faults.on(f"GET .*/blobs/{big}", slow, times=1)
    faults.on(f"GET .*/blobs/{big}", status(404), times=1)
    message = hyrun("pull", f"{faults.host}/team/box:1", code=1).stderr.splitlines()[-1]
    assert message.startswith(f"hyrun: registry {faults.host} has no layer {big} of team/box")
    (left,) = (hyrun.root / "partial").iterdir()
    size = left.stat().st_size
    assert 0 < size <= part
    hyrun("pull", f"{faults.host}/team/box:1")
    last = faults.asked(f"GET .*/blobs/{big}")[-1].headers
    assert _start(last["range"]) == size
    _works(hyrun, faults)


def test_a_beginning_that_was_spoilt_is_fetched_again(hyrun: Hyrun, faults: Faults, big: str) -> None:
    (hyrun.root / "partial").mkdir(mode=0o700)
    (hyrun.root / "partial" / big[7:]).write_bytes(b"not this" * 1000)
    hyrun("pull", f"{faults.host}/team/box:1")
    assert [_start(request.headers.get("range", "=0-")) for request in faults.asked(f"GET .*/blobs/{big}")] == [8000, 0]
    _works(hyrun, faults)


def test_a_server_without_ranges_sends_all_of_it_again(hyrun: Hyrun, faults: Faults, plain: Registry, big: str) -> None:
    whole = plain.blob(big).read_bytes()
    faults.on(f"GET .*/blobs/{big}", cut(1 << 20), times=1)
    faults.on(f"GET .*/blobs/{big}", status(200, {}, whole))
    hyrun("pull", f"{faults.host}/team/box:1")
    assert len(faults.asked(f"GET .*/blobs/{big}")) == 2
    _works(hyrun, faults)


def test_a_server_with_another_idea_of_the_range_is_asked_for_all(hyrun: Hyrun, faults: Faults, big: str) -> None:
    faults.on(f"GET .*/blobs/{big}", cut(1 << 20), times=1)
    faults.on(f"GET .*/blobs/{big}", status(416), times=1)
    hyrun("pull", f"{faults.host}/team/box:1")
    assert "range" not in faults.asked(f"GET .*/blobs/{big}")[-1].headers
    _works(hyrun, faults)


@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_a_failure_that_passes_is_waited_for(hyrun: Hyrun, faults: Faults, code: int) -> None:
    faults.on(_MANIFEST, status(code, {"Retry-After": "0"}), times=4)
    hyrun("pull", f"{faults.host}/team/box:1")
    assert len(faults.asked(_MANIFEST)) == 5


def test_retry_after_is_kept_to(hyrun: Hyrun, faults: Faults) -> None:
    times: list[float] = []

    def rule(request: Request, answer: Answer) -> Answer:
        times.append(time.monotonic())
        return Answer(429, {"Retry-After": "2"}, b"") if len(times) == 1 else answer

    faults.on(_MANIFEST, rule)
    hyrun("pull", f"{faults.host}/team/box:1")
    assert times[1] - times[0] >= 2


def test_a_limit_that_lasts_is_explained_at_once(hyrun: Hyrun, faults: Faults) -> None:
    said = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}'
    faults.on(_MANIFEST, status(429, {"Retry-After": "3600"}, said))
    message = hyrun.refused("pull", "-q", f"{faults.host}/team/box:1", code=1)
    assert message == (
        f"hyrun: registry {faults.host} gives no more for now (429, too many requests): the limit for anonymous "
        f"clients is reached: hyrun login {faults.host}, or try again in 3600 s "
        "(toomanyrequests: You have reached your pull rate limit.)"
    )
    assert len(faults.asked(_MANIFEST)) == 1


def test_a_redirect_to_another_server_does_not_say_who_asks(
    hyrun: Hyrun, faults: Faults, plain: Registry, tmp_path: Path
) -> None:
    elsewhere = Faults(plain.host)
    try:
        faults.on(
            "/v2/", lambda request, answer: answer if "authorization" in request.headers else _who_are_you(), times=1
        )
        faults.on("GET .*/blobs/", redirect(elsewhere.host))
        hyrun("pull", f"{faults.host}/team/box:1", env=_credentials(tmp_path, faults.host))
        assert {request.headers.get("authorization") for request in faults.requests} == {None, _BASIC}
        assert len(elsewhere.asked("GET .*/blobs/")) == 3
        assert all("authorization" not in request.headers for request in elsewhere.requests)
    finally:
        elsewhere.close()


_BASIC = "Basic dXNlcjpzZWNyZXQ="


def _who_are_you() -> Answer:
    return Answer(401, {"WWW-Authenticate": 'Basic realm="tests"'}, b"")


def _credentials(directory: Path, host: str) -> dict[str, str]:
    (directory / "docker").mkdir(exist_ok=True)
    auths = {"auths": {host: {"auth": _BASIC.removeprefix("Basic ")}}}
    (directory / "docker/config.json").write_text(json.dumps(auths))
    return {"DOCKER_CONFIG": str(directory / "docker")}


def test_a_redirect_in_circles_ends(hyrun: Hyrun, faults: Faults) -> None:
    faults.on(_MANIFEST, redirect(faults.host))
    assert "redirects more than 10 times" in hyrun.refused("pull", "-q", f"{faults.host}/team/box:1", code=1)


def test_a_redirect_from_tls_to_none_is_refused(
    hyrun: Hyrun, faults: Faults, authority: Authority, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server)
    secure = Faults(tls=context)
    try:
        secure.on(".*", redirect(faults.host))
        trusted = {"SSL_CERT_FILE": str(authority.certificate)}
        message = hyrun.refused("pull", "-q", f"{secure.host}/team/box:1", code=1, env=trusted)
        assert "redirects from https to" in message
        assert faults.requests == []
    finally:
        secure.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that only those trust who are told to."""
    return Authority(tmp_path_factory.mktemp("authority"))


def test_layers_are_never_fetched_from_where_a_manifest_says(hyrun: Hyrun, faults: Faults, plain: Registry) -> None:
    elsewhere = Faults()
    try:

        def foreign(data: bytes) -> bytes:
            manifest = json.loads(data)
            manifest["layers"][-1]["urls"] = [f"http://{elsewhere.host}/layer"]
            return json.dumps(manifest).encode()

        faults.on(_MANIFEST, _unpromised(replace(foreign)))
        hyrun("pull", f"{faults.host}/team/box:1")
        assert elsewhere.requests == []
    finally:
        elsewhere.close()


def _unpromised(rule: Callable[[Request, Answer], Answer]) -> Callable[[Request, Answer], Answer]:
    """Let a rule change a manifest whose digest no header promises."""

    def without(request: Request, answer: Answer) -> Answer:
        answer = rule(request, answer)
        kept = {key: text for key, text in answer.headers.items() if key.lower() != "docker-content-digest"}
        return answer._replace(headers=kept)

    return without


def _manifest(**members: object) -> Callable[[Request, Answer], Answer]:
    return _unpromised(replace(lambda data: json.dumps({**json.loads(data), **members}).encode()))


def _layer(**members: object) -> Callable[[Request, Answer], Answer]:
    def change(data: bytes) -> bytes:
        manifest = json.loads(data)
        manifest["layers"][-1].update(members)
        return json.dumps(manifest).encode()

    return _unpromised(replace(change))


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


_SCHEMA_1 = json.dumps({"schemaVersion": 1, "name": "team/box", "fsLayers": []}).encode()
_SCHEMA_1_TYPE = "application/vnd.docker.distribution.manifest.v1+prettyjws"
_WRONG = "sha256:" + "0" * 64

#: What is bad, which request it is the answer to, and what the sentence says.
BAD = {
    "no manifest": (_MANIFEST, status(404), "has no team/box:1"),
    "denied": (_MANIFEST, status(403), "denies access to team/box:1: no such repository, or it wants hyrun login"),
    "failing for ever": (
        _MANIFEST,
        status(503, {"Retry-After": "0"}),
        "failed with status 503 at team/box:1: try again",
    ),
    "a teapot": (_MANIFEST, status(418), "answers status 418"),
    "a manifest of text": (_MANIFEST, _unpromised(replace(lambda data: b"<html>")), "is not JSON"),
    "an endless manifest": (_MANIFEST, _unpromised(replace(lambda data: b" " * (5 << 20))), "more than 4194304 bytes"),
    "another digest in the header": (_MANIFEST, header("Docker-Content-Digest", _WRONG), "its server says sha256:0000"),
    "schema 1": (_MANIFEST, status(200, {"Content-Type": _SCHEMA_1_TYPE}, _SCHEMA_1), "old schema 1"),
    "schema 1 in disguise": (_MANIFEST, _manifest(schemaVersion=1), "no manifest of schema 2"),
    "a web page": (_MANIFEST, status(200, {"Content-Type": "text/html"}, b"{}"), "'text/html' is no manifest"),
    "manifest and index": (_MANIFEST, _manifest(manifests=[]), "ambiguous"),
    "two types": (_MANIFEST, _manifest(mediaType="application/x"), "its mediaType is not the one it came with"),
    "no layers": (_MANIFEST, _manifest(layers=[]), "0 layers, but its configuration has 3 diff ids"),
    "many layers": (_MANIFEST, _manifest(layers=[{}] * 501), "501 layers: the limit is 499"),
    "a layer less": (_MANIFEST, _manifest(layers=None), "layers"),
    "a configuration of something else": (
        _MANIFEST,
        _manifest(config={"mediaType": "application/x", "digest": _WRONG, "size": 1}),
        "is no image configuration",
    ),
    "an endless configuration": (
        _MANIFEST,
        _manifest(config={"mediaType": "application/vnd.oci.image.config.v1+json", "digest": _WRONG, "size": 1 << 30}),
        "the limit is 4194304",
    ),
    "another configuration": ("GET .*/blobs/CONFIG", replace(_flipped), "its content has the digest"),
    "a longer configuration": ("GET .*/blobs/CONFIG", replace(lambda data: data + b" "), "refused"),
    "a layer of another kind": (_MANIFEST, _layer(mediaType="application/x"), "layer of type 'application/x'"),
    "a digest that is a path": (_MANIFEST, _layer(digest="sha256:../../../etc/passwd"), "64 lower-case hexadecimal"),
    "a negative size": (_MANIFEST, _layer(size=-1), "size -1 is negative"),
    "another size": (_MANIFEST, _layer(size=1000), "more than the 1000 bytes"),
    "a layer that is not there": ("GET .*/blobs/BIG", status(404), "has no layer"),
    "another layer": ("GET .*/blobs/BIG", replace(_flipped), "have another digest"),
    "a longer layer": (
        "GET .*/blobs/BIG",
        replace(lambda data: data + b"x"),
        "bytes that its descriptor says: refused",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_bad_is_one_sentence_and_changes_nothing(
    hyrun: Hyrun, faults: Faults, plain: Registry, content: Content, big: str, name: str
) -> None:
    pattern, rule, expected = BAD[name]
    faults.on(pattern.replace("CONFIG", content.image_id).replace("BIG", big), rule)
    before = hyrun.tree()
    message = hyrun.refused("pull", "-q", f"{faults.host}/team/box:1", code=1)
    assert expected in message
    assert "Traceback" not in message
    # Bytes that came before a registry failed wait for the next time; what is wrong does not.
    after = {path for path in hyrun.tree() - before if "/partial" not in path and "/locks" not in path}
    kept = {path for path in after if not path.startswith(str(hyrun.root / "layers"))}
    assert kept == set()
    if name != "a layer that is not there":
        assert after == set()
    for path in (hyrun.root / "partial").glob("*"):
        assert plain.blob(f"sha256:{path.name}").read_bytes().startswith(path.read_bytes())
    assert "no image" in hyrun.refused("run", "--pull", "never", f"{faults.host}/team/box:1", "true")


def test_a_layer_with_another_content_than_the_configuration_says(
    hyrun: Hyrun, faults: Faults, plain: Registry, tmp_path: Path
) -> None:
    base = images.busybox_rootfs_tar(tmp_path / "rootfs.tar").read_bytes()
    other = images.tar_bytes([("other", b"other")])
    config = images.image_config([base, images.tar_bytes([("wanted", b"wanted")])])
    images.oci_layout(tmp_path / "layout", [base, other], {}, ["x:1"], config_bytes=config)
    plain.put(tmp_path / "layout", "team/lies:1")
    before = hyrun.tree()
    message = hyrun.refused("pull", "-q", f"{faults.host}/team/lies:1", code=1)
    assert "its content has the diff id" in message
    assert {path for path in hyrun.tree() - before if "/locks" not in path} <= {str(hyrun.root / "partial")} | {
        str(path) for path in (hyrun.root / "partial").iterdir()
    }


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("UPPER", "must be lowercase"),
        ("a b", "invalid reference format"),
        ("box:", "bad tag"),
        ("box@sha256:12", "bad digest"),
        ("127.0.0.1:1/team/box", "registry 127.0.0.1:1 cannot be reached: Connection refused"),
        ("registry.invalid/team/box", "registry registry.invalid: no such host is known here"),
        ("docker.io/library/busybox", "registry docker.io is blocked by"),
    ],
)
def test_a_reference_that_leads_nowhere(hyrun: Hyrun, reference: str, expected: str) -> None:
    before = hyrun.tree()
    assert expected in hyrun.refused("pull", "-q", reference, code=1)
    assert hyrun.tree() == before


def test_a_server_that_is_no_registry(hyrun: Hyrun) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        message = hyrun.refused("pull", "-q", f"127.0.0.1:{port}/team/box", code=1)
        thread.join()
    assert message.startswith(f"hyrun: registry 127.0.0.1:{port} does not speak HTTP")


def test_interrupted_it_stops_and_the_next_one_goes_on(hyrun: Hyrun, faults: Faults, big: str) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def rule(request: Request, answer: Answer) -> Answer:
        asked.set()
        assert go_on.wait(20)
        return answer

    faults.on(f"GET .*/blobs/{big}", rule, times=1)
    process = hyrun.start("pull", f"{faults.host}/team/box:1")
    assert asked.wait(20)
    process.send_signal(signal.SIGINT)
    go_on.set()
    process.communicate(timeout=20)
    assert process.returncode == 130
    hyrun("pull", f"{faults.host}/team/box:1")
    _works(hyrun, faults)


def _start(header: str) -> int:
    return int(header.partition("=")[2].partition("-")[0])


@pytest.fixture(autouse=True)
def _nothing_half(hyrun: Hyrun) -> Iterator[None]:
    yield
    assert hyrun.left("tmp") == set()
