"""What `version` and `info` say: this engine and this machine, by docker's names for what exists here."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import Any

from . import _core, container_list
from .image_store import readable_records
from .platforms import machine
from .store import Store

_SYSTEM = "/etc/os-release"


def version() -> dict[str, Any]:
    """Return docker's two halves: there is no daemon, so both are this program."""
    own = {
        "Version": _core.__version__,
        "Os": "linux",
        "Arch": machine(),
        "PythonVersion": ".".join(map(str, sys.version_info[:3])),
    }
    return {"Client": own, "Server": {**own, "KernelVersion": os.uname().release}}


def info(store: Store) -> dict[str, Any]:
    """Return the state of the store and of the machine (docker info); sizes in bytes."""
    containers = container_list.list_all(store)
    states = Counter(record.status for record in containers)
    images, damaged = readable_records(store)
    system = os.uname()
    return {
        "Containers": len(containers),
        "ContainersRunning": states["running"] + states["restarting"],
        "ContainersPaused": states["paused"],
        "ContainersStopped": states["exited"] + states["created"],
        "Images": len(images),
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", _file_system(store.root)]],
        "CgroupVersion": "2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "1",
        "KernelVersion": system.release,
        "OperatingSystem": _operating_system(),
        "OSType": "linux",
        "Architecture": system.machine,
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "DockerRootDir": store.root,
        "RunDir": store.run,
        "Name": system.nodename,
        "ServerVersion": _core.__version__,
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "Warnings": [f"{error}" for error in damaged] or None,
    }


def _operating_system() -> str:
    try:
        with open(_SYSTEM, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.strip().partition("=")
                if name == "PRETTY_NAME":
                    return value.strip("\"'")
    except OSError:
        pass
    return "Linux"


def _file_system(path: str) -> str:
    """Return the type of the file system that holds a path: proc_pid_mountinfo(5), by the device number."""
    number = os.stat(path).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            if fields.split()[2] == device:
                return rest.split()[0]
    return "unknown"
