"""What a container's record keeps so that it can be started, and started again: Spec → record → Spec."""

from __future__ import annotations

from . import _core, spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BIND = ("source", "target", "read_only", "read_only_recursive", "recursive", "nodev", "propagation")
_TMPFS = ("target", "options", "read_only", "nosuid", "nodev", "noexec")


def pack(container: _core.Spec) -> dict[str, Any]:
    """Return what the rest of the record does not say already. JSON."""
    return {
        "Env": container.env,
        "Uid": container.uid,
        "Gid": container.gid,
        "Groups": container.groups,
        "Mounts": [
            {"type": "bind", **{name: getattr(mount, name) for name in _BIND}}
            if isinstance(mount, _core.Bind)
            else {"type": "tmpfs", **{name: getattr(mount, name) for name in _TMPFS}}
            for mount in container.mounts
        ],
        "MaskedPaths": container.masked_paths,
    }


def unpack(
    config: dict[str, Any],
    directory: str,
    *,
    stdio: tuple[int, int, int] = (-1, -1, -1),
    rows: int = 0,
    columns: int = 0,
) -> _core.Spec:
    """Return the Spec of the container whose record is ``config`` and whose writable layer is in ``directory``."""
    start = config["Start"]
    return _core.Spec(
        rootfs=_core.Overlay(
            lowerdirs=config["Layers"],
            upperdir=f"{directory}/upper",
            workdir=f"{directory}/work",
            # A volatile one cannot be mounted a second time.
            volatile=False,
        ),
        argv=config["Argv"],
        env=start["Env"],
        cwd=config["WorkingDir"],
        uid=start["Uid"],
        gid=start["Gid"],
        groups=start["Groups"],
        hostname=config["Hostname"],
        network=config["NetworkMode"],
        mounts=[_mount(mount) for mount in start["Mounts"]],
        files=spec.network_files(config["NetworkMode"], config["Hostname"]),
        masked_paths=start["MaskedPaths"],
        readonly_paths=spec.READONLY_PATHS,
        read_only=config["ReadonlyRootfs"],
        capabilities=spec.CAPABILITIES,
        stdin=stdio[0],
        stdout=stdio[1],
        stderr=stdio[2],
        tty=config["Tty"],
        rows=rows,
        columns=columns,
        init=config["Init"],
    )


def _mount(fields: dict[str, Any]) -> _core.Bind | _core.Tmpfs:
    arguments = {name: value for name, value in fields.items() if name != "type"}
    return _core.Bind(**arguments) if fields["type"] == "bind" else _core.Tmpfs(**arguments)
