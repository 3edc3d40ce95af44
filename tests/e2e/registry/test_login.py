"""Who asks: logins, credential files and helpers, tokens, and certificates."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from e2e.command import Hyrun
from e2e.registries import Content
from support.faults import Answer, Faults, Request, Rule, status
from support.registry import HTPASSWD, PASSWORD, USER, Authority, Registry, Signer
from support.tokens import REFRESH, SERVICE, Tokens

_AUTH = "dXNlcjpzZWNyZXQ="


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, content: Content) -> Iterator[Registry]:
    """A registry for ``user`` with ``secret`` alone (Basic)."""
    directory = tmp_path_factory.mktemp("locked")
    (directory / "htpasswd").write_text(HTPASSWD)
    registry = Registry(directory, auth={"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}})
    try:
        registry.put(content.layout, "team/box:1", "--dest-creds", f"{USER}:{PASSWORD}")
        yield registry
    finally:
        registry.close()


class Bearer(NamedTuple):
    """A registry that takes tokens, and who gives them."""

    registry: Registry
    signer: Signer
    realm: str


@pytest.fixture
def tokens(bearer: Bearer) -> Iterator[Tokens]:
    """The token server, which the registry names by its address: before it, one that passes on."""
    tokens = Tokens(bearer.signer)
    try:
        yield tokens
    finally:
        tokens.close()


@pytest.fixture(scope="module")
def bearer(tmp_path_factory: pytest.TempPathFactory, content: Content) -> Iterator[Bearer]:
    """A registry that wants tokens; its realm is put right by each test's own server before it."""
    directory = tmp_path_factory.mktemp("bearer")
    signer = Signer(directory / "signer")
    first = Tokens(signer)
    registry = None
    try:
        auth = {"realm": first.realm, "service": SERVICE, "issuer": "tests", "rootcertbundle": str(signer.certificate)}
        registry = Registry(directory, auth={"token": auth})
        for name in ("public/box:1", "private/box:1"):
            registry.put(content.layout, name, "--dest-creds", f"{USER}:{PASSWORD}")
        first.close()
        yield Bearer(registry, signer, first.realm)
    finally:
        if registry is not None:
            registry.close()


@pytest.fixture
def front(bearer: Bearer, tokens: Tokens) -> Iterator[Faults]:
    """A server before the registry that names the test's own token server."""
    server = Faults(bearer.registry.host)

    def rename(request: Request, answer: Answer) -> Answer:
        headers = {key: value.replace(bearer.realm, tokens.realm) for key, value in answer.headers.items()}
        return answer._replace(headers=headers)

    server.on(".*", rename)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of docker's configuration, which is not there."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker/config.json"


def test_login_pull_logout(hyrun: Hyrun, locked: Registry, docker: Path) -> None:
    name = f"{locked.host}/team/box:1"
    refused = f"hyrun: registry {locked.host} denies access to team/box:1: no such repository, or it wants hyrun login"
    assert hyrun.refused("pull", "-q", name, code=1).startswith(refused)
    docker.parent.mkdir()
    docker.write_text('{"detachKeys": "ctrl-x", "auths": {"other.example.com": {"auth": "YTpi"}}}')
    result = hyrun("login", "-u", USER, "--password-stdin", locked.host, input=f"{PASSWORD}\n")
    assert result.stdout == "Login Succeeded\n"
    assert f"stored unencrypted in '{docker}'" in result.stderr
    kept = json.loads(docker.read_text())
    assert kept["auths"] == {"other.example.com": {"auth": "YTpi"}, locked.host: {"auth": _AUTH}}
    assert kept["detachKeys"] == "ctrl-x"
    assert docker.stat().st_mode & 0o777 == 0o600
    hyrun("pull", name)
    assert hyrun.out("logout", locked.host) == f"Removing login credentials for {locked.host}"
    assert json.loads(docker.read_text())["auths"] == {"other.example.com": {"auth": "YTpi"}}
    assert hyrun.out("logout", locked.host) == f"Not logged in to {locked.host}"
    assert hyrun.refused("pull", "-q", name, code=1).startswith(refused)


def test_a_login_that_is_refused_is_not_kept(hyrun: Hyrun, locked: Registry, docker: Path) -> None:
    message = hyrun("login", "-u", USER, "-p", "wrong", locked.host, code=1).stderr.splitlines()
    assert message[0].startswith("WARNING! Using --password on the command line is insecure")
    assert message[1] == f"hyrun: registry {locked.host} refuses the login as {USER}: wrong name or password"
    assert not docker.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--password-stdin"], "--password-stdin: it needs --username"),
        (["-u", "x", "-p", "y", "--password-stdin"], "only one of the two"),
        (["-u", "x"], "stdin is no terminal"),
        (["-u", "x", "--password-stdin"], "must not be empty"),
        (["-u", "x", "--password-stdin", "user@host"], "write HOST or HOST:PORT"),
    ],
)
def test_a_login_that_cannot_be(hyrun: Hyrun, docker: Path, arguments: list[str], expected: str) -> None:
    result = hyrun("login", *arguments, code=1)
    assert expected in result.stderr


@pytest.mark.parametrize("way", ["stdin", "argument"])
def test_a_password_that_is_no_text(hyrun: Hyrun, locked: Registry, docker: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "password").write_bytes(b"a\xff\n")
    password = ["--password-stdin"] if way == "stdin" else ["-p", os.fsdecode(b"a\xff")]
    for locale in ("C", "C.UTF-8"):
        with open(tmp_path / "password", "rb") as stdin:
            flags = ["login", "-u", USER, *password, locked.host]
            result = hyrun(*flags, code=1, stdin=stdin, env={"LC_ALL": locale})
        line = result.stderr.splitlines()[-1]
        assert line == "hyrun: login: user name and password must be UTF-8: convert them with iconv"


def test_a_wrong_credential_is_named_in_the_refusal(hyrun: Hyrun, locked: Registry, docker: Path) -> None:
    docker.parent.mkdir()
    docker.write_text(json.dumps({"auths": {f"https://{locked.host}/v1/": {"auth": "dXNlcjp3cm9uZw=="}}}))
    message = hyrun.refused("pull", "-q", f"{locked.host}/team/box:1", code=1)
    assert "the login as user does not allow it" in message
    assert "wrong" not in message


@pytest.mark.parametrize("key", ["HOST", "https://HOST", "https://HOST/v2/"])
def test_the_spellings_of_a_server_in_docker_files(hyrun: Hyrun, locked: Registry, docker: Path, key: str) -> None:
    docker.parent.mkdir()
    docker.write_text(json.dumps({"auths": {key.replace("HOST", locked.host): {"auth": _AUTH}}}))
    hyrun("pull", f"{locked.host}/team/box:1")


def test_podmans_file_counts_after_dockers_and_may_name_a_part(
    hyrun: Hyrun, locked: Registry, docker: Path, tmp_path: Path
) -> None:
    auths = {locked.host: {"auth": "dXNlcjp3cm9uZw=="}, f"{locked.host}/team": {"auth": _AUTH}}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))
    environment = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    hyrun("pull", f"{locked.host}/team/box:1", env=environment)
    (tmp_path / "containers").mkdir()
    shutil.move(tmp_path / "auth.json", tmp_path / "containers/auth.json")
    hyrun("pull", f"{locked.host}/team/box:1", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    docker.parent.mkdir()
    docker.write_text(json.dumps({"auths": {locked.host: {"auth": "dXNlcjp3cm9uZw=="}}}))
    assert "denies" in hyrun.refused(
        "pull", "-q", f"{locked.host}/team/box:1", code=1, env={"XDG_RUNTIME_DIR": str(tmp_path)}
    )


@pytest.mark.parametrize("file", ["docker", "podman"])
@pytest.mark.parametrize(
    ("auths", "expected"),
    [
        ({"HOST": "good", "HOST/other": "bad"}, None),
        ({"HOST": "good", "HOST/te": "bad", "HOST/team/box/more": "bad"}, None),
        ({"HOST/team/box": "good", "HOST/team": "bad", "HOST": "bad"}, None),
        ({"https://HOST/v1/": "good", "HOST/other": "bad"}, None),
        ({"HOST": "good", "HOST/team": "bad"}, "the login as user does not allow it"),
        # Not sent where it does not belong: nobody asks.
        ({"HOST/other": "good"}, "no such repository, or it wants hyrun login"),
    ],
)
def test_a_login_for_a_part_of_a_registry_is_for_that_part_alone(
    hyrun: Hyrun, locked: Registry, docker: Path, tmp_path: Path, auths: dict[str, str], expected: str | None, file: str
) -> None:
    words = {"good": _AUTH, "bad": "dXNlcjp3cm9uZw=="}
    entries = {name.replace("HOST", locked.host): {"auth": words[word]} for name, word in auths.items()}
    path = docker if file == "docker" else tmp_path / "auth.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"auths": entries}))
    environment = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    if expected is None:
        hyrun("pull", f"{locked.host}/team/box:1", env=environment)
    else:
        assert expected in hyrun.refused("pull", "-q", f"{locked.host}/team/box:1", code=1, env=environment)


def test_logins_and_logouts_leave_those_of_parts_alone(hyrun: Hyrun, locked: Registry, docker: Path) -> None:
    docker.parent.mkdir()
    docker.write_text(json.dumps({"auths": {f"{locked.host}/other": {"auth": "YTpi"}}}))
    hyrun("login", "-u", USER, "--password-stdin", locked.host, input=PASSWORD)
    assert set(json.loads(docker.read_text())["auths"]) == {f"{locked.host}/other", locked.host}
    hyrun("logout", locked.host)
    assert set(json.loads(docker.read_text())["auths"]) == {f"{locked.host}/other"}


_HELPER = """#!/bin/sh
echo "$1 $(cat > $0.in; cat $0.in)" >> $0.log
case $1 in
get)
    if [ -f $0.kept ]; then cat $0.kept; else echo 'credentials not found in native keychain'; exit 1; fi ;;
store) mv $0.in $0.kept ;;
erase) rm -f $0.kept ;;
esac
"""


@pytest.mark.parametrize("way", ["credsStore", "credHelpers"])
def test_a_helper_keeps_what_docker_lets_it_keep(
    hyrun: Hyrun, locked: Registry, docker: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "bin/docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(_HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    docker.parent.mkdir()
    docker.write_text(json.dumps({way: "test" if way == "credsStore" else {locked.host: "test"}}))
    name = f"{locked.host}/team/box:1"
    assert "wants hyrun login" in hyrun.refused("pull", "-q", name, code=1)
    result = hyrun("login", "-u", USER, "--password-stdin", locked.host, input=PASSWORD)
    assert "unencrypted" not in result.stderr
    assert "auths" not in json.loads(docker.read_text())
    assert json.loads(Path(f"{helper}.kept").read_text()) == {
        "ServerURL": locked.host,
        "Username": USER,
        "Secret": PASSWORD,
    }
    hyrun("pull", name)
    assert Path(f"{helper}.log").read_text().splitlines()[-1] == f"get {locked.host}"
    assert hyrun.out("logout", locked.host) == f"Removing login credentials for {locked.host}"
    assert "wants hyrun login" in hyrun.refused("pull", "-q", name, code=1)


def test_an_empty_name_of_a_helper_means_the_file(hyrun: Hyrun, locked: Registry, docker: Path) -> None:
    docker.parent.mkdir()
    helpers = {"credsStore": "missing", "credHelpers": {locked.host: ""}}
    docker.write_text(json.dumps(helpers))
    hyrun("login", "-u", USER, "--password-stdin", locked.host, input=PASSWORD)
    assert json.loads(docker.read_text()) == {**helpers, "auths": {locked.host: {"auth": _AUTH}}}
    hyrun("pull", f"{locked.host}/team/box:1")
    hyrun("logout", locked.host)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            '{"credsStore": "missing"}',
            "docker-credential-missing, which the docker configuration names, is not installed",
        ),
        ('{"credsStore": "../evil"}', "is no name"),
        ('{"auths": []}', "auths is no object"),
        ('{"auths": {"HOST": {"auth": "%%%"}}}', "is no base64"),
        ('{"auths": {"HOST": 7}}', "is no object"),
        ("{", "is not JSON"),
    ],
)
def test_a_credential_file_that_makes_no_sense(
    hyrun: Hyrun, locked: Registry, docker: Path, document: str, expected: str
) -> None:
    docker.parent.mkdir()
    docker.write_text(document.replace("HOST", locked.host))
    assert expected in hyrun.refused("pull", "-q", f"{locked.host}/team/box:1", code=1)


def test_a_token_for_nobody_reads_what_is_public(hyrun: Hyrun, front: Faults, tokens: Tokens, docker: Path) -> None:
    hyrun("pull", f"{front.host}/public/box:1")
    (asked,) = tokens.requests
    assert asked.path == "/token?service=tests&scope=repository%3Apublic%2Fbox%3Apull"
    assert "authorization" not in asked.headers
    message = hyrun.refused("pull", "-q", f"{front.host}/private/box:1", code=1)
    assert f"denies access to private/box:1: no such repository, or it wants hyrun login {front.host} first" in message


def test_a_login_gets_a_token_for_the_next_time(hyrun: Hyrun, front: Faults, tokens: Tokens, docker: Path) -> None:
    hyrun("login", "-u", USER, "--password-stdin", front.host, input=PASSWORD)
    assert "offline_token=true" in tokens.requests[-1].path
    (entry,) = json.loads(docker.read_text())["auths"].values()
    assert entry["identitytoken"] == REFRESH
    assert PASSWORD not in docker.read_text()
    hyrun("pull", f"{front.host}/private/box:1")
    assert tokens.requests[-1].method == "POST"
    hyrun("tag", f"{front.host}/private/box:1", f"{front.host}/private/copy:1")
    hyrun("push", f"{front.host}/private/copy:1")
    # One token for reading, one for writing (with the neighbour that layers come from): not one for each request.
    assert len([request for request in tokens.requests if request.method == "POST"]) <= 6


def test_a_password_gets_a_token_for_one_repository(hyrun: Hyrun, front: Faults, tokens: Tokens, docker: Path) -> None:
    docker.parent.mkdir()
    docker.write_text(json.dumps({"auths": {front.host: {"auth": _AUTH}}}))
    hyrun("pull", f"{front.host}/private/box:1")
    (asked,) = tokens.requests
    assert asked.headers["authorization"] == f"Basic {_AUTH}"
    assert "account=user" in asked.path
    # The password goes to who gives tokens, and never to the registry.
    assert all(not request.headers.get("authorization", "").startswith("Basic") for request in front.requests)


def test_a_token_that_has_expired_is_replaced(hyrun: Hyrun, front: Faults, tokens: Tokens, docker: Path) -> None:
    challenge = f'Bearer realm="{tokens.realm}",service="tests",scope="repository:public/box:pull"'
    front.on("GET .*/blobs/", status(401, {"WWW-Authenticate": challenge}), times=1, skip=1, first=True)
    hyrun("pull", f"{front.host}/public/box:1")
    assert len(tokens.requests) == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(401), "denies access to public/box (token)"),
        (status(200, {}, b"{}"), "answers without a token"),
        (status(200, {}, b'{"token": "a\\nb"}'), "answers without a token"),
        (status(200, {}, b"x" * (2 << 20)), "more than 1048576 bytes"),
        (status(400, {}, b""), "answers status 400"),
    ],
)
def test_a_token_server_that_makes_no_sense(
    hyrun: Hyrun, front: Faults, tokens: Tokens, docker: Path, answer: Rule, expected: str
) -> None:
    tokens.server.on(".*", answer, first=True)
    assert expected in hyrun.refused("pull", "-q", f"{front.host}/public/box:1", code=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that only those trust who are told to."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: Authority, content: Content) -> Iterator[Registry]:
    """A registry with TLS that wants to see a certificate of its clients."""
    certificate, key = authority.server
    tls = {"certificate": str(certificate), "key": str(key), "clientcas": [str(authority.certificate)]}
    registry = Registry(tmp_path_factory.mktemp("secure"), http={"tls": tls})
    client, client_key = authority.client
    directory = tmp_path_factory.mktemp("skopeo")
    shutil.copy(client, directory / "client.cert")
    shutil.copy(client_key, directory / "client.key")
    try:
        registry.put(content.layout, "team/box:1", "--dest-cert-dir", str(directory))
        yield registry
    finally:
        registry.close()


def test_certificates_are_looked_for_where_they_are_looked_for_by_docker(
    hyrun: Hyrun, secure: Registry, authority: Authority, tmp_path: Path
) -> None:
    name = f"{secure.host}/team/box:1"
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    untrusted = hyrun.refused("pull", "-q", name, code=1, env=environment)
    assert untrusted.startswith(f"hyrun: registry {secure.host}: its certificate is not trusted (")
    assert f"/etc/docker/certs.d/{secure.host}/ca.crt" in untrusted
    directory = tmp_path / "config/hyrun/certs.d" / secure.host
    directory.mkdir(parents=True)
    shutil.copy(authority.certificate, directory / "ca.crt")
    # Trusted now, but the registry does not know us.
    assert secure.host in hyrun.refused("pull", "-q", name, code=1, env=environment)
    client, key = authority.client
    shutil.copy(client, directory / "us.cert")
    missing = f"{directory}/us.cert: its key {directory}/us.key is missing: an authority's certificate ends in .crt"
    assert hyrun.refused("pull", "-q", name, code=1, env=environment) == f"hyrun: {missing}"
    shutil.copy(key, directory / "us.key")
    hyrun("pull", name, env=environment)
    (directory / "bad.crt").write_text("no certificate")
    message = hyrun.refused("pull", "-q", name, code=1, env=environment)
    assert message.startswith(f"hyrun: {directory}/bad.crt: no certificate of an authority")
