"""HTTP: one exchange at a time over pools of connections, with the certificates and the proxy of each host.

No redirect, no retry and no credential here: those are decisions of ``client``.
"""

import ssl
import threading
from http.client import BadStatusLine, RemoteDisconnected
from typing import Any, Protocol
from urllib.parse import SplitResult, urlunsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    HTTPWarning,
    InsecureRequestWarning,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from hyrun.errors import HyrunError, RegistryError

from .certificates import context
from .hosts import Hosts
from .proxies import proxy_of
from .urls import split

#: Seconds for a connection, and without a byte on one before it counts as broken.
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
_AGENT = "hyrun"
#: A body that is read only to be done with it is shorter, in bytes.
_SHORT = 1 << 16


class Response(Protocol):
    """What this package uses of urllib3's response; the body is read by whoever asked."""

    status: int

    @property
    def headers(self) -> urllib3.HTTPHeaderDict:
        """The headers; their names are compared without case."""

    def read(self, amt: int) -> bytes:
        """Return up to ``amt`` bytes of the body; none at its end."""

    def close(self) -> None:
        """Close the connection."""

    def release_conn(self) -> None:
        """Give the connection back for the next exchange; the body must have been read."""


class Broken(RegistryError):
    """A connection broke, or nothing came over it: another attempt may do."""


class Unreachable(RegistryError):
    """No connection came about; ``untrusted`` when one did and its certificate was refused."""

    untrusted = False


class Cancelled(Exception):
    """Another part of the work has failed, or was interrupted: stop."""


def finish(response: Response) -> None:
    """Be done with a response of which the status and the headers were all: its connection is for the next exchange.

    Only once the body, however empty, has been read: until then http.client takes the connection for busy, and another
    thread that gets it fails.
    """
    try:
        if len(response.read(_SHORT)) < _SHORT:
            response.release_conn()
            return
    except (HTTPError, OSError):
        pass  # nobody wanted to know
    response.close()


class Transport:
    """The connections of one pull or push; used by several threads."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._managers: dict[str, urllib3.PoolManager] = {}

    def __enter__(self) -> "Transport":
        return self

    def __exit__(self, *_: object) -> None:
        for manager in self._managers.values():
            manager.clear()

    def send(self, method: str, url: str, headers: dict[str, str], body: Any = None) -> Response:
        """Make one exchange and return the response, whatever its status.

        Raises Unreachable, Broken, and what ``certificates.context`` raises.
        """
        self.check()
        parts = split(url, "registry")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryError(f"registry: {url[:200]!r} is no URL of http or https")
        # Names and passwords in a URL would go into the log of every proxy.
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        try:
            return self._manager(parts).request(
                method,
                url,
                headers={"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers},
                body=body,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=_TIMEOUT,
            )
        except HyrunError:
            raise  # InvalidArgument, of a file of certificates, is a ValueError
        except (HTTPError, OSError, UnicodeError) as error:
            raise _explained(parts, error) from None
        except ValueError as error:
            # What http.client makes of a connection that ends while it is being closed.
            raise _explained(parts, OSError(str(error))) from None

    def check(self) -> None:
        """Stop here if the work is cancelled."""
        if self.cancelled.is_set():
            raise Cancelled

    def wait(self, seconds: float) -> None:
        """Wait, or stop at once when the work is cancelled."""
        if self.cancelled.wait(seconds):
            raise Cancelled

    def _manager(self, parts: SplitResult) -> urllib3.PoolManager:
        host = parts.netloc.rpartition("@")[2]
        key = f"{parts.scheme}://{host}"
        with self._lock:
            if key not in self._managers:
                insecure = self.hosts.of(host).insecure
                tls = context(host, insecure=insecure) if parts.scheme == "https" else None
                if insecure:
                    urllib3.disable_warnings(InsecureRequestWarning)
                self._managers[key] = _manager(proxy_of(parts), tls)
            return self._managers[key]


def _manager(proxy: str | None, tls: ssl.SSLContext | None) -> urllib3.PoolManager:
    options: dict[str, Any] = {"maxsize": 4, "blocksize": 1 << 18, "ssl_context": tls}
    if proxy is None:
        return urllib3.PoolManager(**options)
    parts = split(proxy, "proxy in the environment")
    user = f"{parts.username}:{parts.password or ''}" if parts.username else None
    try:
        return urllib3.ProxyManager(
            urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])),
            proxy_headers=urllib3.make_headers(proxy_basic_auth=user),
            **options,
        )
    except (HTTPError, ValueError, HTTPWarning):
        raise RegistryError(f"proxy {parts.hostname}: its address in the environment is no http:// URL") from None


def _explained(parts: SplitResult, error: Exception) -> RegistryError:
    host = parts.netloc.rpartition("@")[2]
    cause: BaseException = error
    through = ""
    if isinstance(error, ProxyError):
        cause, through = error.original_error, " through the proxy"
    if isinstance(cause, SSLError) and cause.args and isinstance(cause.args[0], Exception):
        cause = cause.args[0]
    if isinstance(cause, ssl.SSLCertVerificationError):
        refused = Unreachable(
            f"registry {host}: its certificate is not trusted ({cause.verify_message}): put its authority's "
            f"certificate into /etc/docker/certs.d/{host}/ca.crt"
        )
        refused.untrusted = True
        return refused
    if isinstance(cause, ssl.SSLError):
        return Unreachable(
            f"registry {host} does not speak TLS as it should ({cause.reason or cause}): if it is a plain http one, "
            f'say insecure = true below [registry."{host}"] in registries.toml'
        )
    if isinstance(cause, NameResolutionError):
        return Unreachable(f"registry {host}: no such host is known here: check the name, and this machine's network")
    if isinstance(cause, NewConnectionError) or through:
        reason = str(cause).rpartition(": ")[2].rpartition("] ")[2] or type(cause).__name__
        return Unreachable(f"registry {host} cannot be reached{through}: {reason}")
    if isinstance(cause, ConnectTimeoutError):
        return Unreachable(f"registry {host} cannot be reached{through}: no answer for {_TIMEOUT.connect_timeout} s")
    if isinstance(cause, (LocationParseError, UnicodeError)):
        return RegistryError(f"registry {host!r} is no host name")
    if any(isinstance(item, BadStatusLine) and not isinstance(item, RemoteDisconnected) for item in cause.args):
        return RegistryError(f"registry {host} does not speak HTTP: there is something else at that address")
    return Broken(f"registry {host}: the connection broke: {cause}")
