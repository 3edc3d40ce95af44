"""Control groups that stop what is in them: cgroup v2 (cgroup.freeze), or the freezer of v1.

Sources: cgroups(7); kernel, admin-guide/cgroup-v2.rst ("cgroup.freeze") and cgroup-v1/freezer-subsystem.rst.
"""

from __future__ import annotations

import os
import time

from .errors import HyrunError, NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: How long to wait for a group to stop, or to become empty, in seconds.
PATIENCE: Final = 10.0
_INTERVAL: Final = 0.002


class Freezer:
    """One control group, which need not exist yet: its directory and the version of its hierarchy (1 or 2)."""

    __slots__ = ("directory", "version")

    def __init__(self, directory: str, version: int) -> None:
        self.directory = directory
        self.version = version

    def make(self) -> None:
        """Make the group, unless a command that was killed has left it."""
        try:
            os.mkdir(self.directory, 0o755)
        except FileExistsError:
            pass

    def freeze(self) -> None:
        """Stop what is in it now, and what comes in later; `frozen` says when that has happened."""
        self._set("1", "FROZEN")

    def thaw(self) -> None:
        """Let everything go on."""
        self._set("0", "THAWED")

    def frozen(self) -> bool:
        """Return whether everything in it stands still."""
        if self.version == 2:
            return "frozen 1" in _read(f"{self.directory}/cgroup.events").splitlines()
        return _read(f"{self.directory}/freezer.state").strip() == "FROZEN"

    def wait_until_frozen(self) -> None:
        """Wait for that; HyrunError when it takes too long."""
        end = time.monotonic() + PATIENCE
        while not self.frozen():
            if time.monotonic() > end:
                raise HyrunError(
                    f"a process does not stop within {PATIENCE:g} seconds: it is stuck in the kernel; try again later"
                )
            if self.version == 1:
                # It counts again only when it is asked again.
                self.freeze()
            time.sleep(_INTERVAL)

    def pids(self) -> set[int]:
        """Return the pids in it; 0 stands for a process that this pid namespace cannot name."""
        return {int(word) for word in _read(f"{self.directory}/cgroup.procs").split()}

    def add(self, pid: int) -> None:
        """Move a process into it, unless it has ended."""
        move(pid, self.directory)

    def remove(self, home: str) -> None:
        """Move what is in it to the group ``home`` and remove it; nothing happens when it is not there."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                for pid in self.pids():
                    if self._contains(pid):
                        move(pid, home if os.path.isdir(home) else os.path.dirname(self.directory))
                os.rmdir(self.directory)
                return
            except FileNotFoundError:
                return
            except OSError as error:
                # One was forked meanwhile, or is dying.
                if time.monotonic() > end:
                    raise HyrunError(
                        f"control group {self.directory} cannot be removed: {error.strerror}: try again"
                    ) from None
            time.sleep(_INTERVAL)

    def _contains(self, pid: int) -> bool:
        """Tell whether the number still means a process in it."""
        try:
            lines = _read(f"/proc/{pid}/cgroup").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return any(line.endswith("/" + os.path.basename(self.directory)) for line in lines)

    def _set(self, new: str, old: str) -> None:
        name, value = ("cgroup.freeze", new) if self.version == 2 else ("freezer.state", old)
        _write(f"{self.directory}/{name}", value)


def move(pid: int, directory: str) -> None:
    """Move a process, with all its threads, into a group; nothing happens when it has ended."""
    try:
        _write(f"{directory}/cgroup.procs", str(pid))
    except ProcessLookupError:
        pass


def places(pid: int, name: str, *, version: int | None = None) -> tuple[str, list[Freezer]]:
    """Return the group that a process is in, and where one called ``name`` can be made for it, best first.

    Below the group it is in, so that limits stay in force; or at the top, for a group may be one that takes no
    children (a threaded one) or belong to somebody else. v2 is preferred; ``version`` insists on one. NotSupported
    when neither is mounted.
    """
    lines = _read(f"/proc/{pid}/cgroup").splitlines()
    for found, top, root in _mounts():
        if version not in (None, found):
            continue
        path = _path(lines, found)
        # Outside of this cgroup namespace, or of what is mounted here, it has no name.
        inside = path is not None and ".." not in path.split("/") and (path + "/").startswith(root.rstrip("/") + "/")
        home = top + "/" + path[len(root.rstrip("/")) :].strip("/") if inside and path is not None else top
        home = home.rstrip("/")
        if not os.path.isdir(home):
            home = top
        return home, [Freezer(f"{directory}/{name}", found) for directory in dict.fromkeys((home, top))]
    raise NotSupported("pausing needs a control group file system: mount cgroup2 at /sys/fs/cgroup")


def _mounts() -> list[tuple[int, str, str]]:
    """Return version, mount point and root of the hierarchies that can freeze, v2 first (proc(5), mountinfo)."""
    found = []
    for line in _read("/proc/self/mountinfo").splitlines():
        head, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "freezer" in options.split(",")):
            root, top = head.split(" ")[3:5]
            found.append((2 if kind == "cgroup2" else 1, _unescape(top), _unescape(root)))
    return sorted(found, key=lambda mount: -mount[0])


def _path(lines: list[str], version: int) -> str | None:
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if (number == "0" and not controllers) if version == 2 else "freezer" in controllers.split(","):
            return path
    return None


def _unescape(text: str) -> str:
    for char in " \t\n\\":
        text = text.replace(f"\\{ord(char):03o}", char)
    return text


def _read(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="surrogateescape")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
