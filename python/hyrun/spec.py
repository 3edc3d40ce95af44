"""Options and image configuration → Spec. Everything is decided here; the extension only carries it out."""

from __future__ import annotations

import os

from . import _core
from .errors import InvalidArgument, NotSupported
from .images import DEFAULT_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .images import Image
    from .options import Options
    from .users import Identity
    from .volumespec import Mount

#: Podman's eleven, by number (capabilities(7)): chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
#: net_bind_service, sys_chroot, setfcap.
CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31))

#: What nobody inside may read: the union of docker's and podman's lists.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
#: What nobody inside may write.
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

NETWORKS = ("none", "host")


def argv(options: Options, image: Image) -> list[str]:
    """Return the whole argument vector: entrypoint and command, as docker puts them together."""
    config = image.config
    if options.entrypoint is not None:
        # With an entrypoint of one's own the image's command means nothing any more (docker's rule).
        entrypoint = [options.entrypoint] if options.entrypoint else []
        command = options.args
    else:
        entrypoint = list(config.get("Entrypoint") or ())
        command = options.args or list(config.get("Cmd") or ())
    if not entrypoint and not command:
        raise InvalidArgument("no command: the image names none, so write one behind the image's name")
    return [*entrypoint, *command]


def environment(entries: Sequence[str], *, hostname: str, home: str, tty: bool) -> list[str]:
    """Return the environment: defaults, then ``entries`` (the image's, then the caller's); nothing of the host's.

    A later entry wins; a name alone takes away an earlier one (docker, for a variable that the caller does not have).
    """
    variables = {"PATH": DEFAULT_PATH.partition("=")[2], "HOSTNAME": hostname}
    if tty:
        variables["TERM"] = "xterm"
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise InvalidArgument(f"environment {entry!r}: write NAME=value")
        if equals:
            variables[name] = value
        else:
            variables.pop(name, None)
    variables.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in variables.items()]


def working_directory(options: Options, image: Image) -> str:
    """Return the process's working directory, absolute."""
    if options.cwd is not None:
        if not options.cwd.startswith("/"):
            raise InvalidArgument(f"working directory {options.cwd!r}: must be absolute: write /{options.cwd}")
        return options.cwd
    return "/" + (image.config.get("WorkingDir") or "").lstrip("/")


def host_name(options: Options, identifier: str) -> str:
    """Return the container's host name: given, the host's own with its network, or the beginning of the id."""
    if options.hostname is None:
        return os.uname().nodename if options.network == "host" else identifier[:12]
    plain = options.hostname.replace("-", "a").replace(".", "a").replace("_", "a")
    if not plain.isascii() or not plain.isalnum() or len(options.hostname) > 63 or options.hostname[0] in "-.":
        raise InvalidArgument(
            f"hostname {options.hostname!r}: 1 to 63 letters, digits, '-', '.' and '_', a letter or digit first"
        )
    return options.hostname


def check(options: Options) -> None:
    """Refuse what cannot be carried out, before anything is made."""
    if options.network in ("bridge", "default") or options.network.startswith(("container:", "slirp4netns", "pasta")):
        raise NotSupported(f"network {options.network!r} is not supported by hyrun yet: use none or host")
    if options.network not in NETWORKS:
        raise InvalidArgument(f"network {options.network!r}: there are none and host")


def network_files(network: str, hostname: str) -> list[_core.File]:
    """Return /etc/hosts, /etc/hostname and /etc/resolv.conf; with the host's network, the host's own content."""
    hosts, resolver = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n", b""
    if network == "host":
        hosts, resolver = _content("/etc/hosts", hosts), _content("/etc/resolv.conf", resolver)
    elif hostname.partition(".")[0] != "localhost":
        names = hostname if "." not in hostname else f"{hostname} {hostname.partition('.')[0]}"
        hosts += f"127.0.1.1\t{names}\n".encode()
    return [
        _core.File(target="/etc/hosts", content=hosts),
        _core.File(target="/etc/hostname", content=f"{hostname}\n".encode()),
        _core.File(target="/etc/resolv.conf", content=resolver),
    ]


def _content(path: str, otherwise: bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 18)
    except OSError:
        return otherwise


def mount(request: Mount, source: str) -> _core.Bind | _core.Tmpfs:
    """Return one mount of the Spec. ``source`` is the host path: of a bind as asked for, or of a volume's data."""
    if request.type == "tmpfs":
        return _core.Tmpfs(
            target=request.target,
            options=request.options,
            read_only=request.read_only,
            nosuid=request.nosuid,
            nodev=request.nodev,
            noexec=request.noexec,
        )
    return _core.Bind(
        source=source,
        target=request.target,
        read_only=request.read_only,
        read_only_recursive=request.read_only_recursive,
        recursive=request.recursive,
        # A volume may have been filled from an image, device nodes and all.
        nodev=request.type == "volume",
        propagation=request.propagation or "rprivate",
    )


def build(
    options: Options,
    image: Image,
    *,
    identifier: str,
    lowerdirs: Sequence[str],
    directory: str,
    mounts: Sequence[_core.Bind | _core.Tmpfs],
    identity: Identity,
    hidden: Sequence[str] = (),
    stdio: tuple[int, int, int] = (0, 1, 2),
) -> _core.Spec:
    """Return the Spec of a container whose writable layer is in ``directory``.

    ``hidden`` are paths inside the root that are masked on top of the usual ones.
    """
    hostname = host_name(options, identifier)
    tty = options.keeping is not None and options.keeping.tty
    return _core.Spec(
        rootfs=_core.Overlay(
            lowerdirs=lowerdirs,
            upperdir=f"{directory}/upper",
            workdir=f"{directory}/work",
            volatile=options.remove,
        ),
        argv=argv(options, image),
        env=environment(
            [*(image.config.get("Env") or ()), *options.env], hostname=hostname, home=identity.home, tty=tty
        ),
        cwd=working_directory(options, image),
        uid=identity.uid,
        gid=identity.gid,
        groups=identity.groups,
        hostname=hostname,
        network=options.network,
        mounts=mounts,
        files=network_files(options.network, hostname),
        masked_paths=[*MASKED_PATHS, *hidden],
        readonly_paths=READONLY_PATHS,
        read_only=options.read_only,
        capabilities=CAPABILITIES,
        stdin=stdio[0],
        stdout=stdio[1],
        stderr=stdio[2],
        tty=tty,
        init=options.init,
    )


def host_paths(image: Image, rootfs: str | None, root: str, run: str) -> list[str]:
    """Return what to hide inside a root that is the host's own: the engine's store and run directory."""
    base = image.base or rootfs
    if not base:
        return []
    top = os.path.realpath(base)
    hidden = []
    for path in (os.path.realpath(root), os.path.realpath(run)):
        if path == top or path.startswith(top.rstrip("/") + "/"):
            hidden.append("/" + path[len(top) :].lstrip("/"))
    return hidden


def as_dict(value: Any) -> Any:
    """Return a Spec (or part of one) as what JSON can hold; for ``--dry-run``."""
    if isinstance(value, list | tuple):
        return [as_dict(item) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if type(value).__module__ == "hyrun._core":
        fields = {name: as_dict(getattr(value, name)) for name in dir(value) if not name.startswith("_")}
        return {"type": type(value).__name__.lower(), **fields} if len(fields) < 10 else fields
    return value
