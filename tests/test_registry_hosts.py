"""Where a repository is: configuration, mirrors, schemes and proxies."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hyrun.errors import InvalidArgument, RegistryError
from hyrun.references import parse
from hyrun.registry import endpoints, hosts
from hyrun.registry.hosts import Host, Hosts
from hyrun.registry.logins import server_name
from hyrun.registry.proxies import proxy_of


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration's file, which is not there yet."""
    monkeypatch.setenv("HYRUN_CONFIG", str(tmp_path / "registries.toml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "registries.toml"


def test_without_a_file_nothing_is_configured(file: Path) -> None:
    assert hosts.read() == Hosts({}, True)


def test_the_users_file_replaces_entries_of_the_first_one(file: Path, tmp_path: Path) -> None:
    file.write_text(
        'keep-layers = false\n[registry."a"]\ninsecure = true\n[registry."b"]\nmirrors = ["https://m/x/"]\n'
    )
    (tmp_path / "config/hyrun").mkdir(parents=True)
    (tmp_path / "config/hyrun/registries.toml").write_text('[registry."a"]\nblocked = true\n')
    found = hosts.read()
    assert not found.keep_layers
    assert found.of("a") == Host(blocked=str(tmp_path / "config/hyrun/registries.toml"))
    assert found.of("b").mirrors == ("https://m/x",)
    assert found.of("c") == Host()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[", "is no TOML"),
        ("registry = 1", "write \\[registry"),
        ("[registry]\na = 1", "write \\[registry"),
        ('[registry."a"]\ninsecur = true', "the key 'insecur' is not known"),
        ("keep = true", "the key 'keep' is not known"),
        ("keep-layers = 1", "keep-layers is true or false"),
        ('[registry."a"]\ninsecure = "yes"', "insecure is true or false"),
        ('[registry."a"]\nmirrors = "https://m"', "mirrors of a"),
        ('[registry."a"]\nmirrors = ["m"]', "mirrors of a"),
        ('[registry."a"]\nmirrors = ["http://[::1"]', "mirrors of a"),
        ('[registry."a"]\nmirrors = ["http://m:port"]', "mirrors of a"),
        ('[registry."a"]\nmirrors = ["https:///m"]', "mirrors of a"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_file(file: Path, text: str, expected: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidArgument, match=expected) as caught:
        hosts.read()
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "bases"),
    [
        ("busybox", ("https://registry-1.docker.io",)),
        ("index.docker.io/a/b", ("https://registry-1.docker.io",)),
        ("quay.io/a/b", ("https://quay.io",)),
        ("quay.io:443/a/b", ("https://quay.io:443",)),
        ("localhost/a", ("https://localhost", "http://localhost")),
        ("127.0.0.1:5000/a", ("https://127.0.0.1:5000", "http://127.0.0.1:5000")),
        ("[::1]:5000/a", ("https://[::1]:5000", "http://[::1]:5000")),
        ("127.0.0.1.example.com/a", ("https://127.0.0.1.example.com",)),
        ("insecure.example.com/a", ("https://insecure.example.com", "http://insecure.example.com")),
    ],
)
def test_plain_http_is_tried_only_where_it_is_allowed(reference: str, bases: tuple[str, ...]) -> None:
    configured = Hosts({"insecure.example.com": Host(insecure=True)})
    (endpoint,) = endpoints.of(parse(reference), configured)
    assert endpoint.bases == bases


def test_mirrors_come_first_with_their_path() -> None:
    configured = Hosts({"docker.io": Host(mirrors=("https://mirror.example.com/hub", "http://10.0.0.2:5000"))})
    first, second, last = endpoints.of(parse("busybox"), configured)
    assert first == ("mirror.example.com", ("https://mirror.example.com",), "hub/library/busybox")
    assert second == ("10.0.0.2:5000", ("http://10.0.0.2:5000",), "library/busybox")
    assert last == ("docker.io", ("https://registry-1.docker.io",), "library/busybox")
    assert endpoints.of(parse("busybox"), configured, mirrors=False) == [last]


def test_a_registry_that_is_blocked_says_by_which_file() -> None:
    with pytest.raises(RegistryError, match=r"registry quay\.io is blocked by /etc/x"):
        endpoints.of(parse("quay.io/a"), Hosts({"quay.io": Host(blocked="/etc/x")}))


@pytest.mark.parametrize(
    ("url", "excepted", "through"),
    [
        ("https://a.example.com/", "", "http://secure:1"),
        ("http://a.example.com/", "", "http://plain:1"),
        ("https://a.example.com/", "example.com", None),
        ("https://a.example.com/", ".example.com", None),
        ("https://example.com/", ".example.com", "http://secure:1"),
        ("https://notexample.com/", "example.com", "http://secure:1"),
        ("https://a.example.com/", "*", None),
        ("https://10.1.2.3/", "10.0.0.0/8", None),
        ("https://11.1.2.3/", "10.0.0.0/8", "http://secure:1"),
        ("https://a.example.com:5000/", "a.example.com:5000", None),
        ("https://a.example.com/", "a.example.com:5000", "http://secure:1"),
        ("https://a.example.com/", "b.example.com, A.example.com", None),
        ("http://localhost:5000/", "", None),
        ("http://127.0.0.1:5000/", "", None),
        ("https://a.example.com/", "[::1,a.example.com:443", None),
    ],
)
def test_proxies(monkeypatch: pytest.MonkeyPatch, url: str, excepted: str, through: str | None) -> None:
    monkeypatch.setenv("https_proxy", "secure:1")
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://plain:1")
    monkeypatch.setenv("no_proxy", excepted)
    assert proxy_of(urlsplit(url)) == through


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("https://quay.io/v2/", "quay.io"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_the_server_of_a_login(text: str, name: str) -> None:
    assert server_name(text) == name


@pytest.mark.parametrize("text", ["[::1", "https://[::1", "host:port", "host:99999", ":5000", "user@host", "a b"])
def test_what_is_no_server_of_a_login(text: str) -> None:
    with pytest.raises(InvalidArgument, match="write HOST or HOST:PORT"):
        server_name(text)
