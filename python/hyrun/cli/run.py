"""`hyrun run` and `hyrun create`: the flags' values become a container. On the fast path: no Typer here."""

from __future__ import annotations

import os

from hyrun import _core, containers
from hyrun.errors import InvalidArgument
from hyrun.store import Store
from hyrun.streams import Streams

from .options import options_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hyrun.options import Options

#: Exit status of `--timeout`, as timeout(1)'s.
TIMED_OUT = 124


def run(store: Store, values: dict[str, Any], words: list[str]) -> int:
    """Run a container and return the exit status for the shell: its own, or 128 + n for signal n."""
    # One that is removed when it ends needs nobody but this process.
    options = options_of(values, words, keep=not values["rm"] or values["detach"] or not values["sig_proxy"])
    timeout = _timeout(values["timeout"])
    if values["dry_run"]:
        import json

        from hyrun.spec import as_dict

        print(json.dumps(as_dict(containers.plan(store, options).spec), indent=2))
        return 0
    if options.keeping is not None:
        return _run_kept(store, options, values, timeout)
    store.prepare()
    return _run_here(store, options, values, timeout)


def create(store: Store, values: dict[str, Any], words: list[str]) -> int:
    """Make a container, start nothing, print its id."""
    options = options_of(values, words, keep=True)
    with _Cidfile(values["cidfile"]) as cidfile:
        container = containers.create(store.prepare(), options)
        cidfile.write(container.id)
    container.release()
    os.write(1, f"{container.id}\n".encode())
    return 0


def _run_here(store: Store, options: Options, values: dict[str, Any], timeout: float | None) -> int:
    """In the foreground, as this process's child: it goes with this process."""
    streams = Streams(0 if options.interactive else None, 1, 2)
    with _Cidfile(values["cidfile"]) as cidfile:
        container = containers.create(store, options, stdio=streams.child)
        try:
            cidfile.write(container.id)
            # From here on a signal waits until there is somebody to forward it to.
            _core.block_signals()
            process = container.start()
        except BaseException:
            container.abandon()
            raise
    status = None
    try:
        streams.close_child()
        # Copies of the caller's: attend closes what it is given, each at its end.
        carried = {ours: os.dup(theirs) for ours, theirs in streams.carried.items()}
        streams.give_away()
        source = carried.pop(streams.stdin, None)
        status = _core.attend(
            process,
            timeout=timeout,
            input=None if source is None else (source, streams.stdin),
            outputs=list(carried.items()),
        )
        if status is None:
            process.kill(9)
            process.wait()
            status = -9
            return TIMED_OUT
        return status if status >= 0 else 128 - status
    finally:
        container.finish(status)


def _run_kept(store: Store, options: Options, values: dict[str, Any], timeout: float | None) -> int:
    """With a monitor: in the background, or with this process in front of it."""
    from hyrun import kept
    from hyrun.attach import Session
    from hyrun.keeping import parse_detach_keys

    if timeout is not None and (values["detach"] or values["restart"]):
        raise InvalidArgument("--timeout goes with a container in the foreground, without -d and --restart")
    assert options.keeping is not None
    session = Session(
        tty=options.keeping.tty,
        stdin=options.interactive,
        keys=parse_detach_keys(values["detach_keys"]),
        forward=values["sig_proxy"],
        insist=True,
    )
    if not values["detach"]:
        session.check()
    ours, theirs = (-1, -1) if values["detach"] else _core.channel_pair()
    with _Cidfile(values["cidfile"]) as cidfile:
        container = containers.create(store.prepare(), options)
        try:
            cidfile.write(container.id)
            # From here on a signal waits until there is somebody to forward it to, or until nothing is half done.
            _core.block_signals()
            started = kept.start(store, container.config, container.lock, client=theirs, size=session.size())
        except BaseException:
            container.abandon()
            raise
    container.release()
    if values["detach"]:
        os.write(1, f"{container.id}\n".encode())
        return 0
    os.close(theirs)
    with _Limit(timeout, started.pidfd) as limit:
        code = session.sit_to_the_end(ours, started.pidfd, removed=container.directory if options.remove else None)
    return TIMED_OUT if limit.reached else code


class _Limit:
    """Kills the process behind a pidfd after some seconds."""

    __slots__ = ("_pidfd", "_timer", "reached")

    def __init__(self, seconds: float | None, pidfd: int) -> None:
        self.reached = False
        self._pidfd = -1
        self._timer = None
        if seconds is not None:
            import threading

            self._pidfd = os.dup(pidfd)
            self._timer = threading.Timer(seconds, self._kill)
            self._timer.daemon = True

    def __enter__(self) -> _Limit:
        if self._timer is not None:
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            os.close(self._pidfd)

    def _kill(self) -> None:
        import signal

        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has just ended
        self.reached = True


def _timeout(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
        if 0 < seconds < 1e9:
            return seconds
    except ValueError:
        pass
    raise InvalidArgument(f"--timeout {text}: write a positive number of seconds")


class _Cidfile:
    """The file of `--cidfile`: claimed first, and gone again when the container does not come to be."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> _Cidfile:
        if self._path is None:
            return self
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise InvalidArgument(
                f"--cidfile {self._path} exists: make sure that its container is not wanted any more, then remove it"
            ) from None
        except OSError as error:
            raise InvalidArgument(f"--cidfile {self._path}: {error.strerror}") from None
        return self

    def write(self, identifier: str) -> None:
        """Write the id."""
        if self._descriptor >= 0:
            os.write(self._descriptor, identifier.encode())

    def __exit__(self, kind: object, *_: object) -> None:
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        if kind is not None:
            assert self._path is not None
            os.unlink(self._path)


def main(arguments: list[str], root: str | None) -> int:
    """Parse and run. Raises `flags.Unparsed` for what Typer should explain."""
    from . import flags

    values, words = flags.parse(arguments)
    return run(Store(root), values, words)
