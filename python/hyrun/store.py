"""Where things are kept, and the few ways in which they may be written.

One directory per object. A thing is made under ``tmp/`` and published by ``rename``; a name is claimed by
creating something with ``O_EXCL``; whoever changes an object holds a ``flock`` on it. Nothing here is global:
two processes meet only when they work on the same object. Staging and locks are in modules of their own: `run`
needs neither.
"""

import os
from errno import EEXIST, ENOTEMPTY

from .errors import StorageError

DIRECTORIES = ("blobs", "blobs/sha256", "layers", "images", "tags", "containers", "names", "volumes", "tmp", "locks")
#: What else a store's directory holds, and a file system's that was made for it.
_OTHERS = ("skeleton", "damaged", "partial", "lost+found")
#: The lowest layer of every image: mount points that the engine itself needs, so that a container's writable layer
#: holds nothing but what the container wrote (docker's "init layer" does the same).
SKELETON_DIRECTORIES = ("dev", "etc", "proc", "sys")
SKELETON_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")


def working_directory() -> str:
    """Return the working directory; StorageError when it has been removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise StorageError("the working directory has been removed: cd to one that is there") from None


def default_root() -> str:
    """Return the store as it is written: $HYRUN_ROOT, else /var/lib/hyrun, or the XDG data directory for a user."""
    if root := os.environ.get("HYRUN_ROOT"):
        return root
    if os.geteuid() == 0:
        return "/var/lib/hyrun"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "hyrun")


def default_run(root: str) -> str:
    """Return the directory for run-time state (a tmpfs): $HYRUN_RUN, else one that belongs to ``root`` alone."""
    if run := os.environ.get("HYRUN_RUN"):
        return os.path.abspath(run)
    if os.geteuid() == 0:
        base = "/run/hyrun"
    elif runtime := os.environ.get("XDG_RUNTIME_DIR"):
        base = os.path.join(runtime, "hyrun")
    else:
        base = f"/tmp/hyrun-{os.geteuid()}"
    if root == "/var/lib/hyrun":
        return base
    # A second store must not see the first one's containers, and must find its own again.
    return os.path.join(base, "roots", root.strip("/").replace("%", "%25").replace("/", "%2F"))


def _make_private(path: str) -> None:
    """Make a directory and what is missing above it, all with mode 0700: os.makedirs means that for the last one only.

    A store elsewhere has its run directory below the one of the store that is used without --root.
    """
    names = path.split("/")
    for count in range(2, len(names) + 1):
        directory = "/".join(names[:count])
        if not os.path.isdir(directory):
            try:
                os.mkdir(directory, 0o700)
            except FileExistsError:
                if not os.path.isdir(directory):
                    raise


class Store:
    """The two directories of one engine. Cheap to make: no file is touched until ``prepare``."""

    __slots__ = ("_prepared", "root", "run")

    def __init__(self, root: str | None = None, run: str | None = None) -> None:
        root = root or default_root()
        # One store has one run directory, whatever way leads to it.
        self.root = os.path.realpath(root if root[0] == "/" else f"{working_directory()}/{root}")
        self.run = os.path.abspath(run) if run else default_run(self.root)
        self._prepared = False

    def path(self, *parts: str) -> str:
        """Return the absolute path of something below the root."""
        return "/".join((self.root, *parts))

    @property
    def skeleton(self) -> str:
        """The directory of the engine's own lowest layer."""
        return f"{self.root}/skeleton"

    def mount_points(self, base: str = "") -> list[str]:
        """Return the lowest layer, below a directory ``base`` of this machine: mount points for what has none.

        Not if the store is inside that directory: overlayfs refuses a lower layer inside another (ELOOP).
        """
        if base:
            wanted, directory = os.stat(base), ""
            for name in self.root.split("/"):
                directory = f"{directory}{name}/"
                try:
                    if os.path.samestat(os.stat(directory), wanted):
                        return []
                except FileNotFoundError:
                    break  # the store will be made there
        return [self.skeleton]

    def prepare(self) -> "Store":
        """Make the directories on first use.

        Mode 0700: layers hold other people's setuid files and device nodes, and so may volumes (CVE-2021-41091).
        """
        if self._prepared:
            return self
        # The last one made stands for all of them: one system call on the hot path.
        if not os.path.isdir(f"{self.skeleton}/proc"):
            try:
                if not self._may_be_ours() and not os.path.isdir(f"{self.skeleton}/proc"):
                    raise StorageError(
                        f"store {self.root}: the directory is not empty, and is no store of hyrun's: "
                        "choose one of its own with --root or HYRUN_ROOT"
                    )
                self.make_directories()
                if not os.path.isdir(self.skeleton):
                    self.make_skeleton()
            except OSError as error:
                raise StorageError(
                    f"store {self.root}: {error.strerror}: choose another with --root or HYRUN_ROOT"
                ) from None
        try:
            if not os.path.isdir(self.run):
                _make_private(self.run)
        except OSError as error:
            raise StorageError(f"run directory {self.run}: {error.strerror}: choose another with HYRUN_RUN") from None
        status = os.stat(self.run)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise StorageError(
                f"run directory {self.run} must belong to you with mode 0700: chmod 700 it if it is yours, "
                "or choose another with HYRUN_RUN"
            )
        self._prepared = True
        return self

    def _may_be_ours(self) -> bool:
        """Tell whether the root is a store, damaged or half made perhaps, or can become one.

        Everything in a store is removed one day that no record speaks of. Somebody's own directory must never be one.
        """
        try:
            names = set(os.listdir(self.root))
        except FileNotFoundError:
            return True
        own = names & {*DIRECTORIES}
        if names - own - {*_OTHERS}:
            return False
        # Most of it is there, or what is there has been made a moment ago by another process.
        return len(own) > 5 or all(self._is_empty(name) for name in names - {"lost+found"})

    def _is_empty(self, name: str) -> bool:
        try:
            names = os.listdir(self.path(name))
        except NotADirectoryError:
            return False
        return not names or (name == "blobs" and names == ["sha256"] and self._is_empty("blobs/sha256"))

    def make_directories(self) -> list[str]:
        """Make those of the store's directories that are not there; return their names."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        made = []
        for name in DIRECTORIES:
            try:
                os.mkdir(self.path(name), 0o700)
                made.append(name)
            except FileExistsError:
                pass
        return made

    def files(self, directory: str) -> list[str]:
        """Return the names of the regular files in one of them: nothing else belongs into those that hold files."""
        try:
            with os.scandir(self.path(directory)) as entries:
                return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def make_skeleton(self) -> None:
        """Make the engine's own lowest layer, unless it is there."""
        stage = self.path("tmp", new_id())
        for name in ("", *SKELETON_DIRECTORIES):
            os.mkdir(f"{stage}/{name}")
            os.chmod(f"{stage}/{name}", 0o755)
        for name in SKELETON_FILES:
            os.close(os.open(f"{stage}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            os.chmod(f"{stage}/{name}", 0o644)
        try:
            os.rename(stage, self.skeleton)
        except OSError as error:
            # Another process was faster: its one is as good.
            if error.errno not in (EEXIST, ENOTEMPTY):
                raise


def new_id() -> str:
    """Return a fresh id: 64 hexadecimal digits, as docker's."""
    return os.urandom(32).hex()


def write_atomic(path: str, data: bytes, *, sync: bool = True) -> None:
    """Replace the file at ``path`` so that a reader, and a power cut, see the old or the new content, never half.

    ``sync=False`` is for state on tmpfs and for records of throw-away containers. Source: rename(2), fsync(2).
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name[:64]}.{os.urandom(6).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        raise
    if sync:
        sync_directory(directory)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable (fsync(2): a rename is not, until its directory is)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
