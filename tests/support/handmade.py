"""Containers made by hand: a directory, a record and a name, and a program that owns one as the monitor does."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hyrun import container_directory, container_list
from hyrun.store import Store

ONE, TWO, THREE = "1" * 64, "12" * 32, "3" * 64
#: No test waits longer than this for anything, in seconds.
PATIENCE = 20

#: What hyrun-init does for a container in the background, as far as the files tell: own the lock, be the parent of
#: pid 1 and take it along when it dies, write down who runs and how it ended, and start again by the policy.
_MONITOR = """
import ctypes, fcntl, json, os, signal, subprocess, sys, time
from hyrun import container_directory, container_state, records
directory, run, policy, delay, *argv = sys.argv[1:]
identifier = os.path.basename(directory)
fcntl.flock(os.open(directory, os.O_RDONLY), fcntl.LOCK_EX)
die = lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)
count = 0
while True:
    started = time.time_ns()
    records.write(f"{directory}/exit.json", {"status": None, "started": started, "finished": 0}, sync=False)
    process = subprocess.Popen(argv, preexec_fn=die, stdin=subprocess.DEVNULL)
    state = {"pid": process.pid, "start": container_state.start_time(process.pid), "boot": container_state.boot_id(),
             "started": started, "monitor": os.getpid(), "monitor_start": container_state.start_time(os.getpid())}
    records.write(f"{run}/{identifier}.json", state, sync=False)
    status = process.wait()
    ended = {"status": status, "started": started, "finished": time.time_ns()}
    records.write(f"{directory}/exit.json", ended, sync=False)
    if policy == "no" or os.path.exists(f"{directory}/stopped") or (policy == "on-failure" and status == 0):
        break
    count += 1
    records.write(f"{directory}/restarts.json", {"count": count, "delay": 100}, sync=False)
    time.sleep(float(delay))
os.unlink(f"{run}/{identifier}.json")
"""


def make(store: Store, identifier: str = ONE, name: str = "one", **config: Any) -> Path:
    """Make a container's directory, record and name, as if its owner had been killed."""
    directory = Path(store.path("containers", identifier))
    (directory / "upper").mkdir(parents=True)
    (directory / "work").mkdir()
    (directory / "config.json").write_text(json.dumps({"Id": identifier, "Name": name, "Created": 1} | config))
    os.symlink(container_directory.link_of_id(identifier), store.path("names", name))
    return directory


def keep(store: Store, identifier: str = ONE, name: str = "one", **config: Any) -> Path:
    """Make a container as `create` does: it can be started, and its output is kept."""
    return make(store, identifier, name, **({"Start": {}} | config))


def settle(store: Store, identifier: str = ONE) -> container_list.Record:
    """Return a container, which must be there."""
    record = container_list.settle(store, identifier)
    assert record is not None
    return record


@contextmanager
def monitored(
    store: Store, directory: Path, *argv: str, policy: str = "no", delay: float = 600
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program as the pid 1 of a container with an owner, which is yielded once the program runs."""
    command = [sys.executable, "-c", _MONITOR, str(directory), store.run, policy, str(delay), *argv]
    process = subprocess.Popen(command)
    try:
        until(lambda: settle(store, directory.name).pid != 0, "pid 1 runs")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE)


def until(condition: Any, what: str) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.005)


def lines(*records: tuple[str, str, str], start: int = 0) -> bytes:
    """Return records of a log, one second after the other: (stream, tag, bytes)."""
    return b"".join(
        f"2026-01-01T00:{index // 60 % 60:02d}:{index % 60:02d}.000000000Z {stream} {tag} {data}\n".encode()
        for index, (stream, tag, data) in enumerate(records, start)
    )


def shell(script: str) -> Sequence[str]:
    """Return the argv that runs a script."""
    return ("sh", "-c", script)
