"""Who asks: the Authorization header for one server, from its challenge and our credentials.

Source: distribution, docs/spec/auth/token.md and oauth.md; RFC 7617 for Basic.
"""

import json
import threading
from urllib.parse import urlencode

from hyrun.errors import RegistryError

from . import challenges
from .credentials import Credential, basic, find
from .endpoints import Endpoint, is_loopback
from .failures import document, failure
from .transport import Response, Transport
from .urls import split

_MAX_TOKEN = 1 << 20
#: What token servers are told we are.
CLIENT = "hyrun"


class Authenticator:
    """Says who asks at one repository; used by several threads."""

    def __init__(
        self, transport: Transport, endpoint: Endpoint, credential: Credential | None = None, *, offline: bool = False
    ) -> None:
        """Use ``credential``, or look for one when the registry wants it; ``offline`` asks for a refresh token."""
        self._transport = transport
        self._endpoint = endpoint
        self._given = credential
        self._offline = offline
        self._lock = threading.Lock()
        #: The header that the next request should have; "" for none.
        self.header = ""
        #: Who was asked for, None for nobody.
        self.user: str | None = None
        #: What the token server gave for the next time, if it did.
        self.refresh_token: str | None = None

    def answer(self, response: Response, used: str) -> bool:
        """Learn from a 401 to a request that had the header ``used``; tell whether to ask again.

        Raises RegistryError when the token server refuses, and what ``credentials.find`` raises.
        """
        with self._lock:
            if self.header != used:
                return True  # another thread was faster
            asked = challenges.parse(response.headers.getlist("WWW-Authenticate"))
            secure = not any(base.startswith("http://") for base in self._endpoint.bases)
            for challenge in asked:
                if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                    self.header = f"Bearer {self._token(challenge.parameters, secure=secure)}"
                    return True
            credential = self._credential()
            if credential is None or credential.identity_token:
                return False
            if any(challenge.scheme == "basic" for challenge in asked):
                self.header = basic(credential)
                return self.header != used
            return False

    def _credential(self) -> Credential | None:
        credential = self._given or find(self._endpoint.server, self._endpoint.repository)
        self._given = credential
        self.user = None if credential is None else credential.username or "the holder of the token"
        return credential

    def _token(self, parameters: dict[str, str], *, secure: bool) -> str:
        realm = parameters["realm"]
        parts = split(realm, f"registry {self._endpoint.server} names its token server")
        credential = self._credential()
        if credential is not None and secure and parts.scheme != "https" and not is_loopback(parts.netloc):
            raise RegistryError(
                f"registry {self._endpoint.server} wants the password sent to {parts.netloc[:200]} without TLS: refused"
            )
        query = {key: parameters[key] for key in ("service", "scope") if parameters.get(key)}
        if credential is not None and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credential.identity_token,
                "client_id": CLIENT,
                **query,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._transport.send("POST", realm, headers, urlencode(form).encode())
        else:
            headers = {}
            if credential is not None:
                query |= {"account": credential.username, "client_id": CLIENT}
                query |= {"offline_token": "true"} if self._offline else {}
                headers["Authorization"] = basic(credential)
            # Several scopes in one challenge are separated by spaces, and asked for one by one.
            scopes = [("scope", scope) for scope in query.pop("scope", "").split()]
            separator = "&" if parts.query else "?"
            response = self._transport.send("GET", f"{realm}{separator}{urlencode([*query.items(), *scopes])}", headers)
        if response.status != 200:
            raise failure(
                response, self._endpoint.server, f"{self._endpoint.repository or 'the registry'} (token)", self.user
            )
        try:
            answer = json.loads(document(response, f"token from {parts.netloc[:200]}", _MAX_TOKEN))
            token = answer.get("token") or answer.get("access_token")
            refresh = answer.get("refresh_token")
        except (ValueError, AttributeError, RecursionError):
            token = refresh = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(f"registry {self._endpoint.server}: {parts.netloc[:200]} answers without a token")
        if isinstance(refresh, str):
            self.refresh_token = refresh
        return token
