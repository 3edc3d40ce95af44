"""Credential helpers: ``docker-credential-NAME get|store|erase`` (docker/docker-credential-helpers, README)."""

import json
import subprocess

from hyrun.errors import StorageError

#: What a helper says, with status 1, when it knows nothing (credentials/error.go).
_NOTHING = "credentials not found in native keychain"
#: Seconds: a helper may ask somebody to unlock something, but not for ever.
_PATIENCE = 60


def get(helper: str, server: str) -> tuple[str, str] | None:
    """Return user name and secret for a server; None when the helper knows none. Raises StorageError."""
    status, output = _run(helper, "get", server)
    if status:
        if _NOTHING in output:
            return None
        raise StorageError(f"docker-credential-{helper} get {server}: {_shown(output, status)}")
    try:
        answer = json.loads(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError):
        raise StorageError(
            f"docker-credential-{helper} get {server}: its answer is not what the protocol says"
        ) from None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise StorageError(f"docker-credential-{helper} get {server}: its answer is not what the protocol says")
    return (username, secret) if username or secret else None


def store(helper: str, server: str, username: str, secret: str) -> None:
    """Let the helper keep a secret. Raises StorageError."""
    request = json.dumps({"ServerURL": server, "Username": username, "Secret": secret})
    status, output = _run(helper, "store", request)
    if status:
        raise StorageError(f"docker-credential-{helper} store: {_shown(output, status)}")


def erase(helper: str, server: str) -> None:
    """Let the helper forget a server. Raises StorageError."""
    status, output = _run(helper, "erase", server)
    if status and _NOTHING not in output:
        raise StorageError(f"docker-credential-{helper} erase: {_shown(output, status)}")


def _run(helper: str, action: str, request: str) -> tuple[int, str]:
    program = f"docker-credential-{helper}"
    if "/" in helper or "\0" in helper:
        raise StorageError(f"credential helper {helper[:100]!r} is no name: write what follows docker-credential-")
    try:
        done = subprocess.run(
            [program, action], input=request.encode(), capture_output=True, timeout=_PATIENCE, check=False
        )
    except FileNotFoundError:
        raise StorageError(
            f"{program}, which the docker configuration names, is not installed: install it, or take the name out of "
            "credsStore and credHelpers in config.json"
        ) from None
    except OSError as error:
        raise StorageError(f"{program}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise StorageError(f"{program} {action}: no answer within {_PATIENCE} s") from None
    return done.returncode, (done.stdout or done.stderr).decode("utf-8", "replace").strip()


def _shown(output: str, status: int) -> str:
    text = output if output.isprintable() else ascii(output)
    return text[:200] or f"exit status {status}"
