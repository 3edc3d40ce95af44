"""What a caller asks for, before anything is looked up."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .volumespec import Mount


class Options:
    """One container as asked for; the fields are docker's flags.

    ``image`` is a reference, an id or ``host``; empty when ``rootfs`` (a host directory) is given. ``env`` are
    ``NAME=value`` strings; ``volumes``, ``mounts`` and ``tmpfs`` are parsed (module ``volumespec``).
    ``pull`` is ``always``, ``missing`` or ``never``, ``platform`` is ``linux/arm64``, ``quiet`` hides progress.
    ``entrypoint`` None keeps the image's, ``""`` clears it. ``remove`` is ``--rm``. ``interactive`` is ``-i``.
    ``init``: hyrun-init is pid 1 and reaps orphans. ``cidfile`` is where the caller writes the id, for inspect.
    With ``keeping`` it may outlive its caller (module ``kept``).
    """

    __slots__ = (
        "args",
        "cidfile",
        "cwd",
        "entrypoint",
        "env",
        "hostname",
        "image",
        "init",
        "interactive",
        "keeping",
        "labels",
        "mounts",
        "name",
        "network",
        "platform",
        "pull",
        "quiet",
        "read_only",
        "remove",
        "rootfs",
        "tmpfs",
        "user",
        "volumes",
    )

    def __init__(
        self,
        *,
        image: str = "",
        args: Sequence[str] = (),
        rootfs: str | None = None,
        volumes: Sequence[Mount] = (),
        mounts: Sequence[Mount] = (),
        tmpfs: Sequence[Mount] = (),
        env: Sequence[str] = (),
        cwd: str | None = None,
        user: str | None = None,
        hostname: str | None = None,
        name: str | None = None,
        entrypoint: str | None = None,
        read_only: bool = False,
        labels: dict[str, str] | None = None,
        network: str = "none",
        remove: bool = False,
        interactive: bool = False,
        pull: str = "missing",
        platform: str | None = None,
        quiet: bool = True,
        init: bool = False,
        cidfile: str | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self.image = image
        self.args = list(args)
        self.rootfs = rootfs
        self.volumes = list(volumes)
        self.mounts = list(mounts)
        self.tmpfs = list(tmpfs)
        self.env = list(env)
        self.cwd = cwd
        self.user = user
        self.hostname = hostname
        self.name = name
        self.entrypoint = entrypoint
        self.read_only = read_only
        self.labels = labels or {}
        self.network = network
        self.remove = remove
        self.interactive = interactive
        self.init = init
        self.cidfile = cidfile
        self.keeping = keeping
        self.pull = pull
        self.platform = platform
        self.quiet = quiet


class Keeping:
    """What a container has that may outlive its caller.

    ``restart`` is docker's policy (``no``, ``on-failure``, ``always``, ``unless-stopped``) with how often at most (0:
    no limit); ``stop_signal`` None is the image's; ``stop_timeout`` is in seconds, None for the default; a log grows to
    ``log_size`` bytes (0: for ever) and ``log_files`` are kept. ``attached``: whoever makes it sits at it.
    """

    __slots__ = ("attached", "log_files", "log_size", "restart", "stdin_once", "stop_signal", "stop_timeout", "tty")

    def __init__(
        self,
        *,
        tty: bool = False,
        stdin_once: bool = False,
        restart: tuple[str, int] = ("no", 0),
        stop_signal: str | None = None,
        stop_timeout: int | None = None,
        log_size: int = 0,
        log_files: int = 1,
        attached: bool = False,
    ) -> None:
        self.attached = attached
        self.tty = tty
        self.stdin_once = stdin_once
        self.restart = restart
        self.stop_signal = stop_signal
        self.stop_timeout = stop_timeout
        self.log_size = log_size
        self.log_files = log_files
