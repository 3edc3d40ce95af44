"""A token server, as those before Docker Hub and others (distribution, docs/spec/auth), for a real registry."""

import base64
import json
from urllib.parse import parse_qs, urlsplit

from support.faults import Answer, Faults, Request
from support.registry import PASSWORD, USER, Signer

SERVICE = "tests"
#: What a login gets for the next time.
REFRESH = "refresh-token"


class Tokens:
    """Gives ``user`` everything, and everybody else what is in ``public/``."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.server = Faults()
        self.server.on(".*", self._answer)
        self.realm = f"http://{self.server.host}/token"

    @property
    def requests(self) -> list[Request]:
        """What was asked for."""
        return self.server.requests

    def _answer(self, request: Request, answer: Answer) -> Answer:
        query = parse_qs(request.body.decode() if request.method == "POST" else urlsplit(request.path).query)
        known = False
        if request.method == "POST":
            known = query.get("refresh_token") == [REFRESH] and query.get("grant_type") == ["refresh_token"]
        elif "authorization" in request.headers:
            pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
            known = pair == f"{USER}:{PASSWORD}"
        if not known and ("authorization" in request.headers or request.method == "POST"):
            return _json(401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]})
        access = []
        for scope in " ".join(query.get("scope", [])).split():
            kind, name, actions = scope.split(":")
            if known or name.startswith("public/"):
                allowed = actions.split(",") if known else ["pull"]
                access.append({"type": kind, "name": name, "actions": allowed})
        token = self._signer.token(SERVICE, access)
        # A POST is answered with access_token (OAuth2), a GET with token.
        document = {"access_token" if request.method == "POST" else "token": token, "expires_in": 60}
        if query.get("offline_token") == ["true"]:
            document["refresh_token"] = REFRESH
        return _json(200, document)

    def close(self) -> None:
        """End the server."""
        self.server.close()


def _json(status: int, document: object) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(document).encode())
