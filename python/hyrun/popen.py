"""A container as a child process, in the shape of subprocess.Popen."""

from __future__ import annotations

import io
import os
import time

from . import containers
from .process import container_options, default_store
from .streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import IO, Any

    from .store import Store

#: How long a piece is that is carried between a container's pipe and the caller's file, in bytes.
_PIECE = 1 << 16


class Popen:
    """Run ``args`` in a new container of ``image``; it goes on while the caller does something else.

    The arguments are those of `hyrun.run`; ``stdin``, ``stdout`` and ``stderr`` are as in subprocess.Popen (PIPE,
    DEVNULL, STDOUT, a descriptor, a file), except that without ``stdin`` the container reads nothing. ``args``,
    ``pid``, ``returncode``, ``stdin``, ``stdout`` and ``stderr`` are as there too. Unless ``remove`` is False the
    container is removed when its end is seen (``poll``, ``wait``, ``communicate`` or the end of a ``with`` block).

    Should this process end, the container is killed. Raises as `hyrun.run` does.
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
        remove: bool = True,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool = False,
        encoding: str | None = None,
        store: Store | None = None,
    ) -> None:
        options = container_options(locals())
        self.args = args
        self.returncode: int | None = None
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self._streams = Streams(stdin, stdout, stderr)
        self._finished = False
        self._carriers: list[Any] = []
        container = None
        try:
            container = containers.create(store or default_store(), options, stdio=self._streams.child)
            self._process = container.start()
        except BaseException:
            self._streams.close()
            if container is not None:
                container.abandon()
            raise
        self._container = container
        self._streams.close_child()
        self._open(text=text or encoding is not None, encoding=encoding)

    @property
    def pid(self) -> int:
        """Of pid 1, in the caller's pid namespace."""
        return self._process.pid

    @property
    def id(self) -> str:
        """The container's id: 64 hexadecimal digits."""
        return self._container.id

    @property
    def name(self) -> str:
        """The container's name."""
        return self._container.name

    def poll(self) -> int | None:
        """Return the exit status if it has ended, negative for a signal; None while it runs."""
        return self._wait(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status; TimeoutExpired after ``timeout`` seconds."""
        status = self._wait(timeout)
        if status is None:
            raise self._expired(timeout)
        return status

    def communicate(self, input: str | bytes | None = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write ``input`` to stdin, read stdout and stderr to their ends, wait; return what was read.

        TimeoutExpired after ``timeout`` seconds; the container goes on then, and what was read so far is lost.
        """
        import threading

        end = None if timeout is None else time.monotonic() + timeout
        read: dict[int, Any] = {}

        def drain(number: int, stream: IO[Any]) -> None:
            read[number] = stream.read()

        threads = [
            threading.Thread(target=drain, args=(number, stream), daemon=True)
            for number, stream in ((1, self.stdout), (2, self.stderr))
            if stream is not None
        ]
        if self.stdin is not None:
            threads.append(threading.Thread(target=self._feed, args=(input,), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
            if thread.is_alive():
                raise self._expired(timeout)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        return read.get(1), read.get(2)

    def send_signal(self, signal: int) -> None:
        """Send a signal to pid 1, which ignores what it does not handle; nothing when it has ended."""
        try:
            self._process.kill(signal)
        except ProcessLookupError:
            pass

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(15)

    def kill(self) -> None:
        """Send SIGKILL: everything in the container ends with its pid 1."""
        self.send_signal(9)

    def __enter__(self) -> Popen:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
        try:
            self.wait()
        except BaseException:
            self.kill()
            self._wait(None)
            raise

    def __repr__(self) -> str:
        return f"<hyrun.Popen {self.name}: returncode: {self.returncode} args: {list(self.args)!r}>"

    def _open(self, *, text: bool, encoding: str | None) -> None:
        """Make files of our ends; what is carried to or from a file of the caller's gets a thread."""
        streams = self._streams
        for name, descriptor, mode in (
            ("stdin", streams.stdin, "wb"),
            ("stdout", streams.stdout, "rb"),
            ("stderr", streams.stderr, "rb"),
        ):
            if descriptor < 0:
                continue
            if descriptor in streams.carried:
                self._carry(descriptor, streams.carried[descriptor], inwards=name == "stdin")
                continue
            file: IO[Any] = open(descriptor, mode, 0 if name == "stdin" and not text else -1)
            if text:
                file = io.TextIOWrapper(file, encoding=encoding or "utf-8", write_through=True)
            setattr(self, name, file)
        streams.give_away()

    def _carry(self, ours: int, theirs: int, *, inwards: bool) -> None:
        import threading

        theirs = os.dup(theirs)
        source, target = (theirs, ours) if inwards else (ours, theirs)

        def carry() -> None:
            try:
                while piece := os.read(source, _PIECE):
                    while piece:
                        piece = piece[os.write(target, piece) :]
            except OSError:
                pass  # one of the two has gone: there is nothing more to carry
            finally:
                os.close(ours)
                os.close(theirs)

        thread = threading.Thread(target=carry, daemon=True)
        thread.start()
        if not inwards:
            self._carriers.append(thread)

    def _feed(self, data: str | bytes | None) -> None:
        assert self.stdin is not None
        try:
            if data:
                self.stdin.write(data)
            self.stdin.close()
        except BrokenPipeError:
            pass  # it has stopped reading: that is its right

    def _wait(self, timeout: float | None) -> int | None:
        status = self._process.wait(timeout)
        if status is None:
            return None
        if not self._finished:
            self._finished = True
            # Everything it has written is where it belongs when its end is seen.
            for thread in self._carriers:
                thread.join()
            self._container.finish(status)
        self.returncode = status
        return status

    def _expired(self, timeout: float | None) -> Exception:
        from .errors import TimeoutExpired

        assert timeout is not None
        return TimeoutExpired(list(self.args), timeout)
