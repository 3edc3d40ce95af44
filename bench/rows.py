"""The rows of the table: hyrun inside this process, and the peers behind their small process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import hyrun
from hyrun import _core, containers
from hyrun.options import Options
from launch import Failed, Sink
from payload import TOKEN, Missing


class Row:
    """One line of a table: a way to start a container, its samples in seconds, or why there are none."""

    def __init__(self, key: str, title: str, version: str = "") -> None:
        self.key, self.title, self.version = key, title, version
        self.problem = ""
        self.samples: list[float] = []
        #: Every how many rounds it runs: what takes a hundred times longer is started less often.
        self.every = 1

    def prepare(self) -> None:
        """Make it ready, and see it print the token."""

    def run(self, words: Sequence[str]) -> float:
        """Start one container, check it, and return the seconds."""
        raise NotImplementedError

    def attempt(self, action: Callable[[], float | None]) -> float | None:
        """Do something; from the first failure on the row has a problem and no time."""
        try:
            return action()
        except Missing:
            self.problem = "not installed"
        except (Failed, hyrun.HyrunError, OSError) as error:
            self.problem = f"failed: {error}"
        self.samples = []
        return None


class InProcess(Row):
    """`hyrun.run`: everything from the call to its return, with the container recorded and removed."""

    def __init__(self, key: str, title: str, network: str) -> None:
        super().__init__(key, title)
        self.network = network
        self.sink = Sink()

    def prepare(self) -> None:
        self.start(["/bin/echo", TOKEN], TOKEN)

    def run(self, words: Sequence[str]) -> float:
        return self.start(words, "")

    def start(self, words: Sequence[str], expected: str) -> float:
        """Run one container."""
        begin = time.perf_counter()
        done = hyrun.run("bench", words, network=self.network, stdout=self.sink.out, stderr=self.sink.err)
        end = time.perf_counter()
        self.sink.check(done.returncode, expected)
        return end - begin


class Spawn(InProcess):
    """`_core.spawn` and wait alone; record, directories and removal happen outside of the clock."""

    def start(self, words: Sequence[str], expected: str) -> float:
        options = Options(image="bench", args=words, network=self.network, remove=True)
        stdio = (os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), self.sink.out, self.sink.err)
        try:
            container = containers.create(hyrun.Store().prepare(), options, stdio=stdio)
            begin = time.perf_counter()
            try:
                status = _core.spawn(container.spec).wait()
                end = time.perf_counter()
            finally:
                container.remove()
        finally:
            os.close(stdio[0])
        assert status is not None
        self.sink.check(status, expected)
        return end - begin


class Launcher:
    """The small process beside this one that starts the peers, with a mount table of its own if ``private``."""

    def __init__(self, base: Path, root: Path, tar: Path, *, private: bool) -> None:
        base.mkdir()
        script = str(Path(__file__).with_name("serve.py"))
        command = [sys.executable, script, str(base), str(root), str(tar)]
        if private:
            command = ["unshare", "--mount", "--propagation", "private", *command, "--private"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *question: object) -> dict[str, object]:
        """Send one question and return the answer; Missing and Failed are raised here again."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failed(f"the process that starts the peers ended (rc {self.process.wait()})")
        answer: dict[str, object] = json.loads(line)
        if "missing" in answer:
            raise Missing
        if "failed" in answer:
            raise Failed(str(answer["failed"]))
        return answer

    def close(self) -> None:
        """Let it end: daemons first, then it, then its mount table."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class External(Row):
    """A program, started by the small process."""

    def __init__(self, key: str, title: str, launcher: Launcher) -> None:
        super().__init__(key, title)
        self.launcher = launcher

    def prepare(self) -> None:
        self.version = str(self.launcher.ask("prepare", self.key, [])["version"])

    def run(self, words: Sequence[str]) -> float:
        return float(str(self.launcher.ask("run", self.key, list(words))["seconds"]))


def make_rows(shell: Launcher, peers: Launcher) -> list[Row]:
    """Return every row there is, in the order of the table."""
    return [
        InProcess("hyrun", "hyrun.run in-process", "none"),
        InProcess("hyrun-host", "hyrun.run, host network", "host"),
        Spawn("spawn", "hyrun _core.spawn + wait", "none"),
        Spawn("spawn-host", "hyrun _core.spawn, host network", "host"),
        External("hyrun-shell", "hyrun run --rm (shell)", shell),
        External("bwrap", "bwrap --unshare-all", peers),
        External("bwrap-host", "bwrap, host network", peers),
        External("crun", "crun run", peers),
        External("runc", "runc run", peers),
        External("podman", "podman run --rm (crun)", peers),
        External("docker", "docker run --rm", peers),
        External("xcrunner", "xcrunner run --rm", peers),
    ]
