"""`login` and `logout`: a credential is tried before it is kept."""

from hyrun.errors import InvalidArgument, RegistryError
from hyrun.references import DEFAULT_DOMAIN

from . import endpoints, hosts
from .authentication import Authenticator
from .client import Client
from .credentials import Credential, erase, store
from .transport import Transport
from .urls import split

_HUB_NAMES = frozenset(("", "docker.io", "index.docker.io", "registry-1.docker.io"))


def server_name(text: str) -> str:
    """Return ``host[:port]`` of what somebody typed for a registry, a URL perhaps; docker.io for nothing."""
    name = text.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if name in _HUB_NAMES:
        return DEFAULT_DOMAIN
    try:
        host = split(f"//{name}", "registry").hostname
    except RegistryError:
        host = None
    if not host or not name.isascii() or not name.isprintable() or " " in name or "@" in name:
        raise InvalidArgument(f"registry {text[:100]!r}: write HOST or HOST:PORT, such as registry.example.com")
    return name


def login(server: str, username: str, password: str) -> str | None:
    """Try a credential and keep it; return the file that it is in when anyone who reads that can read it.

    Raises RegistryError when the registry refuses, StorageError when it cannot be kept.
    """
    credential = Credential(username, password)
    with Transport(hosts.read()) as transport:
        endpoint = endpoints.Endpoint(server, endpoints.bases(server, transport.hosts), "")
        authenticator = Authenticator(transport, endpoint, credential, offline=True)
        client = Client(transport, endpoint, authenticator=authenticator)
        try:
            client.request("GET", "/v2/", what="the login").response.close()
        except RegistryError as error:
            if error.status not in (401, 403):
                raise
            raise RegistryError(
                f"registry {server} refuses the login as {username}: wrong name or password", error.status
            ) from None
    if authenticator.refresh_token is not None:
        credential = Credential(username, "", authenticator.refresh_token)
    return store(server, credential)


def logout(server: str) -> bool:
    """Forget the credential of a registry; tell whether there was one. Raises StorageError."""
    return erase(server)
