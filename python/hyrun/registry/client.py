"""One repository at one server: requests with who asks, redirects, and another attempt when it is worth one.

Source: OCI distribution-spec.
"""

import random
import threading
from collections.abc import Callable, Container
from typing import Any, NamedTuple

from hyrun.errors import RegistryError

from .authentication import Authenticator
from .endpoints import Endpoint
from .failures import failure
from .transport import Broken, Response, Transport, Unreachable
from .urls import join, split

#: How often something is tried, docker's number, and the seconds before the second attempt, which then double.
ATTEMPTS = 5
BACK_OFF = 0.5
#: A registry that wants us to wait longer than this, in seconds, gets an error to show instead.
MAX_WAIT = 60
_TRANSIENT = frozenset((408, 429, 500, 502, 503, 504))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MAX_REDIRECTS = 10
#: How often one request may be answered by "who are you?": the first time, and for a wider scope, and an old token.
_MAX_CHALLENGES = 3


class Result(NamedTuple):
    """A response and the URL that gave it; the body is the caller's to read, close or release."""

    response: Response
    url: str


class Client:
    """A repository; used by several threads."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        *,
        authenticator: Authenticator | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """``warn`` is called with each new warning of the registry."""
        self.transport = transport
        self.endpoint = endpoint
        self._authenticator = authenticator or Authenticator(transport, endpoint)
        self._warn = warn
        self._warned: set[str] = set()
        self._lock = threading.Lock()
        self._base: str | None = None
        self._name = f"registry {endpoint.server}"

    @property
    def user(self) -> str | None:
        """Who asks; None for nobody, and while the registry has not wanted to know."""
        return self._authenticator.user

    def request(
        self,
        method: str,
        url: str,
        *,
        what: str,
        hoped: Container[int] = (200,),
        headers: dict[str, str] | None = None,
        body: Any = None,
        again: bool = True,
    ) -> Result:
        """Return the response to a request, whose status is one of ``hoped``.

        ``url`` is a path below the server's base, or a whole URL; ``what`` is what it is about, for errors.
        ``again`` says whether a failure may be followed by another attempt; a body that is no ``bytes`` can be
        sent once only. Raises RegistryError; Broken is one where it may go on later.
        """
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1 or not again
            wait = BACK_OFF * 2**attempt * random.uniform(0.75, 1.25)
            try:
                result = self._known(method, url, headers or {}, body, what)
            except RegistryError as error:
                if last or not self._worth(error):
                    raise
            else:
                self._show_warnings(result.response)
                if result.response.status in hoped:
                    return result
                wait = _wanted(result.response, wait)
                if last or result.response.status not in _TRANSIENT or wait > MAX_WAIT:
                    raise failure(result.response, self.endpoint.server, what, self.user)
                result.response.close()
            self.transport.wait(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _worth(self, error: RegistryError) -> bool:
        """Tell whether another attempt may go better: a server that has never answered is not there at all."""
        if isinstance(error, Unreachable):
            return self._base is not None and not error.untrusted
        return isinstance(error, Broken) or error.status in _TRANSIENT

    def _known(self, method: str, url: str, headers: dict[str, str], body: Any, what: str) -> Result:
        """Make one attempt, as whoever the registry wants us to be."""
        challenges = 0
        while True:
            used = self._authenticator.header
            result = self._found(method, url, {**headers, "Authorization": used} if used else headers, body)
            if result.response.status != 401 or challenges == _MAX_CHALLENGES or not self._is_ours(result.url):
                return result
            challenges += 1
            if not self._authenticator.answer(result.response, used):
                return result
            result.response.close()
            if not isinstance(body, (bytes, type(None))):
                raise Broken(f"{self._name} wants to know again who sends {what}")

    def _found(self, method: str, url: str, headers: dict[str, str], body: Any) -> Result:
        """Find out whether the server speaks TLS, if that is not known yet."""
        if self._base is not None or not url.startswith("/"):
            return self._redirected(method, join(self._base or "", url, self._name), headers, body)
        first: Unreachable | None = None
        for base in self.endpoint.bases:
            try:
                result = self._redirected(method, base + url, headers, body)
            except Unreachable as error:
                first = first or error
                if error.untrusted:
                    break
            else:
                with self._lock:
                    self._base = base
                return result
        assert first is not None
        raise first

    def _redirected(self, method: str, url: str, headers: dict[str, str], body: Any) -> Result:
        """Follow redirects; who asks is never said to another server than the registry."""
        for _ in range(_MAX_REDIRECTS):
            sent = headers
            if "Authorization" in headers and not self._is_ours(url):
                sent = {name: value for name, value in headers.items() if name != "Authorization"}
            response = self.transport.send(method, url, sent, body)
            if response.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                return Result(response, url)
            response.close()
            target = join(url, response.headers.get("Location", ""), f"{self._name} redirects")
            if url.startswith("https:") and not target.startswith("https:"):
                raise RegistryError(f"{self._name} redirects from https to {target[:100]!r}: refused, it is not safe")
            url = target
        raise RegistryError(f"{self._name} redirects more than {_MAX_REDIRECTS} times")

    def _is_ours(self, url: str) -> bool:
        """Tell whether a URL leads to the registry itself: same scheme, host and port."""
        parts = split(url, self._name)
        origin = f"{parts.scheme}://{parts.netloc}"
        return origin == self._base if self._base is not None else origin in self.endpoint.bases

    def _show_warnings(self, response: Response) -> None:
        """Pass on what the registry wants its users to know (distribution-spec, "Warnings"; RFC 7234, 5.5)."""
        for header in response.headers.getlist("Warning"):
            code, _, rest = header.partition(" ")
            text = rest.partition('"')[2].rpartition('"')[0].replace('\\"', '"')
            if (
                code == "299"
                and text
                and self._warn is not None
                and len(self._warned) < 20
                and text not in self._warned
            ):
                self._warned.add(text)
                self._warn(f"{self._name}: {text[:500]}")


def _wanted(response: Response, otherwise: float) -> float:
    """Return for how many seconds the server wants us to wait (Retry-After, RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    if text:
        import email.utils
        import time

        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
        except (ValueError, TypeError):
            pass
    return otherwise
