"""`hyrun exec`: a process in a container that runs. On the fast path: no Typer here."""

from __future__ import annotations

import os

from hyrun import _core, container_list, execution
from hyrun.errors import HyrunError, InvalidArgument
from hyrun.store import Store
from hyrun.streams import DEVNULL, Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def execute(store: Store, values: dict[str, Any], words: list[str]) -> int:
    """Run a command in a container and return its exit status for the shell."""
    from .options import environment

    if len(words) < 2:
        raise InvalidArgument("hyrun exec [OPTIONS] CONTAINER COMMAND [ARG...]: write both")
    env = environment(values["env_file"], values["env"])
    with execution.running(store, container_list.find(store.prepare(), words[0]).id) as container:

        def start(**others: Any) -> tuple[_core.Process, int]:
            return execution.start(container, words[1:], env=env, user=values["user"], cwd=values["workdir"], **others)

        if values["detach"]:
            return _leave(start, tty=values["tty"])
        if values["tty"]:
            return _at_terminal(start, values["detach_keys"], interactive=values["interactive"])
        return _at_pipes(start, interactive=values["interactive"])


def _leave(start: Any, *, tty: bool) -> int:
    if tty:
        raise InvalidArgument("-d and -t: nobody would sit at the terminal: leave out one of them")
    # It belongs to the host's pid 1 when this process has ended; its output goes nowhere, as docker's.
    start(die_with_parent=False)
    return 0


def _at_pipes(start: Any, *, interactive: bool) -> int:
    streams = Streams(0 if interactive else DEVNULL, 1, 2)
    try:
        _core.block_signals()
        process, _ = start(stdio=streams.child)
        streams.close_child()
    except BaseException:
        streams.close()
        raise
    carried = {ours: os.dup(theirs) for ours, theirs in streams.carried.items()}
    streams.give_away()
    source = carried.pop(streams.stdin, None)
    status = _core.attend(
        process,
        input=None if source is None else (source, streams.stdin),
        outputs=list(carried.items()),
    )
    return _code(status)


def _at_terminal(start: Any, detach_keys: str | None, *, interactive: bool) -> int:
    from hyrun.attach import Session

    # Docker's own would take ctrl-p away from the shell inside, and few leave a shell that they cannot come back to.
    keys = b""
    if detach_keys:
        from hyrun.keeping import parse_detach_keys

        keys = parse_detach_keys(detach_keys)
    session = Session(tty=True, stdin=interactive)
    session.check()
    _core.block_signals()
    process, master = start(tty=True, size=session.size(), die_with_parent=not keys)
    try:
        how, value = _core.sit(
            master,
            stdin=0 if interactive else -1,
            stdout=1,
            stderr=2,
            tty=interactive,
            keys=keys if interactive else b"",
            forward=process.pidfd,
            insist=True,
            process=process,
        )
        if how == "detached":
            return _leave_terminal(master)
    finally:
        os.close(master)
    if how == "exited":
        return _code(process.wait())
    # The terminal has gone, and the process gets SIGHUP for it.
    return 128 + (value or 1)


def _leave_terminal(master: int) -> int:
    """Leave the process with its terminal to a process that reads, and drops, what it still writes."""
    if os.fork():
        os.write(2, b"\n")  # the shell's next prompt begins on a line of its own
        return 0
    try:
        os.setsid()
        os.chdir("/")
        null = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.dup2(master, 3)
        os.set_blocking(3, True)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        while os.read(3, 1 << 16):
            pass
    except OSError:
        pass  # nobody has the terminal open any more
    finally:
        os._exit(0)


def _code(status: int | None) -> int:
    if status is None:
        raise HyrunError("the process has not ended")
    return status if status >= 0 else 128 - status


def main(arguments: list[str], root: str | None) -> int:
    """Parse and execute. Raises `flags.Unparsed` for what Typer should explain."""
    from . import flags

    values, words = flags.parse(arguments, flags.EXEC)
    return execute(Store(root), values, words)
