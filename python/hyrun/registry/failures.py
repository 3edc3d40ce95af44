"""What a registry's refusal means: from status, headers and error document to one sentence."""

import json

from urllib3.exceptions import HTTPError

from hyrun.documents import MAX_DOCUMENT
from hyrun.errors import RegistryError, StorageError
from hyrun.references import DEFAULT_DOMAIN

from .transport import Broken, Response

#: Bytes of an error document that are looked at, and characters of it that are shown.
_MAX_ERROR = 64 << 10
_SHOWN = 300


def failure(response: Response, server: str, what: str, user: str | None) -> RegistryError:
    """Return the error for a response that is none of those hoped for; the response is used up.

    ``what`` is what was asked for (``library/busybox:latest``); ``user`` who asked, None for nobody.
    """
    said = _said(response)
    status = response.status
    login = f"hyrun login {server}" if server != DEFAULT_DOMAIN else "hyrun login"
    if status in (401, 403):
        cause = f"the login as {user} does not allow it" if user else f"no such repository, or it wants {login} first"
        text = f"registry {server} denies access to {what}: {cause}{said}"
    elif status == 404:
        text = f"registry {server} has no {what}{said}"
    elif status == 429:
        limit = f"the limit of {user} is reached" if user else f"the limit for anonymous clients is reached: {login}"
        after = response.headers.get("Retry-After")
        again = f", or try again in {after} s" if after is not None and after.isdecimal() else ", or try again later"
        text = f"registry {server} gives no more for now (429, too many requests): {limit}{again}{said}"
    elif status >= 500:
        text = f"registry {server} failed with status {status} at {what}: try again later{said}"
    else:
        text = f"registry {server} answers status {status} to {what}{said}"
    return RegistryError(text, status)


def document(response: Response, what: str, limit: int = MAX_DOCUMENT) -> bytes:
    """Return the whole body, which must be a small document, and give the connection back. Raises StorageError."""
    try:
        data = b""
        while len(data) <= limit:
            chunk = read(response, min(1 << 16, limit + 1 - len(data)), what)
            if not chunk:
                response.release_conn()
                return data
            data += chunk
    except BaseException:
        response.close()
        raise
    response.close()
    raise StorageError(f"{what} has more than {limit} bytes: refused")


def read(response: Response, amount: int, what: str) -> bytes:
    """Return some of the body, nothing at its end. Raises Broken."""
    try:
        return response.read(amount)
    except (HTTPError, OSError) as error:
        raise Broken(f"{what}: the connection broke: {error}") from None


def _said(response: Response) -> str:
    """Return the registry's own words, in parentheses; they are text from outside."""
    try:
        data = document(response, "error", _MAX_ERROR)
        errors = json.loads(data)["errors"]
        words = [f"{str(error.get('code', '')).lower()}: {error.get('message', '')}" for error in errors[:3]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, StorageError, Broken):
        return ""
    text = "; ".join(words)
    text = text if text.isprintable() else ascii(text)
    return f" ({text[:_SHOWN]})" if text else ""
