"""A root file system as a directory, containers of the extension on top of it, and processes to try things in."""

import ctypes
import os
import selectors
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hyrun import _core
from hyrun.errors import SpawnError
from hyrun.spec import CAPABILITIES, MASKED_PATHS, READONLY_PATHS
from support.images import busybox_rootfs_tar
from support.processes import forked, status_of

#: Long enough for any machine; only a container that hangs meets it.
PATIENCE = 60.0

MS_RDONLY, MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 1, 4096, 16384, 1 << 18, 1 << 20
CLONE_NEWNS = 0x20000
_libc = ctypes.CDLL(None, use_errno=True)


class Ended(NamedTuple):
    """A container that has ended."""

    returncode: int
    stdout: str
    stderr: str


class Running(NamedTuple):
    """A container that has said its first line."""

    process: _core.Process
    said: str


@dataclass
class Box:
    """Containers of one test: one root file system, one directory for what they write."""

    rootfs: Path
    top: Path
    count: int = 0
    #: Layers above the root file system, topmost first.
    layers: list[Path] = field(default_factory=list)

    def layer(self, entries: Mapping[str, str | bytes | None | Path]) -> Path:
        """Put a layer on top: a directory (None), a file (bytes, or text: a script) or a symlink (Path) per name."""
        layer = self.top / f"layer{len(self.layers)}"
        layer.mkdir()
        for name, content in entries.items():
            path = layer / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir()
            elif isinstance(content, Path):
                path.symlink_to(content)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
                path.chmod(0o755 if isinstance(content, str) else 0o644)
        self.layers.insert(0, layer)
        return layer

    def overlay(self, **options: Any) -> _core.Overlay:
        """Return the layers with a fresh upperdir and workdir."""
        top = self.top / f"container{self.count}"
        self.count += 1
        for name in ("upper", "work"):
            (top / name).mkdir(parents=True)
        paths = {"upperdir": str(top / "upper"), "workdir": str(top / "work")}
        lowerdirs = [str(path) for path in (*self.layers, self.rootfs)]
        return _core.Overlay(**{"lowerdirs": lowerdirs, **paths, **options})

    def spec(self, *argv: str, **options: Any) -> _core.Spec:
        """Return a container as ``hyrun run`` would make it; ``options`` are those of Spec."""
        defaults: dict[str, Any] = {
            "rootfs": self.overlay() if "rootfs" not in options else None,
            "argv": argv,
            "env": ["PATH=/bin"],
            "hostname": "box",
            "capabilities": CAPABILITIES,
            "masked_paths": MASKED_PATHS,
            "readonly_paths": READONLY_PATHS,
        }
        return _core.Spec(**(defaults | options))

    def refused(self, *argv: str, **options: Any) -> SpawnError:
        """Return why a container cannot be started. Nothing of it is left, and the next one starts."""
        with pytest.raises(SpawnError) as caught:
            _core.spawn(self.spec(*(argv or ("true",)), **options))
        assert Box(self.rootfs, self.top / f"next{self.count}").run("true").returncode == 0
        return caught.value

    def upper(self, name: str = "") -> Path:
        """Return a path in the writable layer of the last container."""
        return self.top / f"container{self.count - 1}" / "upper" / name

    def run(self, *argv: str, stdin: bytes = b"", **options: Any) -> Ended:
        """Run a container to its end, with pipes."""
        with _pipes(stdin) as (ours, theirs):
            process = _core.spawn(
                self.spec(*argv, **dict(zip(("stdin", "stdout", "stderr"), theirs, strict=True)), **options)
            )
            _close(theirs)
            stdout, stderr = _read_all(ours)
        return Ended(wait(process), stdout.decode(), stderr.decode())

    def sh(self, script: str, **options: Any) -> Ended:
        """Run a shell script in a container."""
        return self.run("sh", "-c", script, **options)

    def output(self, script: str, **options: Any) -> str:
        """Return what a shell script writes; it must succeed and not complain."""
        ended = self.sh(script, **options)
        assert (ended.returncode, ended.stderr) == (0, ""), ended
        return ended.stdout

    @contextmanager
    def running(self, script: str, **options: Any) -> Iterator[Running]:
        """A shell script that goes on, once it has said a line, until the block ends."""
        (reader, writer), null = os.pipe(), os.open("/dev/null", os.O_RDWR)
        process = None
        try:
            process = _core.spawn(self.spec("sh", "-c", script, stdin=null, stdout=writer, stderr=2, **options))
            os.close(writer)
            writer = -1
            with open(reader, closefd=False) as lines:
                yield Running(process, lines.readline().rstrip("\n"))
        finally:
            for descriptor in (reader, writer, null):
                if descriptor >= 0:
                    os.close(descriptor)
            if process is not None:
                end(process)


def unpack_rootfs(directory: Path) -> Path:
    """Make a root file system in ``directory``, usable as a lowerdir."""
    tar = busybox_rootfs_tar(directory / "rootfs.tar")
    root = directory / "rootfs"
    root.mkdir()
    with tar.open("rb") as source:
        _core.unpack_layer(source.fileno(), str(root))
    return root


def wait(process: _core.Process) -> int:
    """Return the exit status of a container that is about to end."""
    status = process.wait(PATIENCE)
    if status is None:
        end(process)
    assert status is not None, "the container hangs"
    return status


def end(process: _core.Process) -> None:
    """Kill a container if it still runs, and reap it."""
    try:
        process.kill(signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(PATIENCE)


def in_process(work: Callable[[], object]) -> None:
    """Do ``work`` in a process of its own; its failure is the test's."""
    status = status_of(forked(work))
    assert status == 0, f"failed in its own process (status {status}): see stderr"


def in_mount_namespace(work: Callable[[], object], propagation: int = MS_PRIVATE) -> None:
    """Do ``work`` in a process whose mounts are its own: nothing of them reaches this one."""

    def alone() -> None:
        check(_libc.unshare(CLONE_NEWNS))
        mount("none", "/", MS_REC | MS_PRIVATE)
        if propagation != MS_PRIVATE:
            mount("none", "/", MS_REC | propagation)
        work()

    in_process(alone)


def mount(source: str | Path, target: str | Path, flags: int = 0, kind: str | None = None) -> None:
    """mount(2)."""
    name = None if kind is None else kind.encode()
    check(_libc.mount(os.fsencode(source), os.fsencode(target), name, ctypes.c_ulong(flags), None))


def unmount(target: str | Path) -> None:
    """umount(2)."""
    check(_libc.umount2(os.fsencode(target), 0))


def prctl(option: int, argument: int = 0) -> int:
    """prctl(2)."""
    return check(_libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0))


def check(result: int) -> int:
    """Return the result of a C function, or raise its errno."""
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result


@contextmanager
def _pipes(stdin: bytes) -> Iterator[tuple[list[int], list[int]]]:
    """Our ends of stdout and stderr, and the three for a container; what is not closed by then is closed at the end."""
    source = os.memfd_create("stdin")
    os.write(source, stdin)
    os.lseek(source, 0, os.SEEK_SET)
    out, err = os.pipe(), os.pipe()
    ours, theirs = [out[0], err[0]], [source, out[1], err[1]]
    try:
        yield ours, theirs
    finally:
        _close(ours)
        _close(theirs)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _read_all(sources: Sequence[int]) -> list[bytes]:
    found = {source: bytearray() for source in sources}
    with selectors.DefaultSelector() as selector:
        for source in sources:
            selector.register(source, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(PATIENCE)
            assert ready, "the container hangs"
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                found[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
    return [bytes(found[source]) for source in sources]
