"""The extension: everything that happens between clone and execve, and everything done by descriptor.

Paths are absolute. Nothing here reads the environment or knows the store's layout.
"""

from collections.abc import Sequence
from typing import Any, final

__all__ = [
    "Bind",
    "Cancellation",
    "File",
    "Join",
    "Kept",
    "Meter",
    "Monitor",
    "Overlay",
    "Packed",
    "Process",
    "Spec",
    "Tmpfs",
    "Unpacked",
    "Verified",
    "__version__",
    "assemble_layer",
    "attend",
    "block_signals",
    "channel_connect",
    "channel_listen",
    "channel_pair",
    "compare_trees",
    "copy_tree",
    "cp_archive",
    "cp_open",
    "cp_root",
    "cp_tree",
    "cp_unpack",
    "format_json",
    "join",
    "open_in_root",
    "open_root",
    "pack_layer",
    "parse_json",
    "plan",
    "remove_tree",
    "sit",
    "spawn",
    "spawn_kept",
    "sync_file_system",
    "terminal_size",
    "tree_changes",
    "unpack_layer",
    "verify_manifest",
    "write_manifest",
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
    ``die_with_parent``: SIGKILL when the calling process ends (of a kept container: its monitor).
    ``tty``: a terminal of the container's own devpts, ``rows`` by ``columns`` (0: as the kernel makes it), is the
    controlling terminal and the standard streams; only for ``spawn_kept``. ``init``: hyrun-init stays as pid 1 and
    reaps orphans; the application is its child.
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
        tty: bool = False,
        rows: int = 0,
        columns: int = 0,
        init: bool = False,
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
    @property
    def tty(self) -> bool: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def init(self) -> bool: ...

@final
class Monitor:
    """What hyrun-init is told that stays outside as the parent of a kept container.

    Descriptors are the caller's; -1 for none. ``directory`` is the container's, with its lock, which the monitor
    inherits; ``run`` the run directory; ``log`` is open for appending; ``listener`` is of
    ``channel_listen``; ``stdin``, ``stdout`` and ``stderr`` are our ends of the container's pipes (with a terminal
    ``stdin`` other than -1 only says that input is wanted); ``client`` is one end of ``channel_pair``, whose other end
    ``sit`` takes. ``stdin_once``: input ends with that of the first client; ``lifeline``: the container is killed when
    ``client`` goes without having said that it detaches.

    At the end ``exit`` is written as ``exit.json`` and ``die`` appended to ``events.log`` in the run directory, with
    their gaps filled: ``%s`` the exit status (negative for a signal), ``%e`` as a shell has it, ``%t`` the time in
    nanoseconds, ``%T`` in seconds, ``%%``. ``socket`` and, unless something is to be done, ``state`` are removed from
    the run directory. Then, with ``remove`` or when ``restart`` (docker's word; ``retries`` are those left) asks for it
    and no file ``stopped`` is in ``directory``, ``delay`` milliseconds later, the monitor becomes ``python`` (argv with
    an absolute path) with the environment ``env``, one more argument (``remove`` or ``restart``), and ``directory`` as
    descriptor 3.

    A log grows to ``max_size`` bytes (0: for ever), and ``max_files`` of them are kept.
    """

    def __new__(
        cls,
        *,
        directory: int,
        run: int,
        log: int,
        listener: int,
        exit: str,
        die: str,
        state: str,
        socket: str,
        python: Sequence[str],
        env: Sequence[str],
        stdin: int = ...,
        stdout: int = ...,
        stderr: int = ...,
        client: int = ...,
        stdin_once: bool = False,
        lifeline: bool = False,
        remove: bool = False,
        restart: str = ...,
        retries: int = 0,
        delay: int = 0,
        max_size: int = 0,
        max_files: int = 1,
    ) -> Monitor: ...

@final
class Join:
    """A process in a container that runs; ``target`` is a pidfd of its pid 1. The other fields are Spec's.

    ``cwd`` is inside the container. ``cgroups`` are descriptors of ``cgroup.procs`` files that the process enters
    before it enters anything else. ``tty``: a terminal of the container's devpts.
    """

    def __new__(
        cls,
        *,
        target: int,
        argv: Sequence[str],
        env: Sequence[str] = ...,
        cwd: str = ...,
        uid: int = 0,
        gid: int = 0,
        groups: Sequence[int] = ...,
        capabilities: int = 0,
        no_new_privileges: bool = True,
        seccomp: bool = True,
        stdin: int = 0,
        stdout: int = 1,
        stderr: int = 2,
        die_with_parent: bool = True,
        tty: bool = False,
        rows: int = 0,
        columns: int = 0,
        cgroups: Sequence[int] = ...,
    ) -> Join: ...

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

@final
class Kept:
    """A container that has just been started with a monitor, which waits for ``go_on``.

    Until then nothing that the container does has an effect on the store; when the object goes before, an exception
    on its way or the caller killed, the container is ended.
    """

    @property
    def pid(self) -> int: ...
    @property
    def monitor(self) -> int: ...
    @property
    def pidfd(self) -> int: ...
    def go_on(self) -> None:
        """Tell the monitor that it is written down who runs here; OSError when it has gone."""

def spawn_kept(spec: Spec, monitor: Monitor) -> Kept:
    """Create the container with a monitor as its parent, which outlives the caller.

    Returns once the application has been exec'ed. Errors as ``spawn``.
    """

def join(join: Join) -> tuple[Process, int]:
    """Start a process in a container that runs; return it once the application has been exec'ed, and the master of
    its terminal (-1 without ``tty``).

    hyrun-init enters, not the caller: hostile processes live in there, and it is untouchable before it does. Raises
    ``hyrun.errors.SpawnError``; its step is ``join`` when the container has ended.
    """

def sit(
    peer: int,
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    tty: bool = False,
    keys: bytes = ...,
    forward: int = ...,
    insist: bool = False,
    process: Process | None = None,
) -> tuple[str, int | None]:
    """Sit at a container until it ends: ``peer`` is a channel to its monitor, or with ``process`` the master of that
    process's terminal. Nothing that is given is closed.

    Bytes go between it and the caller's streams (``stdin`` -1: no input). ``tty``: the terminal on ``stdin`` is raw
    meanwhile, and its size is followed. ``keys`` detach. Signals that arrive (call ``block_signals`` before) go to the
    pidfd ``forward``; without one SIGINT, SIGTERM, SIGHUP and SIGQUIT end the session. After three SIGINT or SIGTERM
    the process is killed with ``insist``, and the session ends without.

    Returns ``("exited", status or None)``, ``("detached", None)``, ``("lost", None)`` when the monitor has gone without
    a word, or ``("signal", number)``.
    """

def channel_pair() -> tuple[int, int]:
    """Return two connected ends of a channel to a monitor: sockets that keep messages apart (unix(7))."""

def channel_listen(directory: int, name: str) -> int:
    """Make the socket ``name`` in an open directory, in place of an old one, and return it listening."""

def channel_connect(directory: int, name: str) -> int:
    """Connect to such a socket; ConnectionRefusedError or FileNotFoundError when nobody listens."""

def terminal_size(fd: int) -> tuple[int, int] | None:
    """Return rows and columns of the terminal behind a descriptor; None when it is none."""

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
        """Let all calls that have this end within a tenth of a second, with StorageError.

        With ``flush`` a syncfs(2) that has begun is waited for, as long as the disk takes.
        """

    @property
    def cancelled(self) -> bool: ...

@final
class Meter:
    """Counts the bytes that a call has worked on so far; any thread may look."""

    def __new__(cls) -> Meter: ...
    @property
    def count(self) -> int: ...

def unpack_layer(
    source: int,
    target: str,
    *,
    offset: int | None = None,
    length: int | None = None,
    recipe: str | None = None,
    unique: bool = False,
    flush: bool = False,
    cancellation: Cancellation | None = None,
    meter: Meter | None = None,
) -> Unpacked:
    """Unpack one layer tar (plain, gzip or zstd, told by its first bytes) into the empty directory ``target``.

    ``source`` is a descriptor. With ``offset`` it is read by pread(2) from there, ``length`` bytes at most, and its
    file position is neither used nor moved; without, it is read as a stream to its end (a pipe will do). OCI whiteouts
    become overlayfs's form. ``recipe`` is a directory that gets what ``assemble_layer`` needs: the file ``recipe``, and
    ``replaced/`` when entries replace one another, which ``unique`` refuses. A layer of more than 128 KiB has a few
    threads of its own; with ``flush`` one of them lets the disk write meanwhile (syncfs(2) now and then), so that the
    sync afterwards is short; it does not take its place. ``meter`` counts the stored bytes that have been read. Raises
    ``hyrun.errors.StorageError`` when the archive is hostile, damaged or over a limit, or when it was cancelled,
    OSError when the disk refuses, and what a signal handler raises (KeyboardInterrupt).
    """

@final
class Packed:
    """What was written: digests are ``sha256:<hex>``, sizes are bytes.

    ``sockets`` and ``attributes`` count what no archive can hold: it was left out. They and ``entries`` are 0 for a
    layer that was assembled.
    """

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
    @property
    def sockets(self) -> int: ...
    @property
    def attributes(self) -> int: ...

def pack_layer(
    tree: int, target: int, *, compression: str = "none", whiteouts: bool = True, meter: Meter | None = None
) -> Packed:
    """Pack the directory ``tree`` into a layer tar, written to ``target`` (both are descriptors) in one pass.

    The same tree gives the same bytes: sorted names, ustar headers with PAX records for what those cannot hold.
    Overlayfs's whiteouts and opaque directories become OCI's; with ``whiteouts=False`` the tree is a whole root file
    system, where such names are files like others. Owners, modes, times in nanoseconds, hard links, devices, ``user.*``
    attributes, file capabilities and ACLs are kept; holes are written as zeros. ``compression`` is ``none``,
    ``gzip`` or ``zstd`` (the same bytes on any number of processors). The tree may change meanwhile: what vanishes is
    left out, a file that grows is cut. ``meter`` counts bytes of the plain tar. Raises ``hyrun.errors.StorageError``
    for what no layer can hold (a name that begins with ``.wh.``), OSError when the disk or the reader refuses.
    """

def assemble_layer(
    recipe: int, tree: int, target: int, *, compression: str = "none", meter: Meter | None = None
) -> Packed:
    """Write the tar that a layer was unpacked from to ``target``: the same bytes, thus the same diff id.

    ``recipe`` is the directory that ``unpack_layer`` was given as such, ``tree`` the unpacked layer; all are
    descriptors. ``compression`` and ``meter`` as in ``pack_layer``. Compare the diff id: a tree that was changed gives
    another one. Raises ``hyrun.errors.StorageError`` when recipe and tree do not fit together.
    """

def tree_changes(upper: int, lowerdirs: Sequence[str]) -> list[tuple[str, str]]:
    """List what the writable layer ``upper`` (a descriptor) changes in the merged layers, topmost first.

    Pairs of ``A`` (added), ``C`` (changed) or ``D`` (deleted) and an absolute path, sorted, as `docker diff` has them:
    directories on the way to a change are changed. What an opaque directory hides is deleted.
    """

@final
class Verified:
    """What ``verify_manifest`` found.

    ``size`` is that of the plain tar in bytes, ``entries`` the number of names in the manifest, ``count`` how many
    names differ. ``differences`` has the first thousand of them: path below the layer, and what is wrong with it
    (``missing``, ``not a part of the layer``, ``cannot be read: …``, or the fields that differ).
    """

    @property
    def size(self) -> int: ...
    @property
    def entries(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def differences(self) -> list[tuple[str, str]]: ...

def write_manifest(directory: str, path: str, *, size: int, sync: bool) -> int:
    """Write down every name below a layer's directory, its metadata and a digest of its content; return their number.

    Left out are the names ``manifest``, ``layer.json`` and ``blob`` in the directory itself. ``path`` is a new file,
    ``size`` the bytes of the plain tar. With ``sync`` the file system that holds the tree,
    and then the manifest, are on the disk when this returns: the disk writes while the tree is read.
    """

def verify_manifest(directory: str, path: str, *, contents: bool = True, meter: Meter | None = None) -> Verified:
    """Compare a layer's directory with its manifest.

    Types, modes, owners, times, contents, link targets, device numbers and xattrs are compared. Nothing is followed or
    changed, not even the times of access. Without ``contents`` files are only measured, and none is read. ``meter``
    counts bytes of files. Raises ``hyrun.errors.StorageError`` when
    the manifest is damaged itself, OSError when one of the two is missing.
    """

def compare_trees(old: int, new: int) -> list[tuple[str, str]]:
    """Return what differs between two open directories: ``A`` added, ``C`` changed, ``D`` removed, and the path.

    Sorted by path; times alone are no change. What overlayfs keeps for itself (whiteouts, its xattrs) does not count.
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

def cp_tree(source: int, target: int, *, name: str, owner: tuple[int, int] | None = None) -> tuple[int, list[str]]:
    """Copy what ``source`` is (a descriptor with O_PATH) to ``name`` in the open directory ``target``.

    An empty name copies what is in a directory. ``owner`` gets all of it; without, owners, set-id bits and file
    capabilities are kept. Either tree may change meanwhile: nothing is followed, devices are not opened, an
    existing file is replaced, an existing directory kept as it is. Returns the bytes of the files and the paths of
    devices, which are left out. OSError: EISDIR and ENOTDIR when a directory and something else are to replace each
    other, ELOOP when the target is inside of the source, EOPNOTSUPP for a kernel file system such as proc.
    """

def cp_archive(source: int, stream: int, *, name: str) -> tuple[int, list[str]]:
    """As ``cp_tree``, but write a tar to the descriptor ``stream``."""

def cp_unpack(stream: int, target: int, *, owner: tuple[int, int] | None = None) -> tuple[int, list[str]]:
    """Unpack a tar (plain or gzip) into the open directory ``target``, as ``cp_tree`` copies.

    Raises ``hyrun.errors.StorageError`` for an archive that is damaged or has names with ``..``.
    """

def cp_root(rootfs: Overlay, binds: Sequence[Bind], *, read_only: bool = False) -> tuple[int, int]:
    """Mount the root of a container that does not run, with ``binds``, parents first, in a mount namespace of its own.

    Returns descriptors of the root and of the namespace; the mounts are there until both are closed. ``read_only``
    is the root without the binds. OSError with the mount point it is about. Nothing else may have mounted the
    writable layer: hold the container's lock.
    """

def cp_open(root: int, path: str, *, follow: bool) -> int:
    """Open what ``path`` means below ``root`` with O_PATH (openat2(2), RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS).

    ``follow`` a symlink that is the last component, or open the link itself.
    """

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
