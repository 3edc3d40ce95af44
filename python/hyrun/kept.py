"""Kept containers: started with hyrun-init as their monitor, so that they outlive whoever started them.

The order in `start` matters. The end is written down first, as unknown: whatever happens from then on, a free lock and
that file say what is true. The monitor holds the lock (it inherits the descriptor), learns that it may go on only once
`<run>/<id>.json` says who runs, and replaces the unknown end by the true one.
"""

from __future__ import annotations

import os
import sys
import time

from . import _core, container_directory, container_state, events, records, startspec
from .errors import HyrunError, SpawnError
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Milliseconds before the first restart; doubled each time up to the last, and forgotten after a good run (docker's).
FIRST_DELAY, LAST_DELAY, GOOD_RUN = 100, 60_000, 10.0

#: The longest event that the monitor has room for, in bytes.
_EVENT = 8000

#: Python without site-packages: the end of a container needs nothing but hyrun itself.
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from hyrun.ended import main; main()"
#: What of the caller's environment goes on to that Python.
_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")


def start(
    store: Store,
    config: dict[str, Any],
    lock: int,
    *,
    client: int = -1,
    size: tuple[int, int] | None = None,
    delay: int | None = None,
) -> _core.Kept:
    """Start the container of the record ``config``, whose directory's lock is held by the descriptor ``lock``.

    ``client`` is one end of `_core.channel_pair`: the container goes with who holds the other. ``size`` is the
    terminal's, rows and columns. ``delay`` is given by a restart policy: before the next one, in milliseconds. Raises
    SpawnError; the container counts as ended then, with that error's exit code.
    """
    container_directory.check_place(store, config)
    directory = store.path("containers", config["Id"])
    # A policy takes back nothing that a person has said meanwhile.
    for name in ("error",) if delay is not None else ("error", "stopped", "restarts.json"):
        _unlink(f"{directory}/{name}")
    started = time.time_ns()
    records.write(f"{directory}/exit.json", {"status": None, "started": started, "finished": 0}, sync=False)
    opened: list[int] = []
    try:
        kept = _spawn(store, config, directory, lock, client, size, started, delay or FIRST_DELAY, opened)
    except BaseException as error:
        _unlink(f"{store.run}/{socket_name(config['Id'])}")
        if isinstance(error, HyrunError):
            note_failure(directory, error, started)
        raise
    finally:
        for descriptor in opened:
            os.close(descriptor)
    try:
        container_state.write_state(store, config["Id"], kept.pid, started, monitor=kept.monitor)
        kept.go_on()
    except BaseException:
        # Its monitor ends the container then: nobody would know of it. The exception must not hold it.
        del kept
        raise
    _emit(store, "start", config)
    return kept


def note_failure(directory: str, error: HyrunError, started: int) -> None:
    """Write down that a start failed: docker's exit codes, and the sentence for `inspect`."""
    code = error.exit_code if isinstance(error, SpawnError) else 125
    ended = {"status": code, "started": started, "finished": time.time_ns()}
    records.write(f"{directory}/exit.json", ended, sync=False)
    with open(f"{directory}/error", "w", encoding="utf-8", errors="replace") as file:
        file.write(str(error))


def _spawn(
    store: Store,
    config: dict[str, Any],
    directory: str,
    lock: int,
    client: int,
    size: tuple[int, int] | None,
    started: int,
    delay: int,
    opened: list[int],
) -> _core.Kept:
    """Open what the monitor holds, and start both. What is opened for that is in ``opened``."""

    def keep(descriptor: int) -> int:
        opened.append(descriptor)
        return descriptor

    identifier = config["Id"]
    run = keep(os.open(store.run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    theirs, ours = [-1, -1, -1], [-1, -1, -1]
    for number in range(3):
        if config["Tty"] or (number == 0 and not config["OpenStdin"]):
            continue
        reader, writer = os.pipe()
        keep(reader)
        keep(writer)
        theirs[number], ours[number] = (reader, writer) if number == 0 else (writer, reader)
    if config["Tty"] and config["OpenStdin"]:
        ours[0] = lock  # any descriptor: with a terminal it only says that input is wanted
    rows, columns = size or (0, 0)
    policy = config["RestartPolicy"]
    log = config["LogConfig"]
    count = (records.read(f"{directory}/restarts.json") or {}).get("count", 0)
    return _core.spawn_kept(
        startspec.unpack(config, directory, stdio=(theirs[0], theirs[1], theirs[2]), rows=rows, columns=columns),
        _core.Monitor(
            directory=lock,
            run=run,
            log=keep(_open_log(f"{directory}/container.log")),
            listener=keep(_core.channel_listen(run, socket_name(identifier))),
            exit=f'{{"status":%s,"started":{started},"finished":%t}}',
            die=_die_event(config),
            state=f"{identifier}.json",
            socket=socket_name(identifier),
            python=_python(store, identifier),
            env=[
                f"{name}={value}"
                for name, value in os.environ.items()
                if name in _VARIABLES or name.startswith(("HYRUN_", "XDG_"))
            ],
            stdin=ours[0],
            stdout=ours[1],
            stderr=ours[2],
            client=client,
            stdin_once=config["StdinOnce"],
            lifeline=client >= 0,
            remove=config["AutoRemove"],
            restart=policy["Name"],
            retries=max(0, policy["MaximumRetryCount"] - count) if policy["MaximumRetryCount"] else 1 << 62,
            delay=delay,
            max_size=log["max-size"],
            max_files=log["max-file"],
        ),
    )


def _open_log(path: str) -> int:
    """Open the log for appending; a record that was cut short ends here."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
    return descriptor


def socket_name(identifier: str) -> str:
    """Return what a container's channel is called in the run directory."""
    return f"{identifier}.sock"


def _python(store: Store, identifier: str) -> list[str]:
    if not sys.executable:
        raise HyrunError("sys.executable is empty: a container cannot be kept by an embedded interpreter")
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, home, store.root, store.run, identifier]


def _die_event(config: dict[str, Any]) -> str:
    """Return the event of the end as the monitor wants it: JSON with gaps."""
    mark = os.urandom(8).hex()
    own = {"image": config["ImageName"], "name": config["Name"]}
    event = _event_text(config, {**own, **config["Labels"], "exitCode": f"{mark}e"}, mark)
    if len(event) > _EVENT:
        # Better an event without labels than none.
        event = _event_text(config, {**own, "exitCode": f"{mark}e"}, mark)
    text = event.decode().replace("%", "%%")
    return text.replace(f'"{mark}T"', "%T").replace(f'"{mark}t"', "%t").replace(f"{mark}e", "%e") + "\n"


def _event_text(config: dict[str, Any], attributes: dict[str, str], mark: str) -> bytes:
    event = {
        "status": "die",
        "id": config["Id"],
        "from": config["ImageName"],
        "Type": "container",
        "Action": "die",
        "Actor": {"ID": config["Id"], "Attributes": attributes},
        "scope": "local",
        "time": f"{mark}T",
        "timeNano": f"{mark}t",
    }
    return _core.format_json(event)


def _emit(store: Store, action: str, config: dict[str, Any]) -> None:
    events.emit(store, action, config["Id"], config["Name"], config["ImageName"], config["Labels"])


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
