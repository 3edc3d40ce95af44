"""The files with credentials: where they are, how they are read and changed."""

import fcntl
import json
import os
from collections.abc import Callable
from typing import Any

from hyrun.documents import parse_object
from hyrun.errors import StorageError
from hyrun.store import write_atomic


def docker_path() -> str:
    """Return ``$DOCKER_CONFIG/config.json``, or the one in ``~/.docker``."""
    return os.path.join(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"), "config.json")


def podman_paths() -> list[str]:
    """Return where podman, buildah and skopeo keep theirs, in the order in which they look."""
    paths = [os.environ.get("REGISTRY_AUTH_FILE", "")]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        paths.append(os.path.join(runtime, "containers/auth.json"))
    paths.append(f"/run/containers/{os.geteuid()}/auth.json")
    return [path for path in paths if path]


def read(path: str) -> dict[str, Any]:
    """Return the object in a file; an empty one when there is no file. Raises StorageError."""
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 22)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    return parse_object(data, path) if data.strip() else {}


def change(path: str, function: Callable[[dict[str, Any]], None]) -> None:
    """Change a file as a whole; whatever else is in it stays. Only its owner may read it afterwards."""
    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Two logins at once would lose one of the two.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            document = read(path)
            function(document)
            write_atomic(path, json.dumps(document, indent="\t").encode() + b"\n")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}: choose another directory with DOCKER_CONFIG") from None
