"""A container from Python that stays: made, started, entered, copied to and from, committed, removed.

The functions are those of the command line; every one looks at the store anew, so that two programs, and a person at a
terminal, may work on one container.
"""

from __future__ import annotations

import os
import time

from . import container_inspect, container_list, containers, execution, kept, stopping
from .errors import Conflict, InUse, InvalidArgument, NotFound
from .options import Keeping
from .process import CompletedProcess, container_options, default_store
from .store import working_directory
from .streams import PIPE, Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import IO, Any

    from .container_list import Record
    from .store import Store

#: How often a lock that somebody who only looks may hold is tried, 5 ms apart.
_TRIES = 200


class Container:
    """A container that outlives this process unless it is removed.

        with hyrun.Container("busybox", ["sleep", "infinity"], volumes=["/data"]) as box:
            box.exec(["sh", "-c", "echo hello > /data/file"], check=True)

    It is made at once and started by ``start`` or at the beginning of a ``with`` block, at whose end it is stopped and
    removed with its anonymous volumes. The arguments are those of `hyrun.run`, and: ``tty`` (a terminal),
    ``interactive`` (stdin stays open, for `hyrun attach`), ``restart`` (``"no"``, ``"on-failure[:max]"``, ``"always"``,
    ``"unless-stopped"``), ``stop_signal``, ``stop_timeout`` (seconds), ``log_size`` (bytes) and ``log_files``. Raises
    NotFound, InvalidArgument, Conflict (the name is taken).
    """

    def __init__(
        self,
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
        pull: str = "missing",
        platform: str | None = None,
        remove: bool = False,
        tty: bool = False,
        interactive: bool = False,
        restart: str = "no",
        stop_signal: str | None = None,
        stop_timeout: int | None = None,
        log_size: int = 0,
        log_files: int = 1,
        store: Store | None = None,
    ) -> None:
        from . import keeping

        options = container_options(locals())
        options.interactive = interactive
        options.keeping = Keeping(
            tty=tty,
            restart=keeping.parse_restart(restart),
            stop_signal=keeping.parse_stop_signal(stop_signal),
            stop_timeout=stop_timeout,
            log_size=log_size,
            log_files=log_files,
        )
        if remove and restart != "no":
            raise InvalidArgument("restart and remove exclude each other")
        self._store = store or default_store()
        made = containers.create(self._store, options)
        made.release()
        self.id = made.id

    @classmethod
    def get(cls, name: str, *, store: Store | None = None) -> Container:
        """Return the container of that name, id or beginning of an id; NotFound when there is none."""
        found = cls.__new__(cls)
        found._store = store or default_store()
        found.id = container_list.find(found._store, name).id
        return found

    @property
    def name(self) -> str:
        """Its name, which may change."""
        return self._record().name

    @property
    def status(self) -> str:
        """``created``, ``running``, ``paused``, ``restarting`` or ``exited``."""
        return self._record().status

    @property
    def pid(self) -> int:
        """Of its pid 1, in the host's pid namespace; 0 when it does not run."""
        return self._record().pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, as a shell has it (128 + n for signal n; 255: nobody knows); None while it has not."""
        record = self._record()
        return record.exit_code if record.status == "exited" else None

    def inspect(self) -> dict[str, Any]:
        """Return what docker's `inspect` would show."""
        return container_inspect.inspect(self._record())

    def start(self) -> Container:
        """Start it; one that runs already is left as it is. Raises SpawnError. Returns itself."""
        record = self._record()
        if not record.active:
            start(self._store, record)
        return self

    def exec(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str | int | None = None,
        cwd: str | None = None,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        input: str | bytes | None = None,
        capture_output: bool = False,
        text: bool = False,
        encoding: str | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> CompletedProcess:
        """Run a command in it and return what came out: the arguments and errors are those of `hyrun.run`.

        ``user`` and ``cwd`` are the container's own unless given. Raises Conflict when it does not run.
        """
        from .communicate import communicate

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
            raise InvalidArgument("stdin=PIPE: exec() has nobody to write to it; use input")
        streams = Streams(stdin, stdout, stderr)
        try:
            with execution.running(self._store, self.id) as running:
                process, _ = execution.start(
                    running,
                    list(args),
                    env=[f"{key}={value}" for key, value in (env or {}).items()],
                    user=None if user is None else str(user),
                    cwd=cwd,
                    stdio=streams.child,
                )
            streams.close_child()
            output: list[bytes | None] = [None, None]
            data = input.encode(encoding or "utf-8") if isinstance(input, str) else input
            try:
                status = communicate(process, streams, data, timeout, output)
            except BaseException:
                if process.wait(0.0) is None:
                    process.kill(9)
                    process.wait()
                raise
        finally:
            streams.close()
        return CompletedProcess.of(args, status, output, timeout, text=text, encoding=encoding, check=check)

    def logs(self) -> tuple[bytes, bytes]:
        """Return what it has written so far on stdout and stderr."""
        from .logs import Printer, show

        files = [open(os.memfd_create(name, os.MFD_CLOEXEC), "r+b", 0) for name in ("stdout", "stderr")]
        with files[0] as output, files[1] as errors:
            printer = Printer(output.fileno(), errors.fileno())
            show(self._store, self._record(), printer, output=output.fileno())
            output.seek(0)
            errors.seek(0)
            return output.read(), errors.read()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code, as a shell has it; TimeoutExpired after ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            record = self._record()
            if not record.active:
                return record.exit_code
            if end is not None and time.monotonic() >= end:
                from .errors import TimeoutExpired

                assert timeout is not None
                raise TimeoutExpired(record.config.get("Argv") or [], timeout)
            _sleep_until_it_ends(record.pid, None if end is None else end - time.monotonic())

    def stop(self, timeout: int | None = None, *, signal: int | None = None) -> None:
        """Ask it to end, and kill it after ``timeout`` seconds (10 unless its own says else; negative: never)."""
        for error in stopping.stop(self._store, [self._record()], signal=signal, timeout=timeout):
            if error is not None:
                raise error

    def kill(self, signal: int = 9) -> None:
        """Send a signal to its pid 1; InUse when it does not run."""
        stopping.kill(self._store, self._record(), signal)

    def copy_in(self, source: str | os.PathLike[str], target: str, *, archive: bool = False) -> None:
        """Copy a file or directory of this machine to the path ``target`` in it, running or not, as `hyrun cp` does.

        What goes in belongs to root; ``archive`` keeps owners and set-id bits. Raises NotFound and InvalidArgument.
        """
        from .cp import copy

        copy(self._store, _host_path(source), f"{self.id}:{target}", archive=archive)

    def copy_out(self, source: str, target: str | os.PathLike[str], *, archive: bool = False) -> None:
        """Copy a file or directory at the path ``source`` in it to this machine; the rest as ``copy_in``."""
        from .cp import copy

        copy(self._store, f"{self.id}:{source}", _host_path(target), archive=archive)

    def commit(
        self,
        reference: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> str:
        """Make an image of its writable layer and configuration; return the image's id. Data of volumes is not in it.

        ``changes`` are Dockerfile instructions such as ``'CMD ["sh"]'``; a running container is held still meanwhile
        unless ``pause`` is False. Raises InvalidArgument and StorageError.
        """
        from .commit import commit
        from .pause import paused

        record = self._record()
        held = paused if pause and record.active else None
        made = commit(self._store, record, reference, author=author, message=message, changes=list(changes), pause=held)
        return made.image_id

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it, with ``volumes`` its anonymous ones too. InUse while it runs, unless ``force``."""
        container_list.remove(self._store, self._record(), force=force, volumes=volumes)

    def __enter__(self) -> Container:
        try:
            return self.start()
        except BaseException:
            self.remove(force=True, volumes=True)
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self.remove(force=True, volumes=True)
        except NotFound:
            pass  # somebody else has removed it, or it did so itself

    def __repr__(self) -> str:
        return f"<hyrun.Container {self.id[:12]}>"

    def _record(self) -> Record:
        return container_list.find(self._store, self.id)


def _host_path(path: str | os.PathLike[str]) -> str:
    # Absolute: neither a colon nor a lone dash in it means anything else then.
    return os.path.join(working_directory(), os.fspath(path))


def start(store: Store, record: Record) -> None:
    """Start a container that does not run. Raises Conflict for one that cannot be, or that somebody else starts now."""
    lock = own_startable(store, record)
    try:
        kept.start(store, record.config, lock)
    finally:
        os.close(lock)


def own_startable(store: Store, record: Record) -> int:
    """Return the lock of a container that can be started; the descriptor is the caller's."""
    if not record.kept:
        raise Conflict(f"container {record.name} was made by a program for one run and cannot be started again")
    for _ in range(_TRIES):
        lock = container_list.try_to_own(record)
        if lock is not None:
            return lock
        time.sleep(0.005)
    raise InUse(f"container {record.name} is {container_list.find(store, record.id).status} by now: start it once")


def _sleep_until_it_ends(pid: int, seconds: float | None) -> None:
    """Sleep until a process has ended; a moment when it has, because its owner may still be writing that down."""
    import select

    try:
        descriptor = os.pidfd_open(pid) if pid > 0 else -1
    except ProcessLookupError:
        descriptor = -1
    if descriptor < 0:
        time.sleep(0.005)
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        # Look again from time to time: between the look at the record and here, the pid may have become another's.
        poll.poll(1000 * (1.0 if seconds is None else max(0.0, min(1.0, seconds))))
    finally:
        os.close(descriptor)
