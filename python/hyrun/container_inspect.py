"""A container as docker's `inspect` and `ps` show it: the same names and types, for what exists here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from . import filters
from .container_list import Record

_NEVER = "0001-01-01T00:00:00Z"


def inspect(record: Record) -> dict[str, Any]:
    """Return the fields of docker's `inspect` for one container."""
    config = record.config
    argv = config.get("Argv") or [""]
    return {
        "Id": record.id,
        "Created": timestamp(record.created),
        "Path": argv[0],
        "Args": argv[1:],
        "State": {
            "Status": record.status,
            "Running": record.status == "running",
            "Paused": False,
            "Restarting": False,
            "OOMKilled": False,
            "Dead": False,
            "Pid": record.pid,
            "ExitCode": record.exit_code,
            "Error": "" if record.status != "exited" or record.exit_status is not None else "exit status unknown",
            "StartedAt": timestamp(record.started),
            "FinishedAt": timestamp(record.finished),
        },
        "Image": config.get("Image", ""),
        "Name": f"/{record.name}",
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": {
            "AutoRemove": bool(config.get("AutoRemove")),
            "NetworkMode": config.get("NetworkMode", "none"),
            "ReadonlyRootfs": bool(config.get("ReadonlyRootfs")),
            "Tmpfs": config.get("Tmpfs") or None,
            "Privileged": False,
        },
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {
                "LowerDir": ":".join(config.get("Layers") or ()),
                "UpperDir": f"{record.directory}/upper",
                "WorkDir": f"{record.directory}/work",
            },
        },
        "Mounts": config.get("Mounts") or [],
        "Config": {
            "Hostname": config.get("Hostname", ""),
            "User": config.get("User") or "",
            "Tty": False,
            "OpenStdin": bool(config.get("OpenStdin")),
            "Env": config.get("Env"),
            "Cmd": config.get("Cmd"),
            "Image": config.get("ImageName", ""),
            "Volumes": config.get("Volumes") or None,
            "WorkingDir": config.get("WorkingDir", ""),
            "Entrypoint": config.get("Entrypoint"),
            "Labels": config.get("Labels") or {},
            "ExposedPorts": config.get("ExposedPorts"),
            "StopSignal": config.get("StopSignal"),
        },
        "NetworkSettings": {"Ports": {}, "Networks": {config.get("NetworkMode", "none"): {}}},
    }


def row(record: Record, *, no_trunc: bool) -> dict[str, Any]:
    """Return the fields of docker's `ps --format` for one container."""
    from .units import ago, short_id

    config = record.config
    command = " ".join(config.get("Argv") or ())
    if not no_trunc and len(command) > 20:
        command = command[:19] + "…"
    labels = config.get("Labels") or {}
    mounts = config.get("Mounts") or []
    created = timestamp(record.created)
    return {
        "Command": f'"{command}"',
        "CreatedAt": created,
        "ID": record.id if no_trunc else short_id(record.id),
        "Image": config.get("ImageName", ""),
        "Label": lambda key: labels.get(key, ""),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "LocalVolumes": str(sum(mount.get("Type") == "volume" for mount in mounts)),
        "Mounts": ",".join(_mount_name(mount, no_trunc=no_trunc) for mount in mounts),
        "Names": record.name,
        "Networks": config.get("NetworkMode", "none"),
        "Ports": "",
        "RunningFor": ago(created),
        "State": record.status,
        "Status": _status(record),
    }


def matches(record: Record, wanted: dict[str, list[str]]) -> bool:
    """Tell whether a container passes all filters (docker: one kind is or-ed, several kinds are and-ed)."""
    config = record.config
    mounts = config.get("Mounts") or []
    places = {mount.get("Name") for mount in mounts} | {mount.get("Source") for mount in mounts}
    places |= {mount.get("Destination") for mount in mounts}
    image = config.get("ImageName", "")
    tests: dict[str, Callable[[str], bool]] = {
        "id": lambda value: record.id.startswith(value),
        "name": lambda value: value.lstrip("/") in record.name,
        "status": lambda value: value == record.status,
        "volume": lambda value: value in places,
        "ancestor": lambda value: value in (image, image.removesuffix(":latest"), config.get("Image")),
        "exited": lambda value: record.status == "exited" and value == str(record.exit_code),
    }
    if not filters.match_labels(config.get("Labels") or {}, wanted.get("label", [])):
        return False
    return all(any(tests[key](value) for value in values) for key, values in wanted.items() if key != "label")


def timestamp(nanoseconds: int) -> str:
    """Return RFC 3339 in UTC with nanoseconds; docker's zero time for 0."""
    if not nanoseconds:
        return _NEVER
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


def _status(record: Record) -> str:
    from .units import ago, duration

    if record.status == "running":
        return f"Up {duration((time.time_ns() - record.started) / 1e9)}"
    if record.status == "exited":
        code = "unknown" if record.exit_status is None else record.exit_code
        return f"Exited ({code}) {ago(timestamp(record.finished))}"
    return "Created"


def _mount_name(mount: dict[str, Any], *, no_trunc: bool) -> str:
    name = str(mount.get("Name") or mount.get("Source") or "")
    return name if no_trunc or len(name) <= 15 else name[:14] + "…"
