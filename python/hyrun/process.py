"""Run a container from Python, in the shape of subprocess.run."""

from __future__ import annotations

import os

from . import containers
from .errors import InvalidArgument
from .options import Options
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import IO, Any

    from . import _core

#: As subprocess has them, without importing it.
PIPE = -1
STDOUT = -2
DEVNULL = -3

_stores: dict[tuple[str | None, str | None, str | None, str | None], Store] = {}


class CompletedProcess:
    """What came out of it: ``args``, ``returncode`` (negative for a signal), ``stdout`` and ``stderr``.

    The two are None unless captured; bytes, or str with ``text``. The fields are those of
    subprocess.CompletedProcess.
    """

    __slots__ = ("args", "returncode", "stderr", "stdout")

    def __init__(self, args: Sequence[str], returncode: int, stdout: Any = None, stderr: Any = None) -> None:
        self.args = args
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr

    def __repr__(self) -> str:
        fields = [f"args={self.args!r}", f"returncode={self.returncode!r}"]
        for name in ("stdout", "stderr"):
            if getattr(self, name) is not None:
                fields.append(f"{name}={getattr(self, name)!r}")
        return f"CompletedProcess({', '.join(fields)})"

    def check_returncode(self) -> None:
        """Raise CalledProcessError unless the exit status is 0."""
        if self.returncode:
            from .errors import CalledProcessError

            raise CalledProcessError(self.returncode, self.args, self.stdout, self.stderr)


def run(
    image: str,
    args: Sequence[str] = (),
    *,
    volumes: Iterable[str] = (),
    mounts: Iterable[str] = (),
    tmpfs: Iterable[str] = (),
    env: Mapping[str, str] | None = None,
    user: str | int | None = None,
    cwd: str | None = None,
    hostname: str | None = None,
    name: str | None = None,
    entrypoint: str | None = None,
    labels: Mapping[str, str] | None = None,
    network: str = "none",
    read_only: bool = False,
    rootfs: str | None = None,
    remove: bool = True,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    input: str | bytes | None = None,
    capture_output: bool = False,
    text: bool = False,
    encoding: str | None = None,
    timeout: float | None = None,
    check: bool = False,
    store: Store | None = None,
) -> CompletedProcess:
    """Run ``args`` in a new container of ``image`` and return what came out, when it has ended.

    ``volumes``, ``mounts`` and ``tmpfs`` are as on the command line (``"/home:/test:ro"``); ``env`` is added to
    the image's; ``network`` is ``"none"`` or ``"host"``. ``stdin``, ``stdout``, ``stderr``, ``input``,
    ``capture_output``, ``text``, ``timeout`` (seconds) and ``check`` are as in subprocess.run, except that the
    container reads nothing (DEVNULL) when ``stdin`` is not given: None does not mean the caller's. It is removed
    at the end unless ``remove`` is False.

    Safe to call from any thread. Should this process be killed, the container is killed with it.

    Raises NotFound (no such image), InvalidArgument, SpawnError (with ``step``, ``errno``, ``filename``,
    ``exit_code``), TimeoutExpired and CalledProcessError (subclasses of subprocess's).
    """
    if isinstance(args, (str, bytes)):
        raise InvalidArgument(f"args {args!r}: give a list of strings, one for each argument")
    if capture_output:
        if stdout is not None or stderr is not None:
            raise InvalidArgument("stdout and stderr may not be used with capture_output")
        stdout = stderr = PIPE
    if input is not None:
        if stdin is not None:
            raise InvalidArgument("stdin and input may not both be used")
        stdin = PIPE
    elif stdin == PIPE:
        raise InvalidArgument("stdin=PIPE: run() has nobody to write to it; use input")
    options = _options(locals())
    streams = Streams(stdin, stdout, stderr)
    container = None
    try:
        container = containers.create(store or _default_store(), options, stdio=streams.child)
        process = container.start()
    except BaseException:
        streams.close()
        if container is not None:
            container.abandon()
        raise
    return _complete(container, process, streams, args, input, timeout, text=text, encoding=encoding, check=check)


def _options(given: dict[str, Any]) -> Options:
    """Return the options that run's keyword arguments make."""
    from . import volumespec

    directory = os.getcwd() if given["volumes"] or given["mounts"] else "/"
    user = given["user"]
    environment = given["env"] or {}
    for key in environment:
        if not key or "=" in key:
            raise InvalidArgument(f"env {key!r}: a variable's name is not empty and has no '='")
    return Options(
        image=given["image"],
        args=[os.fspath(argument) for argument in given["args"]],
        rootfs=given["rootfs"],
        volumes=[volumespec.parse_volume(text, cwd=directory) for text in given["volumes"]],
        mounts=[volumespec.parse_mount(text, cwd=directory) for text in given["mounts"]],
        tmpfs=[volumespec.parse_tmpfs(text) for text in given["tmpfs"]],
        env=[f"{key}={value}" for key, value in environment.items()],
        cwd=given["cwd"],
        user=None if user is None else str(user),
        hostname=given["hostname"],
        name=given["name"],
        entrypoint=given["entrypoint"],
        read_only=given["read_only"],
        labels=dict(given["labels"] or {}),
        network=given["network"],
        remove=given["remove"],
    )


def _default_store() -> Store:
    """Return the store that the environment names, prepared once per process."""
    environment = os.environ
    key = (
        environment.get("HYRUN_ROOT"),
        environment.get("HYRUN_RUN"),
        environment.get("XDG_DATA_HOME"),
        environment.get("XDG_RUNTIME_DIR"),
    )
    store = _stores.get(key)
    if store is None or not os.path.isdir(store.run):
        store = _stores[key] = Store().prepare()
    return store


class Streams:
    """The three standard streams: what the child gets, and our ends of the pipes to it.

    ``terminals`` maps those of our ends that belong to a terminal to its descriptor: a container that held a
    terminal itself could read what is typed there, so it gets a pipe, and the bytes are carried.
    """

    __slots__ = ("_opened", "child", "stderr", "stdin", "stdout", "terminals")

    def __init__(self, stdin: Any, stdout: Any, stderr: Any) -> None:
        self._opened: list[int] = []
        self.terminals: dict[int, int] = {}
        self.stdin = self.stdout = self.stderr = -1
        try:
            child_in, self.stdin = self._stream(stdin, 0)
            child_out, self.stdout = self._stream(stdout, 1)
            child_err, self.stderr = (child_out, -1) if stderr == STDOUT else self._stream(stderr, 2)
        except BaseException:
            self.close()
            raise
        self.child = (child_in, child_out, child_err)

    def _stream(self, value: Any, number: int) -> tuple[int, int]:
        """Return the child's descriptor and ours (-1 for none)."""
        if value == PIPE:
            return self._pipe(number)
        if value == DEVNULL or (value is None and number == 0):
            null = os.open("/dev/null", (os.O_RDONLY if number == 0 else os.O_WRONLY) | os.O_CLOEXEC)
            self._opened.append(null)
            return null, -1
        descriptor = number if value is None else value if isinstance(value, int) else value.fileno()
        if not os.isatty(descriptor):
            return descriptor, -1
        child, ours = self._pipe(number)
        self.terminals[ours] = descriptor
        return child, ours

    def _pipe(self, number: int) -> tuple[int, int]:
        reader, writer = os.pipe()
        self._opened += (reader, writer)
        return (reader, writer) if number == 0 else (writer, reader)

    def close_child(self) -> None:
        """Close what only the child needs, or its end would never be seen."""
        ours = (self.stdin, self.stdout, self.stderr)
        for descriptor in self._opened:
            if descriptor not in ours:
                os.close(descriptor)
        self._opened = [descriptor for descriptor in self._opened if descriptor in ours]

    def close_one(self, descriptor: int) -> None:
        """Close one of our ends."""
        self._opened.remove(descriptor)
        os.close(descriptor)

    def close(self) -> None:
        """Close all that is still open."""
        for descriptor in self._opened:
            os.close(descriptor)
        self._opened = []


def _complete(
    container: containers.Container,
    process: _core.Process,
    streams: Streams,
    args: Sequence[str],
    input: str | bytes | None,
    timeout: float | None,
    *,
    text: bool,
    encoding: str | None,
    check: bool,
) -> CompletedProcess:
    """Feed it, read it, wait for it; whatever happens, it has ended and is recorded when this returns."""
    status: int | None = None
    output: list[bytes | None] = [None, None]
    try:
        streams.close_child()
        if timeout is None and streams.stdin < 0 and streams.stdout < 0 and streams.stderr < 0:
            status = process.wait()
        else:
            from .communicate import communicate

            data = input.encode(encoding or "utf-8") if isinstance(input, str) else input
            status = communicate(process, streams, data, timeout, output)
    except BaseException:
        if process.returncode is None:
            try:
                process.kill(9)
            except ProcessLookupError:
                pass
        status = process.wait()
        raise
    finally:
        streams.close()
        container.finish(status)
    decoded: list[Any] = list(output)
    if text or encoding:
        decoded = [None if data is None else data.decode(encoding or "utf-8").replace("\r\n", "\n") for data in output]
    if status is None:
        from .errors import TimeoutExpired

        assert timeout is not None
        raise TimeoutExpired(list(args), timeout, *decoded)
    result = CompletedProcess(args, status, *decoded)
    if check:
        result.check_returncode()
    return result
