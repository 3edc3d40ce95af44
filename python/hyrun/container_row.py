"""A container as a row of `ps`: the fields of docker's ``--format``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from . import container_size
from .container_inspect import timestamp
from .container_record import Record
from .store import Store
from .template_values import quote
from .units import ago, duration, short_id, size


def row(store: Store, record: Record, *, no_trunc: bool, sizes: bool) -> dict[str, Any]:
    """Return the fields of one container. ``sizes``: look how large it is, which takes time."""
    config = record.config
    command = _command(config.get("Argv") or ())
    if not no_trunc and len(command) > 20:
        command = command[:19] + "…"
    mounts = config.get("Mounts") or []
    moment = time.localtime(record.created // 1_000_000_000)
    return {
        # As Go quotes it: what an image's command may hold is not for the terminal.
        "Command": quote(command),
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", moment),
        "ID": record.id if no_trunc else short_id(record.id),
        "Image": config.get("ImageName", ""),
        "Label": lambda key: record.labels.get(key, ""),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(record.labels.items())),
        "LocalVolumes": str(sum(mount.get("Type") == "volume" for mount in mounts)),
        "Mounts": ",".join(_mount_name(mount, no_trunc=no_trunc) for mount in mounts),
        "Names": record.name,
        "Networks": config.get("NetworkMode", "none"),
        "Ports": "",
        "RunningFor": ago(timestamp(record.created)),
        "Size": _size(store, record) if sizes else "0B",
        "State": record.status,
        "Status": _status(record),
    }


def _command(argv: Sequence[str]) -> str:
    """Return a command as docker shows it: arguments with a space in them are in single quotes."""
    program, arguments = argv[:1], argv[1:]
    return " ".join((*program, *(f"'{text}'" if " " in text else text for text in arguments)))


def _size(store: Store, record: Record) -> str:
    written = container_size.written(record)
    virtual = written + container_size.of_image(store, record)
    return f"{size(written)} (virtual {size(virtual)})" if virtual else size(written)


def _status(record: Record) -> str:
    """Return docker's words for the state and how long it has been so."""
    if record.status in ("running", "paused"):
        up = f"Up {duration((time.time_ns() - record.started) / 1e9)}"
        return f"{up} (Paused)" if record.paused else up
    if record.status in ("exited", "restarting"):
        code = "unknown" if record.exit_status is None else record.exit_code
        word = "Exited" if record.status == "exited" else "Restarting"
        return f"{word} ({code}) {ago(timestamp(record.finished))}"
    return "Created"


def _mount_name(mount: dict[str, Any], *, no_trunc: bool) -> str:
    name = str(mount.get("Name") or mount.get("Source") or "")
    return name if no_trunc or len(name) <= 15 else name[:14] + "…"
