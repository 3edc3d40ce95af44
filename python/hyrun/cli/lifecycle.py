"""`start`, `restart` and `attach`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated

import typer

from hyrun import _core, container, container_list, events, keeping, kept, signal_names, stopping
from hyrun.attach import Session, connect
from hyrun.errors import Conflict, HyrunError, InvalidArgument
from hyrun.store import Store

from . import output
from .arguments import ActiveContainer, Containers, StopSignal, StopTimeout
from .containers import group
from .context import current
from .context import store as current_store

_PANEL = "Containers"
_KEYS = typer.Option("--detach-keys", metavar="KEYS", help="Keys that leave the container; ctrl-p,ctrl-q otherwise.")
_PROXY = typer.Option("--sig-proxy/--no-sig-proxy", help="Pass signals on to the container.")


def start(
    names: Containers,
    attach_: Annotated[bool, typer.Option("--attach", "-a", help="Show its output and wait for its end.")] = False,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Pass stdin on as well.")] = False,
    detach_keys: Annotated[str | None, _KEYS] = None,
    sig_proxy: Annotated[bool, _PROXY] = True,
) -> None:
    """Start containers that were created, or have ended. Example: hyrun start -ai web"""
    store = current_store()
    if not (attach_ or interactive):
        _each(names, lambda name: _start(store, name))
        return
    if len(names) != 1:
        raise InvalidArgument("start -a and -i take one container: start the others without")
    current.exit_with_cause = True
    raise typer.Exit(_start_in_front(store, names[0], detach_keys, interactive=interactive, sig_proxy=sig_proxy))


def _start(store: Store, name: str) -> None:
    record = container_list.find(store, name)
    # One that runs already is left as it is (docker).
    if not record.active:
        container.start(store, record)


def _start_in_front(store: Store, name: str, detach_keys: str | None, *, interactive: bool, sig_proxy: bool) -> int:
    record = container_list.find(store, name)
    if record.status not in ("created", "exited"):
        raise Conflict(f"container {record.name} is {record.status}: hyrun attach {record.name}")
    config = record.config
    lock = container.own_startable(store, record)
    ours, theirs = _core.channel_pair()
    try:
        session = Session(
            tty=bool(config["Tty"]),
            stdin=interactive and bool(config["OpenStdin"]),
            keys=keeping.parse_detach_keys(detach_keys),
            forward=sig_proxy,
            insist=False,
        )
        session.check()
        _core.block_signals()
        started = kept.start(store, config, lock, client=theirs, size=session.size())
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
        os.close(lock)
    return session.sit_to_the_end(ours, started.pidfd, removed=record.directory if config["AutoRemove"] else None)


def restart(
    names: Containers,
    timeout: StopTimeout = None,
    signal: StopSignal = None,
) -> None:
    """Stop containers and start them again. Example: hyrun restart -t 3 web"""
    number = None if signal is None else signal_names.parse(signal)
    store = current_store()

    def one(name: str) -> None:
        record = container_list.find(store, name)
        if not record.kept:
            raise Conflict(f"container {record.name} was made by a program for one run and cannot be started again")
        if record.config["AutoRemove"] and record.active:
            raise Conflict(f"container {record.name} is removed when it stops (--rm): it cannot start again")
        for error in stopping.stop(store, [record], signal=number, timeout=timeout):
            if error is not None:
                raise error
        _start(store, record.id)
        events.of_container(store, "restart", record)

    _each(names, one)


def attach(
    name: ActiveContainer,
    no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Only watch.")] = False,
    detach_keys: Annotated[str | None, _KEYS] = None,
    sig_proxy: Annotated[bool, _PROXY] = True,
) -> None:
    """Sit at a container that is running, as if it had been started here. Example: hyrun attach web

    Several can sit at one container. With a terminal, ctrl-p ctrl-q leaves it running.
    """
    store = current_store()
    record = container_list.find(store, name)
    if record.status == "paused":
        raise Conflict(f"container {record.name} is paused: hyrun unpause {record.name}")
    if record.status == "restarting":
        raise Conflict(f"container {record.name} is restarting: wait until it runs")
    if record.status != "running":
        raise Conflict(f"container {record.name} is not running: hyrun start -a {record.name}")
    session = Session(
        tty=bool(record.config.get("Tty")),
        stdin=not no_stdin and bool(record.config.get("OpenStdin")),
        keys=keeping.parse_detach_keys(detach_keys),
        forward=sig_proxy,
    )
    session.check()
    pidfd = os.pidfd_open(record.pid)
    try:
        channel = connect(store, record)
        events.of_container(store, "attach", record)
        _core.block_signals()
        code = session.sit_to_the_end(channel, pidfd)
    finally:
        os.close(pidfd)
    raise typer.Exit(code)


def _each(names: list[str], work: Callable[[str], None]) -> None:
    """Do it for each and print its name; a failure is told, and the others are done all the same."""
    failed = False
    for name in names:
        try:
            work(name)
        except HyrunError as error:
            output.message(f"hyrun: {error}")
            failed = True
        else:
            typer.echo(name)
    if failed:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to the application and to the group ``container``."""
    for name, command in (("start", start), ("restart", restart), ("attach", attach)):
        app.command(name, rich_help_panel=_PANEL)(command)
        group.command(name)(command)
