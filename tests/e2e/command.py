"""The command line under test, with a store of its own, and what it may leave behind."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hyrun import container_inspect, container_list
from hyrun.store import Store

COMMAND = (sys.executable, "-m", "hyrun")
#: No test waits longer than this for anything, in seconds.
PATIENCE = 20


class Template(NamedTuple):
    """A store to copy, and the archives that were loaded into it."""

    root: Path
    rootfs: Path
    archive: Path
    layout: Path


class Hyrun:
    """`hyrun` in a working directory and a store of its own; call it to run a command to its end."""

    def __init__(self, root: Path, run: Path, cwd: Path) -> None:
        self.root = root
        self.run = run
        self.cwd = cwd
        self.started: list[subprocess.Popen[Any]] = []

    def __call__(
        self,
        *arguments: object,
        code: int | None = 0,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        command: tuple[str, ...] = COMMAND,
        **others: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, which must end with the exit status ``code`` (None: whatever it is)."""
        others.setdefault("cwd", self.cwd)
        if input is None:
            others.setdefault("stdin", subprocess.DEVNULL)
        result = subprocess.run(
            [*command, *map(str, arguments)],
            capture_output=True,
            text=True,
            input=input,
            env=os.environ | dict(env or {}),
            timeout=60,
            check=False,
            **others,
        )
        assert code is None or result.returncode == code, (
            f"{arguments}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def out(self, *arguments: object, **others: Any) -> str:
        """Return what a command writes to stdout, without the last newline."""
        return self(*arguments, **others).stdout.removesuffix("\n")

    def lines(self, *arguments: object, **others: Any) -> list[str]:
        """Return the lines that a command writes to stdout."""
        return self(*arguments, **others).stdout.splitlines()

    def sh(self, script: str, *flags: object, image: str = "busybox", **others: Any) -> str:
        """Run a shell script in a container that is removed; return its stdout, without the last newline."""
        return self.out("run", "--rm", *flags, image, "sh", "-c", script, **others)

    def refused(self, *arguments: object, code: int = 125, **others: Any) -> str:
        """Run a command that must fail with one line on stderr, nothing on stdout; return that line."""
        result = self(*arguments, code=code, **others)
        assert result.stdout == ""
        assert result.stderr.startswith("hyrun: ")
        assert result.stderr.count("\n") == 1, result.stderr
        return result.stderr.removesuffix("\n")

    def inspect(self, name: str, *flags: object) -> dict[str, Any]:
        """Return what `inspect` says of one object."""
        (found,) = json.loads(self.out("inspect", *flags, name))
        return found

    def record(self, name: str) -> dict[str, Any]:
        """Return what `inspect` says of a container, without the time that a process takes."""
        return container_inspect.inspect(container_list.find(Store(str(self.root), str(self.run)), name))

    def start(self, *arguments: object, command: tuple[str, ...] = COMMAND, **others: Any) -> subprocess.Popen[str]:
        """Start a command; it is ended with the test."""
        others.setdefault("stdin", subprocess.DEVNULL)
        others.setdefault("stdout", subprocess.PIPE)
        others.setdefault("stderr", subprocess.PIPE)
        others.setdefault("cwd", self.cwd)
        process = subprocess.Popen([*command, *map(str, arguments)], text=True, **others)
        self.started.append(process)
        return process

    def ready(self, *arguments: object, **others: Any) -> subprocess.Popen[str]:
        """Start a command and return when it has written the line ``ready``."""
        process = self.start(*arguments, **others)
        assert process.stdout is not None
        line = process.stdout.readline()
        if line != "ready\n":
            out, errors = process.communicate()
            raise AssertionError(f"{line!r}{out!r}{errors!r}")
        return process

    def sleeper(self, *flags: object, image: str = "busybox") -> subprocess.Popen[str]:
        """Start a container that runs until it is ended; return when it runs and is recorded as running."""
        cidfile = self.cwd.parent / f"cidfile{len(self.started)}"
        script = "echo ready; exec sleep 600"
        process = self.ready("run", "--cidfile", cidfile, *flags, image, "sh", "-c", script)
        state = self.run / f"{cidfile.read_text()}.json"
        until(lambda: state.exists() and state.stat().st_size > 0, "the state is written")
        # The shell before it catches SIGINT; sleep does nothing about any signal.
        name = Path(f"/proc/{json.loads(state.read_text())['pid']}/comm")
        until(lambda: name.read_text() == "sleep\n", "the shell has become sleep")
        return process

    def mounts(self) -> list[str]:
        """Return what is mounted on the host from or to the directories of this test."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if str(self.cwd.parent) in line]

    def close(self) -> None:
        """End what is still running of the test, containers in the background as well."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            process.wait(PATIENCE)
        for state in self.run.glob("*.json"):
            arguments = [*COMMAND, "rm", "-f", state.stem]
            subprocess.run(arguments, capture_output=True, timeout=60, check=False)

    def left(self, kind: str) -> set[str]:
        """Return the names of what is in one directory of the store."""
        return {entry.name for entry in (self.root / kind).iterdir()}

    def tree(self) -> set[str]:
        """Return every path of the store and the run directory but what is inside of layers, and the log of events."""
        found = set()
        for top in (self.root, self.run):
            for directory, names, files in os.walk(top):
                if directory == str(self.root / "layers"):
                    names[:] = []
                found.update(os.path.join(directory, name) for name in (*names, *files) if name != "events.log")
        return found


def open_files(pid: int) -> list[str]:
    """Return where the descriptors of a process lead; those that it closes meanwhile are left out."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return found


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Tell whether there is a process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
