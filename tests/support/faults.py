"""An HTTP server of the tests: before a registry, where it passes requests on and spoils some, or alone.

It writes down what it was asked.
"""

import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    """What somebody asked for; the headers' names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What is answered; ``cut`` closes the connection after so many bytes of the body, ``False`` does not."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: int | bool = False


#: Makes an answer of a request and of what the registry would answer (None if the rule is asked before it).
Rule = Callable[[Request, Answer], Answer]


class _Server(ThreadingHTTPServer):
    # Joined at the end: no test leaves a connection open.
    daemon_threads = False

    def handle_error(self, *_: object) -> None:
        """A client that goes away is what some tests are about."""


class Faults:
    """The server; ``host`` is its ``127.0.0.1:port``."""

    def __init__(self, upstream: str | None = None, *, tls: Any = None) -> None:
        self.requests: list[Request] = []
        self._rules: list[list[Any]] = []
        self._lock = threading.Lock()
        faults = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def handle_any(self) -> None:
                faults._handle(self, upstream)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = handle_any

        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def on(self, pattern: str, rule: Rule, *, times: int = 10**9, skip: int = 0, first: bool = False) -> None:
        """Let ``rule`` change the answers to requests that match ``METHOD path``, so many times after ``skip``.

        Of several rules that match, the one that was given first counts, or one that says ``first``.
        """
        self._rules.insert(0 if first else len(self._rules), [re.compile(pattern), rule, times, skip])

    def asked(self, pattern: str) -> list[Request]:
        """Return the requests that match ``METHOD path``."""
        return [each for each in self.requests if re.search(pattern, f"{each.method} {each.path}")]

    def close(self) -> None:
        """End the server; its clients must be gone."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handle(self, handler: BaseHTTPRequestHandler, upstream: str | None) -> None:
        request = Request(
            handler.command,
            handler.path,
            {name.lower(): value for name, value in handler.headers.items()},
            b"",
        )
        rule = self._rule(request)
        body, whole = self._body(handler, rule)
        request = request._replace(body=body)
        with self._lock:
            self.requests.append(request)
        answer = Answer(404, {}, b"")
        if upstream is not None:
            answer = _forward(upstream, request, whole=whole)
        if not whole:
            handler.close_connection = True
            return
        if rule is not None:
            answer = rule(request, answer)
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if not any(name.lower() == "content-length" for name in answer.headers):
            handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        with contextlib.suppress(ConnectionError):
            if handler.command != "HEAD":
                handler.wfile.write(answer.body if answer.cut is False else answer.body[: answer.cut])
                handler.wfile.flush()
        if answer.cut is not False:
            handler.close_connection = True
            with contextlib.suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)

    def _rule(self, request: Request) -> Rule | None:
        with self._lock:
            for entry in self._rules:
                pattern, rule, times, skip = entry
                if times > 0 and pattern.search(f"{request.method} {request.path}"):
                    if skip > 0:
                        entry[3] -= 1
                        continue
                    entry[2] -= 1
                    return rule
        return None

    @staticmethod
    def _body(handler: BaseHTTPRequestHandler, rule: Rule | None) -> tuple[bytes, bool]:
        """Read the request's body, or only the beginning of it when the rule is a cut of that."""
        length = int(handler.headers.get("Content-Length", "0"))
        limit = getattr(rule, "cut_request", None)
        if limit is None or limit >= length:
            return handler.rfile.read(length), True
        body = handler.rfile.read(limit)
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)
        return body, False


def _forward(upstream: str, request: Request, *, whole: bool) -> Answer:
    path = request.path
    if path.startswith("http://"):
        # As a proxy is asked; every host is the registry.
        path = "/" + path.split("/", 3)[3]
    connection = http.client.HTTPConnection(upstream, timeout=20)
    headers = {name: value for name, value in request.headers.items() if name not in ("connection", "content-length")}
    try:
        connection.putrequest(request.method, path, skip_host="host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        length = request.headers.get("content-length")
        if length is not None:
            connection.putheader("Content-Length", length)
        connection.endheaders(request.body)
        if not whole:
            # The registry sees what it gets, and then that nobody is there any more.
            return Answer(0, {}, b"")
        response = connection.getresponse()
        body = response.read()
        dropped = ("connection", "transfer-encoding")
        return Answer(
            response.status, {name: value for name, value in response.getheaders() if name.lower() not in dropped}, body
        )
    finally:
        connection.close()


def status(code: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Rule:
    """Answer with that status instead."""
    return lambda request, answer: Answer(code, headers or {}, body)


def header(name: str, value: str) -> Rule:
    """Add or replace a header of the answer."""

    def rule(request: Request, answer: Answer) -> Answer:
        kept = {key: text for key, text in answer.headers.items() if key.lower() != name.lower()}
        return answer._replace(headers={**kept, name: value})

    return rule


def cut(after: int) -> Rule:
    """Close the connection after so many bytes of the answer's body."""
    return lambda request, answer: answer._replace(cut=after)


def cut_request(after: int) -> Rule:
    """Close the connection after so many bytes of the request's body, which the registry gets."""

    return _CutRequest(after)


class _CutRequest:
    def __init__(self, after: int) -> None:
        self.cut_request = after

    def __call__(self, request: Request, answer: Answer) -> Answer:
        return answer


def replace(body: Callable[[bytes], bytes]) -> Rule:
    """Change the answer's body."""

    def rule(request: Request, answer: Answer) -> Answer:
        data = body(answer.body)
        kept = {key: text for key, text in answer.headers.items() if key.lower() != "content-length"}
        return answer._replace(body=data, headers=kept)

    return rule


def redirect(host: str) -> Rule:
    """Send the client to the same path on another server, ``http://host``."""
    return lambda request, answer: Answer(307, {"Location": f"http://{host}{request.path}"}, b"")
