"""A container as docker's `inspect` shows it: the same names and types, for what exists here."""

from __future__ import annotations

from typing import Any

from . import container_size, moments
from .container_record import Record
from .store import Store

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
        "State": _state(record),
        "Image": config.get("Image", ""),
        # These three files are in the container's memory alone.
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": f"{record.directory}/container.log" if record.kept else "",
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "ExecIDs": None,
        "HostConfig": _host_config(record),
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {
                "LowerDir": ":".join(config.get("Layers") or ()),
                "UpperDir": f"{record.directory}/upper",
                "WorkDir": f"{record.directory}/work",
            },
        },
        "Mounts": config.get("Mounts") or [],
        "Config": _config(record),
        "NetworkSettings": _network_settings(config.get("NetworkMode", "none")),
    }


def sizes(store: Store, record: Record) -> dict[str, int]:
    """Return what `inspect --size` adds, in bytes: what the container wrote, and that with its image."""
    written = container_size.written(record)
    return {"SizeRw": written, "SizeRootFs": written + container_size.of_image(store, record)}


def timestamp(nanoseconds: int) -> str:
    """Return RFC 3339 in UTC with nanoseconds; docker's zero time for 0."""
    return moments.show(nanoseconds) if nanoseconds else _NEVER


def _state(record: Record) -> dict[str, Any]:
    unknown = record.status == "exited" and record.exit_status is None
    return {
        "Status": record.status,
        "Running": record.active,
        "Paused": record.paused,
        "Restarting": record.status == "restarting",
        "OOMKilled": False,
        "Dead": False,
        "Pid": record.pid,
        "ExitCode": record.exit_code,
        "Error": record.error or ("exit status unknown" if unknown else ""),
        "StartedAt": timestamp(record.started),
        "FinishedAt": timestamp(record.finished),
        "Health": None,
    }


def _host_config(record: Record) -> dict[str, Any]:
    config = record.config
    policy = config.get("RestartPolicy") or {}
    return {
        "Binds": _binds(record),
        "ContainerIDFile": config.get("ContainerIDFile") or "",
        "LogConfig": _log_config(record),
        "NetworkMode": config.get("NetworkMode", "none"),
        "PortBindings": {},
        "RestartPolicy": {"Name": record.policy, "MaximumRetryCount": policy.get("MaximumRetryCount", 0)},
        "AutoRemove": bool(config.get("AutoRemove")),
        "VolumeDriver": "",
        "VolumesFrom": None,
        "Mounts": config.get("HostMounts") or None,
        "CapAdd": None,
        "CapDrop": None,
        "Privileged": False,
        "PublishAllPorts": False,
        "ReadonlyRootfs": bool(config.get("ReadonlyRootfs")),
        "Init": bool(config.get("Init")),
        "Tmpfs": config.get("Tmpfs") or None,
        # Nothing is limited yet: docker's zero.
        "CpuShares": 0,
        "Memory": 0,
        "NanoCpus": 0,
        "PidsLimit": None,
    }


def _binds(record: Record) -> list[str] | None:
    """Return what was written behind -v for each bind and each named volume; those of --mount are in ``Mounts``."""
    anonymous = record.config.get("Anonymous") or ()
    others = {mount.get("Target") for mount in record.config.get("HostMounts") or ()}
    binds = []
    for mount in record.config.get("Mounts") or ():
        source = mount.get("Name") if mount.get("Type") == "volume" else mount.get("Source")
        if mount.get("Destination") not in others and source not in anonymous:
            binds.append(":".join(part for part in (source, mount.get("Destination"), mount.get("Mode")) if part))
    return binds or None


def _log_config(record: Record) -> dict[str, Any]:
    """Return how the output is kept: docker's ``local`` is "the engine's own format", ``none`` is not at all."""
    if not record.kept:
        return {"Type": "none", "Config": {}}
    options = record.config.get("LogConfig") or {}
    shown = {name: str(options[name]) for name in ("max-size", "max-file") if options.get(name)}
    return {"Type": "local", "Config": shown}


def _config(record: Record) -> dict[str, Any]:
    config = record.config
    interactive = bool(config.get("OpenStdin"))
    # In the foreground somebody is attached from the first moment on; StdinOnce says so of a kept one.
    attached = bool(config.get("StdinOnce")) or not record.kept
    return {
        "Hostname": config.get("Hostname", ""),
        "Domainname": "",
        "User": config.get("User") or "",
        "AttachStdin": bool(config.get("AttachStdin", interactive and attached)),
        "AttachStdout": bool(config.get("AttachStdout", attached)),
        "AttachStderr": bool(config.get("AttachStderr", attached)),
        "ExposedPorts": config.get("ExposedPorts"),
        "Tty": bool(config.get("Tty")),
        "OpenStdin": interactive,
        "StdinOnce": bool(config.get("StdinOnce", interactive and not record.kept)),
        "Env": config.get("Env"),
        "Cmd": config.get("Cmd"),
        "Image": config.get("ImageName", ""),
        "Volumes": config.get("Volumes") or None,
        "WorkingDir": config.get("WorkingDir", ""),
        "Entrypoint": config.get("Entrypoint"),
        "OnBuild": None,
        "Labels": record.labels,
        "StopSignal": config.get("StopSignal"),
        "StopTimeout": config.get("StopTimeout"),
        "Healthcheck": None,
    }


def _network_settings(mode: str) -> dict[str, Any]:
    """Return docker's fields; all that is known is which network it is."""
    address = {
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "MacAddress": "",
    }
    network = {"IPAMConfig": None, "Links": None, "Aliases": None, "DriverOpts": None, "NetworkID": "", **address}
    return {"Ports": {}, **address, "Networks": {mode: network}}
