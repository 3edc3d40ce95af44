"""What is configured about registries: mirrors, insecure ones, forbidden ones.

TOML, from ``$HYRUN_CONFIG`` or else ``/etc/hyrun/registries.toml``, then ``$XDG_CONFIG_HOME/hyrun/registries.toml``,
whose entries replace those of the first. A key that is not known is an error: a misspelt ``insecure`` should
not be looked for in vain.
"""

import os
import sys
from typing import Any, NamedTuple

from hyrun.errors import InvalidArgument, RegistryError

from .urls import split

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SYSTEM = "/etc/hyrun/registries.toml"


class Host(NamedTuple):
    """One registry, by ``host[:port]``.

    ``mirrors`` are base URLs that are asked first on a pull. ``insecure`` allows certificates of unknown
    authorities, and plain HTTP. ``blocked`` forbids it.
    """

    mirrors: tuple[str, ...] = ()
    insecure: bool = False
    blocked: str | None = None


class Hosts(NamedTuple):
    """The whole configuration. ``keep_layers``: layers' compressed bytes stay, for a push with the same digests."""

    known: dict[str, Host]
    keep_layers: bool = True

    def of(self, host: str) -> Host:
        """Return what is configured about ``host[:port]``."""
        return self.known.get(host, Host())


def read() -> Hosts:
    """Read the configuration. Raises InvalidArgument, with the file's name, for what makes no sense."""
    keep = True
    known: dict[str, Host] = {}
    for path in (os.environ.get("HYRUN_CONFIG") or SYSTEM, os.path.join(user_directory(), "registries.toml")):
        document = _document(path)
        keep = _flag(document, "keep-layers", path, default=keep)
        for name, entry in _table(document.pop("registry", {}), path).items():
            known[name] = _host(name, _table(entry, path), path)
        _nothing_else(document, path)
    return Hosts(known, keep)


def user_directory() -> str:
    """Return the directory of the user's own configuration of hyrun."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, "hyrun")


def _document(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InvalidArgument(f"{path} is no TOML: {error}") from None


def _host(name: str, entry: dict[str, Any], path: str) -> Host:
    mirrors = entry.pop("mirrors", [])
    if not isinstance(mirrors, list) or not all(isinstance(mirror, str) and _is_base(mirror) for mirror in mirrors):
        raise InvalidArgument(f'{path}: mirrors of {name}: write ["https://mirror.example.com"]')
    insecure = _flag(entry, "insecure", path)
    blocked = _flag(entry, "blocked", path)
    _nothing_else(entry, f"{path}: registry {name}")
    return Host(tuple(mirror.rstrip("/") for mirror in mirrors), insecure, path if blocked else None)


def _is_base(mirror: str) -> bool:
    try:
        parts = split(mirror, "mirror")
    except RegistryError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _flag(table: dict[str, Any], key: str, path: str, *, default: bool = False) -> bool:
    value = table.pop(key, default)
    if not isinstance(value, bool):
        raise InvalidArgument(f"{path}: {key} is true or false")
    return value


def _table(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f'{path}: write [registry."host:port"], and what is to be said of it below')
    return dict(value)


def _nothing_else(table: dict[str, Any], path: str) -> None:
    for key in table:
        raise InvalidArgument(
            f"{path}: the key {key!r} is not known: hyrun knows keep-layers and, of a registry, "
            "mirrors, insecure and blocked"
        )
