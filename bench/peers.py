"""The engines that are one program and hold no images: hyrun's own command, bubblewrap, crun and runc."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from launch import Failed
from payload import Missing


class Peer:
    """One engine: found, prepared once, and then a command line for each run."""

    program = ""

    def __init__(self, base: Path, root: Path, tar: Path) -> None:
        self.root, self.tar = root, tar
        self.home = base / type(self).__name__.lower()
        self.home.mkdir()
        self.path = self.find(self.program)
        self.environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
        }
        self.prepare()

    def find(self, program: str) -> str:
        """Return the absolute path of a program; Missing when it is not installed."""
        path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
        if path is None:
            raise Missing(f"no {program}")
        return path

    def prepare(self) -> None:
        """Do what is done once: images, bundles, daemons."""

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command line for one run; made before the clock starts."""
        raise NotImplementedError

    def close(self) -> None:
        """End what was started."""

    def version(self) -> str:
        """Return the first line that --version prints."""
        done = subprocess.run([self.path, "--version"], capture_output=True, text=True, env=self.environment)
        return (done.stdout.strip() or "unknown").splitlines()[0]

    def do(self, *arguments: str | Path) -> None:
        """Run a command of the preparation; Failed when it fails."""
        done = subprocess.run(
            [str(argument) for argument in arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()[-1]
            raise Failed(f"{said[:160]} (rc {done.returncode})")


class Hyrun(Peer):
    """The command of the Python that runs this, on the store in HYRUN_ROOT where the image is already."""

    program = "hyrun"

    def find(self, program: str) -> str:
        return super().find(str(Path(sys.executable).with_name(program)))

    def prepare(self) -> None:
        for name in ("HYRUN_ROOT", "HYRUN_RUN"):
            self.environment[name] = os.environ[name]

    def command(self, words: Sequence[str]) -> list[str]:
        return [self.path, "run", "--rm", "bench", *words]


class Bwrap(Peer):
    """bubblewrap: namespaces and the tree itself as root; no image, no overlay, no record."""

    program = "bwrap"
    network: tuple[str, ...] = ()

    def command(self, words: Sequence[str]) -> list[str]:
        mounts = ["--bind", str(self.root), "/", "--proc", "/proc", "--dev", "/dev"]
        return [self.path, "--unshare-all", *self.network, *mounts, *words]


class BwrapHost(Bwrap):
    """The same in the caller's network namespace."""

    network = ("--share-net",)


class Crun(Peer):
    """crun on a bundle of `runc spec` with the tree itself as root: no cgroup, no overlay."""

    program = "crun"
    options: tuple[str, ...] = ("--cgroup-manager=disabled",)

    def prepare(self) -> None:
        self.count = itertools.count()
        self.bundles: dict[tuple[str, ...], Path] = {}

    def bundle(self, words: tuple[str, ...]) -> Path:
        """Return a bundle that runs ``words``."""
        if words not in self.bundles:
            directory = self.home / f"bundle{len(self.bundles)}"
            directory.mkdir()
            # Both have `spec`, and both know `-b`.
            self.do(self.path, "spec", "-b", directory)
            path = directory / "config.json"
            config = json.loads(path.read_text())
            config["root"] = {"path": str(self.root), "readonly": False}
            config["process"].update(args=list(words), terminal=False)
            # Raising a limit needs a capability that root in a VM may lack; a cgroup namespace needs cgroup v2.
            config["process"].pop("rlimits", None)
            spaces = config["linux"]["namespaces"]
            config["linux"]["namespaces"] = [space for space in spaces if space["type"] != "cgroup"]
            config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/sys/fs/cgroup"]
            path.write_text(json.dumps(config))
            self.bundles[words] = directory
        return self.bundles[words]

    def command(self, words: Sequence[str]) -> list[str]:
        state = ["--root", str(self.home / "state"), *self.options]
        return [self.path, *state, "run", "-b", str(self.bundle(tuple(words))), f"bench{next(self.count)}"]


class Runc(Crun):
    """runc on the same bundle; it does make its cgroups."""

    program = "runc"
    options = ()
