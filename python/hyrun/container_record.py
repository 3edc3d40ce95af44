"""One container as the disk has it: what was asked for, what it is doing, how it ended."""

from __future__ import annotations

import os

from . import container_state, pidfds, records
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: A container in one of these states has an owner: docker calls it running.
ACTIVE = frozenset(("running", "paused", "restarting"))


class Record:
    """One container. ``status`` is ``created``, ``running``, ``paused``, ``restarting`` or ``exited``.

    ``exit_status`` is as wait(2) has it (negative: a signal), None when unknown or not ended. Times are
    nanoseconds since 1970, 0 when unknown. ``pid`` is that of its pid 1, ``monitor`` that of the process which is its
    parent and owner when it runs in the background; 0 when there is none. ``error`` says why the last start failed.
    """

    __slots__ = (
        "config",
        "created",
        "directory",
        "error",
        "exit_status",
        "finished",
        "id",
        "monitor",
        "name",
        "pid",
        "restart_count",
        "started",
        "status",
    )

    def __init__(self, identifier: str, directory: str, config: dict[str, Any]) -> None:
        self.id = identifier
        self.directory = directory
        self.config = config
        self.name: str = config["Name"]
        created = config.get("Created")
        self.created = created if isinstance(created, int) else 0
        self.status = "created"
        self.exit_status: int | None = None
        self.pid = 0
        self.monitor = 0
        self.started = 0
        self.finished = 0
        self.restart_count = 0
        self.error = ""

    @property
    def kept(self) -> bool:
        """Whether ``create`` made it, or ``run -d`` or ``-t``: it can be started again, and its output is kept."""
        return "Start" in self.config

    @property
    def active(self) -> bool:
        """Whether it has an owner: it runs, is paused, or waits to be started again."""
        return self.status in ACTIVE

    @property
    def paused(self) -> bool:
        """Whether its processes are frozen."""
        return self.status == "paused"

    @property
    def policy(self) -> str:
        """The name of its restart policy; ``no`` when it has none."""
        policy = self.config.get("RestartPolicy")
        name = policy.get("Name") if isinstance(policy, dict) else None
        return name if isinstance(name, str) and name else "no"

    @property
    def labels(self) -> dict[str, str]:
        """Its labels and those of its image."""
        labels = self.config.get("Labels")
        return labels if isinstance(labels, dict) else {}

    @property
    def exit_code(self) -> int:
        """The exit status as a shell has it: 128 + n for signal n; 0 while it runs; 255 when nobody knows it."""
        if self.status not in ("exited", "restarting"):
            return 0
        if self.exit_status is None:
            return 255
        return self.exit_status if self.exit_status >= 0 else 128 - self.exit_status


def read(store: Store, identifier: str, *, owned: bool, config: dict[str, Any] | None = None) -> Record | None:
    """Return what the files say of a container, given whether somebody owns it; None when it has no record yet.

    ``status`` is empty when its owner died before it could write down how the container ended. ``config`` stands
    for a record that was lost.
    """
    directory = store.path("containers", identifier)
    config = records.read(f"{directory}/config.json") or config
    if config is None or not isinstance(config.get("Name"), str):
        return None
    record = Record(identifier, directory, config)
    state = records.read(container_state.state_path(store, identifier)) or {}
    if state.get("boot") != container_state.boot_id():
        state = {}
    ended = records.read(f"{directory}/exit.json")
    over = ended is not None and ended.get("finished") != 0
    record.started = state.get("started") or (ended or {}).get("started") or 0
    if over:
        assert ended is not None
        record.exit_status = ended.get("status")
        record.finished = ended.get("finished", 0)
    if record.policy != "no":
        count = (records.read(f"{directory}/restarts.json") or {}).get("count")
        record.restart_count = count if isinstance(count, int) else 0
    if record.kept:
        record.error = _text(f"{directory}/error")
    if owned:
        _owned(store, record, state, over=over)
    elif over:
        # A container with --rm is never left there when it has ended.
        record.status = "" if record.config.get("AutoRemove") else "exited"
    elif record.kept and not state and ended is None and not os.path.lexists(f"{directory}/exit.json"):
        record.status = "created"
    else:
        record.status = ""
    return record


def _owned(store: Store, record: Record, state: dict[str, Any], *, over: bool) -> None:
    """Say what a container is doing that somebody owns."""
    if _runs(pidfds.open_monitor(state)):
        record.monitor = state["monitor"]
    if _runs(pidfds.open_container(state)):
        record.pid = state["pid"]
        record.exit_status = None
        record.finished = 0
        record.status = "paused" if os.path.exists(f"{store.run}/{record.id}.paused") else "running"
    elif not state:
        # Being started: for the first time, by its policy, or once more by a person.
        started_again = record.policy != "no" and record.restart_count > 0
        record.status = "exited" if over else "restarting" if started_again else "created"
    elif over and _starts_again(record):
        record.status = "restarting"
    else:
        # Its owner is about to write down how it ended: until then nobody knows.
        record.status = "exited" if over else "running"


def _starts_again(record: Record) -> bool:
    """Tell whether the restart policy applies to how it ended; its monitor is waiting to do so then."""
    if record.policy == "no" or os.path.exists(f"{record.directory}/stopped"):
        return False
    return record.policy != "on-failure" or record.exit_status != 0


def _runs(descriptor: int | None) -> bool:
    if descriptor is None:
        return False
    try:
        return not pidfds.ended(descriptor)
    finally:
        os.close(descriptor)


def _text(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4096).decode(errors="replace").strip()
    except OSError:
        return ""
