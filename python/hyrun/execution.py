"""A process in a container that runs (docker's `exec`): who it is, what it gets, and getting it in there."""

from __future__ import annotations

import os
from errno import ENOENT

from . import _core, container_state, pidfds, records, spec
from .errors import Conflict, InvalidArgument, SpawnError
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .users import Identity

_HIERARCHIES = "/proc/self/mountinfo"


class Running:
    """A container that runs, held by a pidfd of its pid 1."""

    __slots__ = ("config", "pid", "pidfd")

    def __init__(self, config: dict[str, Any], pid: int, pidfd: int) -> None:
        self.config = config
        self.pid = pid
        self.pidfd = pidfd

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.pidfd)


def running(store: Store, identifier: str) -> Running:
    """Return the container of that full id, which must be running.

    Only its record and its state are read: that the process is the one meant is checked on the pidfd. Raises Conflict.
    """
    config = records.read(store.path("containers", identifier, "config.json")) or {}
    state = records.read(container_state.state_path(store, identifier)) or {}
    name = config.get("Name") or identifier[:12]
    if os.path.exists(f"{store.run}/{identifier}.paused"):
        raise Conflict(f"container {name} is paused: hyrun unpause {name}")
    pidfd = pidfds.open_container(state) if config else None
    if pidfd is not None:
        return Running(config, state["pid"], pidfd)
    from .container_list import find

    if find(store, identifier).status == "restarting":
        raise Conflict(f"container {name} is restarting: wait until it runs")
    raise Conflict(f"container {name} is not running: hyrun start {name}")


def start(
    container: Running,
    argv: Sequence[str],
    *,
    env: Sequence[str] = (),
    user: str | None = None,
    cwd: str | None = None,
    stdio: tuple[int, int, int] = (-1, -1, -1),
    tty: bool = False,
    size: tuple[int, int] | None = None,
    die_with_parent: bool = True,
) -> tuple[_core.Process, int]:
    """Start ``argv`` in the container; return the process and the master of its terminal (-1 without ``tty``).

    ``env`` are ``NAME=value`` strings on top of the container's. ``user`` and ``cwd`` are the container's own unless
    given. Raises InvalidArgument and SpawnError.
    """
    if not argv:
        raise InvalidArgument("no command: hyrun exec CONTAINER COMMAND [ARG...]")
    config = container.config
    if cwd is not None and not cwd.startswith("/"):
        raise InvalidArgument(f"working directory {cwd!r}: must be absolute: write /{cwd}")
    rows, columns = size or (0, 0)
    try:
        identity = _identity(container, user)
        cgroups = _cgroups(container.pid)
        # Only if it lives still were those its own files, and not those of another process of that number.
        over = pidfds.ended(container.pidfd)
    except (FileNotFoundError, ProcessLookupError):
        over = True
        cgroups = []
    if over:
        for descriptor in cgroups:
            os.close(descriptor)
        raise Conflict(f"container {config['Name']} has just ended: hyrun start {config['Name']}")
    try:
        return _core.join(
            _core.Join(
                target=container.pidfd,
                argv=list(argv),
                env=spec.environment(
                    [*(config.get("Env") or ()), *env], hostname=config["Hostname"], home=identity.home, tty=tty
                ),
                cwd=cwd or config["WorkingDir"],
                uid=identity.uid,
                gid=identity.gid,
                groups=identity.groups,
                capabilities=spec.CAPABILITIES,
                stdin=stdio[0],
                stdout=stdio[1],
                stderr=stdio[2],
                die_with_parent=die_with_parent,
                tty=tty,
                rows=rows,
                columns=columns,
                cgroups=cgroups,
            )
        )
    except SpawnError as error:
        if error.step != "cwd":
            raise
        # Docker's status: 127 for one that is not there.
        raise SpawnError(
            error.errno or 0,
            f"working directory {cwd or config['WorkingDir']}: {os.strerror(error.errno or 0)}: choose another with -w",
            cwd,
            "cwd",
            127 if error.errno == ENOENT else 126,
        ) from None
    finally:
        for descriptor in cgroups:
            os.close(descriptor)


def _identity(container: Running, user: str | None) -> Identity:
    """Return who the process will be, by the accounts that the container has now."""
    from .users import read_accounts, resolve

    # The container's own view, volumes included. Everything below is resolved by descriptor.
    root = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        passwd, group = read_accounts(root)
    finally:
        os.close(root)
    return resolve(user if user is not None else container.config.get("User") or "", passwd=passwd, group=group)


def _cgroups(pid: int) -> list[int]:
    """Return the ``cgroup.procs`` files of pid 1's cgroups where they are not this process's own already."""
    with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as theirs, open("/proc/self/cgroup", "rb", buffering=0) as own:
        lines, mine = theirs.read().splitlines(), own.read().splitlines()
    different = [line for line in lines if line not in mine]
    if not different:
        return []
    opened = []
    for line in different:
        _, controllers, path = line.decode().split(":", 2)
        directory = _mounted(controllers, path)
        if directory is not None:
            opened.append(os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
    return opened


def _mounted(controllers: str, path: str) -> str | None:
    """Return where the cgroup ``path`` of a hierarchy is on this host; None when it is mounted nowhere (cgroups(7))."""
    with open(_HIERARCHIES, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            kind, _, options = after.split(" ", 2)
            wanted = kind == "cgroup2" if not controllers else kind == "cgroup"
            if wanted and set(controllers.removeprefix("name=").split(",")) - {""} <= set(
                options.strip().replace("name=", "").split(",")
            ):
                top, point = before.split(" ")[3:5]
                relative = path.removeprefix(top if top != "/" else "")
                return f"{point}{relative}"
    return None
