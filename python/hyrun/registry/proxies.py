"""Which proxy a URL goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, read as docker's Go does.

Source: golang.org/x/net/http/httpproxy.
"""

import ipaddress
import os
from urllib.parse import SplitResult

from .endpoints import is_loopback


def proxy_of(url: SplitResult) -> str | None:
    """Return the URL of the proxy; None to go straight. Nothing on this machine itself goes through one."""
    if is_loopback(url.netloc) or _excepted(url):
        return None
    proxy = _variable(f"{url.scheme}_proxy")
    return (proxy if "://" in proxy else f"http://{proxy}") if proxy else None


def _variable(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.upper()) or ""


def _excepted(url: SplitResult) -> bool:
    host = (url.hostname or "").rstrip(".")
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    for entry in _variable("no_proxy").lower().replace(",", " ").split():
        if entry == "*" or _in_network(host, entry):
            return True
        before, _, last = entry.rpartition(":")
        if last.isdecimal() and last != str(port):
            continue
        name = (before if last.isdecimal() else entry).removeprefix("*")
        # ``example.com`` is the host and all below it, ``.example.com`` only those.
        if host.endswith(name if name.startswith(".") else f".{name}") or host == name:
            return True
    return False


def _in_network(host: str, entry: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
