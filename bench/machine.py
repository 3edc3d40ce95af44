"""What the figures depend on: processor, kernel, load, and the file system that is written to."""

import os
import platform
import subprocess
import time
from pathlib import Path


def facts(directory: Path) -> list[str]:
    """Return what is to be said of this machine and of the file system that ``directory`` is on, one fact a line."""
    model = platform.machine()
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return [
        f"CPU: {model}, {os.cpu_count()} cores",
        f"Linux {platform.release()}, Python {platform.python_version()}",
        f"date: {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, load average before: {load}",
        f"file system: {_file_system(directory)}",
    ]


def _file_system(directory: Path) -> str:
    """Return kind and options. An ext4 without a journal that discards does so while a directory is removed."""
    command = ["findmnt", "-n", "-r", "-o", "FSTYPE,OPTIONS,SOURCE", "-T", str(directory)]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        return "unknown"
    kind, options, source = found.stdout.split(maxsplit=2)
    text = f"{kind} ({options})"
    if kind == "ext4" and not Path("/proc/fs/jbd2", f"{Path(source.strip()).resolve().name}-8").exists():
        text += ", without a journal"
    return text
