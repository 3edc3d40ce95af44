"""What a test must leave as it found it: mounts, descriptors, children, namespaces, cgroups and names in /tmp."""

import gc
import os
import time
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path

#: One per process, made by its first spawn and kept: hyrun-init, sealed.
LAUNCHER = "/memfd:hyrun-init (deleted)"
#: One per process as well: the log of events, kept open.
EVENTS = "/events.log"
#: Where this machine's cgroup hierarchies are.
_CGROUPS = sorted({line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if " cgroup" in line})

#: What is in the line of a mount of ours: the root of a container, or a path of a test.
_OURS = (" - overlay ", "/pytest-", "hyrun")
#: The run-time directory of a user who has no other.
_OWN = f"hyrun-{os.geteuid()}"


@dataclass(frozen=True)
class Snapshot:
    """Everything that is compared, as this process sees it now."""

    mounts: frozenset[str]
    descriptors: Counter[str]
    children: frozenset[str]
    namespaces: tuple[str, ...]
    cgroups: frozenset[str]
    names: frozenset[str]

    @classmethod
    def take(cls) -> "Snapshot":
        """Look, in less than a millisecond."""
        return cls(
            mounts=frozenset(mounts()),
            descriptors=descriptors(),
            children=frozenset(children()),
            namespaces=tuple(os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))),
            cgroups=frozenset(f"{top}/{name}" for top in _CGROUPS for name in os.listdir(top) if "hyrun" in name),
            names=frozenset(name for name in os.listdir("/tmp") if name == _OWN),
        )

    def difference(self, before: "Snapshot") -> list[str]:
        """Return what has come and what has gone since ``before``, one line each."""
        lines = []
        for field in fields(self):
            old, new = Counter(getattr(before, field.name)), Counter(getattr(self, field.name))
            lines += [f"{field.name}: new {item}" for item in (new - old).elements()]
            if field.name == "cgroups":
                continue  # one that has gone is nobody's leak: another program's container was paused
            lines += [f"{field.name}: gone {item}" for item in (old - new).elements()]
        return lines


def left_since(before: Snapshot) -> list[str]:
    """Return what differs from ``before``; garbage that still holds descriptors is collected first.

    A cgroup may be another program's, whose container is paused at this moment: it gets a while to go.
    """
    lines = Snapshot.take().difference(before)
    if lines:
        gc.collect()
        lines = Snapshot.take().difference(before)
    end = time.monotonic() + 3
    while lines and all(line.startswith("cgroups:") for line in lines) and time.monotonic() < end:
        time.sleep(0.05)
        lines = Snapshot.take().difference(before)
    return lines


def mounts() -> list[str]:
    """Return the lines that a container may have left: others use this machine as well."""
    return [line for line in mountinfo() if any(mark in line for mark in _OURS)]


def mountinfo() -> list[str]:
    """Return the lines of this process's mount table."""
    return Path("/proc/self/mountinfo").read_text().splitlines()


def descriptors() -> Counter[str]:
    """Return what the descriptors from 3 on lead to, and how often; 0 to 2 are moved about by pytest's capturing."""
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                found[os.readlink(f"/proc/self/fd/{name}")] += 1
            except FileNotFoundError:
                continue  # the one that this list was read through
    if found[LAUNCHER] == 1:
        del found[LAUNCHER]
    for name in [name for name in found if EVENTS in name and found[name] == 1]:
        del found[name]
    return found


def children() -> list[str]:
    """Return the pids of the children of all threads, zombies too."""
    found = []
    for task in os.listdir("/proc/self/task"):
        try:
            found += Path(f"/proc/self/task/{task}/children").read_text().split()
        except FileNotFoundError:
            continue
    return found
