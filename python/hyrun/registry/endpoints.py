"""From a reference to where its repository is: host, base URLs and path."""

from __future__ import annotations

from typing import NamedTuple

from hyrun.errors import RegistryError
from hyrun.references import DEFAULT_DOMAIN, Reference

from .hosts import Hosts
from .urls import split

#: The host that serves docker.io.
_DOCKER_HUB = "registry-1.docker.io"


class Endpoint(NamedTuple):
    """A repository at one server.

    ``server`` is what people call it (``docker.io``): errors and logins go by it. ``bases`` are the URLs to try,
    in order, until something answers: ``https://host``, and ``http://host`` where that is allowed.
    """

    server: str
    bases: tuple[str, ...]
    repository: str


def of(reference: Reference, hosts: Hosts, *, mirrors: bool = True) -> list[Endpoint]:
    """Return where a reference's repository may be, in the order to ask. Raises RegistryError when it is forbidden."""
    settings = hosts.of(reference.domain)
    if settings.blocked is not None:
        raise RegistryError(f"registry {reference.domain} is blocked by {settings.blocked}")
    found = []
    for mirror in settings.mirrors if mirrors else ():
        parts = split(mirror, f"mirror of {reference.domain}")
        path = parts.path.strip("/")
        repository = f"{path}/{reference.path}" if path else reference.path
        found.append(Endpoint(parts.netloc, (f"{parts.scheme}://{parts.netloc}",), repository))
    return [*found, Endpoint(reference.domain, bases(reference.domain, hosts), reference.path)]


def bases(server: str, hosts: Hosts) -> tuple[str, ...]:
    """Return the base URLs of a registry, in the order to try."""
    host = _DOCKER_HUB if server == DEFAULT_DOMAIN else server
    if hosts.of(server).insecure or is_loopback(host):
        return (f"https://{host}", f"http://{host}")
    return (f"https://{host}",)


def is_loopback(host: str) -> bool:
    """Tell whether ``host[:port]`` is this machine by its name alone: nobody can listen on the way to it."""
    name = split(f"//{host}", "registry").hostname or ""
    if name == "localhost" or name.endswith(".localhost") or name == "::1":
        return True
    parts = name.split(".")
    return parts[0] == "127" and len(parts) == 4 and all(part.isdecimal() for part in parts)
