"""Run a container from Python, in the shape of subprocess.run."""

from __future__ import annotations

import os

from . import containers
from .errors import InvalidArgument
from .options import Options
from .store import Store, working_directory
from .streams import DEVNULL as DEVNULL
from .streams import PIPE, Streams
from .streams import STDOUT as STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import IO, Any

    from . import _core

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

    @classmethod
    def of(
        cls,
        args: Sequence[str],
        status: int | None,
        output: list[bytes | None],
        timeout: float | None,
        *,
        text: bool,
        encoding: str | None,
        check: bool,
    ) -> CompletedProcess:
        """Return what came out, or raise what is to be raised: a ``status`` of None is a time that was over."""
        decoded: list[Any] = list(output)
        if text or encoding:
            decoded = [
                None if data is None else data.decode(encoding or "utf-8").replace("\r\n", "\n") for data in output
            ]
        if status is None:
            from .errors import TimeoutExpired

            assert timeout is not None
            raise TimeoutExpired(list(args), timeout, *decoded)
        result = cls(args, status, *decoded)
        if check:
            result.check_returncode()
        return result

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
    init: bool = False,
    rootfs: str | None = None,
    remove: bool = True,
    pull: str = "missing",
    platform: str | None = None,
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
    at the end unless ``remove`` is False. An image that is not here is pulled from its registry unless ``pull`` is
    ``"never"``; ``"always"`` asks the registry each time. ``platform`` (``"linux/arm64"``) chooses among several.

    Safe to call from any thread. Should this process be killed, the container is killed with it.

    Raises NotFound (no such image), RegistryError (it could not be asked for), InvalidArgument, SpawnError (with
    ``step``, ``errno``, ``filename``, ``exit_code``), TimeoutExpired and CalledProcessError (subclasses of
    subprocess's).
    """
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
    options = container_options(locals())
    streams = Streams(stdin, stdout, stderr)
    container = None
    try:
        container = containers.create(store or default_store(), options, stdio=streams.child)
        process = container.start()
    except BaseException:
        streams.close()
        if container is not None:
            container.abandon()
        raise
    return _complete(container, process, streams, args, input, timeout, text=text, encoding=encoding, check=check)


def container_options(given: dict[str, Any]) -> Options:
    """Return the options that the keyword arguments of `run`, `Popen` and `Container` make."""
    from . import volumespec

    if isinstance(given["args"], (str, bytes)):
        raise InvalidArgument(f"args {given['args']!r}: give a list of strings, one for each argument")
    for name in ("volumes", "mounts", "tmpfs"):
        if isinstance(given[name], (str, bytes)):
            raise InvalidArgument(f"{name} {given[name]!r}: give a list of strings, one for each mount")
    if given["pull"] not in ("always", "missing", "never"):
        raise InvalidArgument(f"pull {given['pull']!r}: one of always, missing, never")
    directory = working_directory() if given["volumes"] or given["mounts"] else "/"
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
        init=given["init"],
        pull=given["pull"],
        platform=given["platform"],
    )


def default_store() -> Store:
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
    return CompletedProcess.of(args, status, output, timeout, text=text, encoding=encoding, check=check)
