"""What comes after the end of a kept container: removal (--rm), or the next start of its restart policy.

The monitor becomes this program: same process, the container's lock still held, as descriptor 3. Nothing but hyrun
itself is importable here.
"""

from __future__ import annotations

import os
import sys
import time
from fcntl import F_SETFD, FD_CLOEXEC, fcntl

from . import container_list, container_state, kept, records
from .container_record import Record
from .errors import HyrunError
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Where the monitor leaves the container's directory, with its lock.
LOCK = 3


def main() -> None:
    """Do what the last argument says: ``root run id remove|restart``."""
    root, run, identifier, task = sys.argv[-4:]
    fcntl(LOCK, F_SETFD, FD_CLOEXEC)
    store = Store(root, run)
    config = records.read(store.path("containers", identifier, "config.json"))
    if config is None:
        return  # somebody has removed it
    if task == "remove":
        container_list.discard(store, Record(identifier, store.path("containers", identifier), config), volumes=True)
        return
    try:
        _restart(store, config)
    except (HyrunError, OSError):
        # Written down where `inspect` shows it; like docker, a start that fails is not tried again.
        os.unlink(container_state.state_path(store, identifier))
    os._exit(0)


def _restart(store: Store, config: dict[str, Any]) -> None:
    directory = store.path("containers", config["Id"])
    ended = records.read(f"{directory}/exit.json") or {}
    before = records.read(f"{directory}/restarts.json") or {"count": 0, "delay": kept.FIRST_DELAY}
    ran = (ended.get("finished", 0) - ended.get("started", 0)) / 1e9
    delay = kept.FIRST_DELAY if ran >= kept.GOOD_RUN else min(2 * before["delay"], kept.LAST_DELAY)
    records.write(f"{directory}/restarts.json", {"count": before["count"] + 1, "delay": delay}, sync=False)
    try:
        kept.start(store, config, LOCK, delay=delay)
    except OSError as error:
        kept.note_failure(directory, HyrunError(str(error)), time.time_ns())
        raise
