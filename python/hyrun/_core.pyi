"""The extension: everything that happens between clone and execve, and everything done by descriptor.

Paths are absolute. Nothing here reads the environment or knows the store's layout.
"""

from collections.abc import Sequence
from typing import Any, final

__all__ = [
    "Bind",
    "Cancellation",
    "File",
    "Overlay",
    "Process",
    "Spec",
    "Tmpfs",
    "Unpacked",
    "__version__",
    "attend",
    "block_signals",
    "copy_tree",
    "format_json",
    "open_in_root",
    "open_root",
    "parse_json",
    "plan",
    "remove_tree",
    "spawn",
    "sync_file_system",
    "unpack_layer",
]

__version__: str

@final
class Overlay:
    """The root file system: ``lowerdirs`` (topmost first, never written) below ``upperdir``.

    ``workdir`` is overlayfs's own, empty and on the same file system as ``upperdir``. ``volatile`` skips the
    sync at unmount: only for a writable layer that nobody will keep. Source: kernel, filesystems/overlayfs.rst.
    """

    def __new__(cls, *, lowerdirs: Sequence[str], upperdir: str, workdir: str, volatile: bool = False) -> Overlay: ...
    @property
    def lowerdirs(self) -> list[str]: ...
    @property
    def upperdir(self) -> str: ...
    @property
    def workdir(self) -> str: ...
    @property
    def volatile(self) -> bool: ...

@final
class Bind:
    """A host directory or file mounted at ``target`` inside the root.

    ``propagation`` is docker's word: ``private``, ``rprivate`` (the default), ``slave``, ``rslave``, ``shared`` or
    ``rshared``.
    ``recursive`` takes the submounts of ``source`` along; ``read_only`` covers them as well unless
    ``read_only_recursive`` is False. ``nodev``: device nodes cannot be opened.
    """

    def __new__(
        cls,
        *,
        source: str,
        target: str,
        read_only: bool = False,
        read_only_recursive: bool = True,
        recursive: bool = True,
        nodev: bool = False,
        propagation: str = ...,
    ) -> Bind: ...
    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def read_only_recursive(self) -> bool: ...
    @property
    def recursive(self) -> bool: ...
    @property
    def nodev(self) -> bool: ...
    @property
    def propagation(self) -> str: ...

@final
class Tmpfs:
    """An empty tmpfs at ``target``. ``options`` are tmpfs(5) data options such as ``size=64m``, ``mode=1777``."""

    def __new__(
        cls,
        *,
        target: str,
        options: Sequence[str] = ...,
        read_only: bool = False,
        nosuid: bool = True,
        nodev: bool = True,
        noexec: bool = True,
    ) -> Tmpfs: ...
    @property
    def target(self) -> str: ...
    @property
    def options(self) -> list[str]: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def nosuid(self) -> bool: ...
    @property
    def nodev(self) -> bool: ...
    @property
    def noexec(self) -> bool: ...

@final
class File:
    """A small file that exists for this container only (``/etc/hosts``): content on a tmpfs, bound at ``target``."""

    def __new__(cls, *, target: str, content: bytes) -> File: ...
    @property
    def target(self) -> str: ...
    @property
    def content(self) -> bytes: ...

@final
class Spec:
    """A whole container: absolute paths, the full argv and environment, nothing left to look up.

    ``env`` are ``NAME=value`` strings. ``cwd`` is ``/`` by default. ``network`` is ``none`` (the default: a namespace
    of its own with lo) or ``host``.
    ``files`` come on top of ``mounts``, which are mounted by the depth of their targets. ``masked_paths`` and
    ``readonly_paths`` need not exist. ``capabilities`` is the bounding set as a bit mask (capabilities(7)); root
    has them permitted and effective, others have none. ``seccomp``: refuse the system calls that
    rust/init/seccomp.rs lists. ``stdin``, ``stdout`` and ``stderr`` are descriptors of the
    caller, or -1 for the container's own ``/dev/null``; every other descriptor is closed.
    ``die_with_parent``: SIGKILL when the calling process ends.
    """

    def __new__(
        cls,
        *,
        rootfs: Overlay,
        argv: Sequence[str],
        env: Sequence[str] = ...,
        cwd: str = ...,
        uid: int = 0,
        gid: int = 0,
        groups: Sequence[int] = ...,
        hostname: str = ...,
        network: str = ...,
        mounts: Sequence[Bind | Tmpfs] = ...,
        files: Sequence[File] = ...,
        masked_paths: Sequence[str] = ...,
        readonly_paths: Sequence[str] = ...,
        read_only: bool = False,
        capabilities: int = 0,
        no_new_privileges: bool = True,
        seccomp: bool = True,
        stdin: int = 0,
        stdout: int = 1,
        stderr: int = 2,
        die_with_parent: bool = True,
    ) -> Spec: ...
    @property
    def rootfs(self) -> Overlay: ...
    @property
    def argv(self) -> list[str]: ...
    @property
    def env(self) -> list[str]: ...
    @property
    def cwd(self) -> str: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def groups(self) -> list[int]: ...
    @property
    def hostname(self) -> str: ...
    @property
    def network(self) -> str: ...
    @property
    def mounts(self) -> list[Bind | Tmpfs]: ...
    @property
    def files(self) -> list[File]: ...
    @property
    def masked_paths(self) -> list[str]: ...
    @property
    def readonly_paths(self) -> list[str]: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def capabilities(self) -> int: ...
    @property
    def no_new_privileges(self) -> bool: ...
    @property
    def seccomp(self) -> bool: ...
    @property
    def stdin(self) -> int: ...
    @property
    def stdout(self) -> int: ...
    @property
    def stderr(self) -> int: ...
    @property
    def die_with_parent(self) -> bool: ...

@final
class Process:
    """Pid 1 of a container, held by a pidfd: the handle never means another process."""

    @property
    def pid(self) -> int: ...
    @property
    def pidfd(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end, at most ``timeout`` seconds; return the exit status, negative for a signal.

        None when the time is over. Signal handlers run meanwhile, so Ctrl-C raises KeyboardInterrupt.
        """

    def kill(self, signal: int) -> None:
        """Send a signal through the pidfd (pidfd_send_signal(2)); ProcessLookupError when it has ended."""

def spawn(spec: Spec) -> Process:
    """Create the container and return once the application has been exec'ed.

    Raises ``hyrun.errors.SpawnError`` with the failing step; nothing of the container is left then.
    """

def block_signals() -> None:
    """Block the signals that ``attend`` forwards, in the calling thread: from here on they wait for it."""

def attend(
    process: Process,
    *,
    timeout: float | None = None,
    input: tuple[int, int] | None = None,
    outputs: Sequence[tuple[int, int]] = ...,
) -> int | None:
    """Be the foreground of a container until it ends; return its exit status, None after ``timeout`` seconds.

    Signals that arrive are forwarded (call ``block_signals`` before ``spawn``); after three SIGINT or SIGTERM the
    container is killed. ``input`` and each of ``outputs`` are (source, target) descriptors between which bytes are
    carried; they are closed here. All output is through when this returns.
    """

def plan(spec: Spec) -> list[str]:
    """Return the steps that ``spawn`` would take, in order, as sentences."""

@final
class Unpacked:
    """What ``unpack_layer`` read: digests are ``sha256:<hex>``, sizes are bytes."""

    @property
    def diff_id(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def compressed_size(self) -> int: ...
    @property
    def entries(self) -> int: ...

@final
class Cancellation:
    """Ends calls of ``unpack_layer`` early, from any thread."""

    def __new__(cls) -> Cancellation: ...
    def cancel(self) -> None:
        """Let all calls that have this end within a tenth of a second, with StorageError."""

    @property
    def cancelled(self) -> bool: ...

def unpack_layer(
    source: int,
    target: str,
    *,
    offset: int | None = None,
    length: int | None = None,
    flush: bool = False,
    cancellation: Cancellation | None = None,
) -> Unpacked:
    """Unpack one layer tar (plain, gzip or zstd, told by its first bytes) into the empty directory ``target``.

    ``source`` is a descriptor. With ``offset`` it is read by pread(2) from there, ``length`` bytes at most, and
    its file position is neither used nor moved; without, it is read as a stream to its end (a pipe will do).
    OCI whiteouts become overlayfs's form. A layer of more than 128 KiB has a few threads of its own;
    with ``flush`` one of them lets the disk write meanwhile (syncfs(2) now and then), so that
    ``sync_file_system`` afterwards is short; it does not take its place. Raises
    ``hyrun.errors.StorageError`` when the archive is hostile, damaged or over a limit, or when it was cancelled,
    OSError when the disk refuses, and what a signal handler raises (KeyboardInterrupt).
    """

def copy_tree(source: int, target: int) -> None:
    """Copy the content of one open directory into another, and its owner, mode, times and xattrs onto it.

    Hard links, symlinks, devices, fifos, xattrs (with file capabilities), times and holes are kept. Nothing is
    followed. Both are descriptors of directories.
    """

def remove_tree(path: str) -> None:
    """Remove a file or directory tree without following anything; FileNotFoundError when it is not there."""

def sync_file_system(path: str) -> None:
    """syncfs(2) on the file system that holds ``path``."""

def open_root(lowerdirs: Sequence[str]) -> int:
    """Open the merged, read-only view of some layers (topmost first) and return a descriptor of its root.

    It is mounted nowhere (fsmount(2) without move_mount), so no mount table ever shows it.
    """

def open_in_root(root: int, path: str, flags: int) -> int:
    """openat2(2) with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS: symlinks and ``..`` stay below ``root``.

    What is neither a file nor a directory is opened with O_PATH whatever ``flags`` say: a device is not touched.
    """

def parse_json(document: bytes) -> Any:
    """Parse a JSON document of at most 128 levels; ValueError says where it is wrong.

    For the records of the store only: it is there because ``import json`` takes longer than a container.
    """

def format_json(value: object) -> bytes:
    """Write JSON without white space; TypeError or ValueError for what it cannot hold.

    Lone surrogates (a path's bytes that are no UTF-8) become U+FFFD.
    """
