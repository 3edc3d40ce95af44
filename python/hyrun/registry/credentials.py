"""Who we are at a registry: docker's config.json with its helpers, then podman's auth.json.

Source: docker/cli, docs/reference/commandline/login; containers-auth.json(5).
"""

import base64
import binascii
from typing import Any, NamedTuple

from hyrun.errors import StorageError
from hyrun.references import DEFAULT_DOMAIN

from . import authfile, helpers

#: What docker calls docker.io in its files.
HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = frozenset(("index.docker.io", "registry-1.docker.io"))


class Credential(NamedTuple):
    """A user with a password, or an identity token instead of both."""

    username: str
    password: str
    identity_token: str = ""


def basic(credential: Credential) -> str:
    """Return the header's value for Basic authentication (RFC 7617)."""
    pair = f"{credential.username}:{credential.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def key(server: str) -> str:
    """Return what docker's files call a server."""
    return HUB_KEY if server == DEFAULT_DOMAIN else server


def find(server: str, repository: str = "") -> Credential | None:
    """Return who we are at ``host[:port]``; None for nobody. Raises StorageError for a file or helper that fails.

    Either file may name a part of a registry (``quay.io/team``): the longest that fits counts, and for the rest of the
    registry it says nothing.
    """
    document = authfile.read(authfile.docker_path())
    helper = helper_of(document, server)
    if helper is not None:
        found = helpers.get(helper, key(server))
        if found is not None:
            username, secret = found
            # docker, credentials/native_store: this user name says that the secret is a token.
            return Credential("", "", secret) if username == "<token>" else Credential(username, secret)
    found_in_file = _in_file(document, server, repository, authfile.docker_path())
    if found_in_file is not None:
        return found_in_file
    for path in authfile.podman_paths():
        document = authfile.read(path)
        helper = helper_of(document, server)
        if helper is not None and (found := helpers.get(helper, server)) is not None:
            return Credential(*found)
        found_in_file = _in_file(document, server, repository, path)
        if found_in_file is not None:
            return found_in_file
    return None


def store(server: str, credential: Credential) -> str | None:
    """Keep a credential for ``find``; return the path of the file when it is in there, readable for who reads files."""
    path = authfile.docker_path()
    helper = helper_of(authfile.read(path), server)
    if helper is not None:
        if credential.identity_token:
            helpers.store(helper, key(server), "<token>", credential.identity_token)
        else:
            helpers.store(helper, key(server), credential.username, credential.password)
        return None

    def change(document: dict[str, Any]) -> None:
        pair = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode("ascii")
        entry = {"auth": pair}
        if credential.identity_token:
            entry["identitytoken"] = credential.identity_token
        auths = document.setdefault("auths", {})
        for name in [name for name in auths if _server(name) == _server(server)]:
            del auths[name]
        auths[key(server)] = entry

    authfile.change(path, change)
    return path


def erase(server: str) -> bool:
    """Forget who we are at a server; tell whether anything was known. Podman's files stay as they are."""
    path = authfile.docker_path()
    document = authfile.read(path)
    helper = helper_of(document, server)
    known = False
    if helper is not None and helpers.get(helper, key(server)) is not None:
        helpers.erase(helper, key(server))
        known = True
    names = [name for name in _auths(document, path) if _server(name) == _server(server)]
    if names:

        def change(document: dict[str, Any]) -> None:
            for name in names:
                document.get("auths", {}).pop(name, None)

        authfile.change(path, change)
    return known or bool(names)


def helper_of(document: dict[str, Any], server: str) -> str | None:
    """Return the helper that a file names for a server: its own, or that of all.

    An empty name is docker's word for "in the file": None, whatever all others have.
    """
    own = document.get("credHelpers")
    for name, helper in own.items() if isinstance(own, dict) else ():
        if _server(name) == _server(server) and isinstance(helper, str):
            return helper or None
    of_all = document.get("credsStore")
    return of_all if isinstance(of_all, str) and of_all else None


def _in_file(document: dict[str, Any], server: str, repository: str, path: str) -> Credential | None:
    auths = _auths(document, path)
    # containers-auth.json(5): the most specific name first, each of them exactly.
    place = f"{server}/{repository}"
    while repository and place != server:
        if place in auths:
            return _credential(auths[place], place, path)
        place = place.rpartition("/")[0]
    for name in (key(server), server, *auths):
        if name in auths and _server(name) == _server(server):
            return _credential(auths[name], server, path)
    return None


def _auths(document: dict[str, Any], path: str) -> dict[str, Any]:
    auths = document.get("auths")
    if auths is None:
        return {}
    if not isinstance(auths, dict):
        raise StorageError(f"{path}: auths is no object: mend it or remove it")
    return auths


def _credential(entry: object, server: str, path: str) -> Credential | None:
    if not isinstance(entry, dict):
        raise StorageError(f"{path}: auths: {server} is no object: hyrun logout {server}")
    username, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth"):
        try:
            pair = base64.b64decode(entry["auth"], validate=True).decode("utf-8")
        except (binascii.Error, ValueError, TypeError):
            raise StorageError(f"{path}: auth of {server} is no base64: hyrun login {server} again") from None
        username, _, password = pair.rstrip("\0").partition(":")
    token = entry.get("identitytoken") or ""
    if not all(isinstance(text, str) for text in (username, password, token)):
        raise StorageError(f"{path}: auths: {server} holds something else than text: hyrun login {server} again")
    return Credential(username, password, token) if username or token else None


def _server(name: str) -> str:
    """Return the server that a key names, which old files write as a URL (docker, registry.ConvertToHostname).

    A path without a scheme before it is podman's: the key is of that part of the registry alone.
    """
    bare = name.removeprefix("https://").removeprefix("http://")
    host = bare if bare == name else bare.partition("/")[0]
    return DEFAULT_DOMAIN if host in _HUB_HOSTS else host
