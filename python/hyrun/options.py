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
    """

    __slots__ = (
        "args",
        "cwd",
        "entrypoint",
        "env",
        "hostname",
        "image",
        "interactive",
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
        self.pull = pull
        self.platform = platform
        self.quiet = quiet
