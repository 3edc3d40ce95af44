"""The engines that are programs, and the small process that starts them.

``python peers.py`` is that process. It answers one JSON object a line, and ends when its stdin does. Run inside
`unshare -m` with --private it gets a mount table of its own in which crun and podman work on machines with hybrid
cgroups, and in which nothing they leave in /run and /dev/shm outlives them.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from launch import Failed, Sink, spawn
from payload import TOKEN, Missing

UNIFIED = "/sys/fs/cgroup/unified"


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


class Podman(Peer):
    """podman with crun, without network and cgroups, on an image in a store of its own (overlay)."""

    program = "podman"

    def prepare(self) -> None:
        self.find("crun")
        limits = self.home / "containers.conf"
        limits.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
        self.environment["CONTAINERS_CONF"] = str(limits)
        self.options: list[str] = ["--storage-driver", "overlay", "--runtime", "crun", "--cgroup-manager", "cgroupfs"]
        self.options += ["--events-backend", "file"]
        for name in ("root", "runroot", "tmpdir"):
            self.options += [f"--{name}", str(self.home / name)]
        self.do(self.path, *self.options, "import", self.tar, "bench")

    def command(self, words: Sequence[str]) -> list[str]:
        run = ["run", "--rm", "--cgroups=disabled", "--network", "none", "bench"]
        return [self.path, *self.options, *run, *words]


class Docker(Peer):
    """docker without network, and a daemon started for this on a socket of its own."""

    program = "docker"

    def prepare(self) -> None:
        daemon = self.find("dockerd")
        socket = f"unix://{self.home}/sock"
        command = [daemon, "--data-root", f"{self.home}/data", "--exec-root", f"{self.home}/exec"]
        command += ["-H", socket, "-p", f"{self.home}/pid", "--bridge", "none", "--iptables=false"]
        self.environment["DOCKER_HOST"] = socket
        self.log = open(self.home / "log", "wb")
        self.daemon = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=self.environment)
        try:
            self.wait_for_it()
            self.do(self.path, "import", self.tar, "bench")
        except BaseException:
            self.close()
            raise

    def wait_for_it(self) -> None:
        """Wait until the daemon answers."""
        for _ in range(150):
            if self.daemon.poll() is not None:
                said = (self.home / "log").read_text(errors="replace").strip().splitlines()
                raise Failed(f"dockerd: {said[-1][-160:] if said else 'said nothing'} (rc {self.daemon.returncode})")
            try:
                return self.do(self.path, "version")
            except Failed:
                time.sleep(0.2)
        raise Failed("dockerd did not answer within 30 s")

    def command(self, words: Sequence[str]) -> list[str]:
        return [self.path, "run", "--rm", "--network", "none", "bench", *words]

    def close(self) -> None:
        self.daemon.send_signal(signal.SIGTERM)
        try:
            self.daemon.wait(30)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        self.log.close()


class Xcrunner(Peer):
    """xcrunner, an engine in pure Python, on an image loaded into a home of its own."""

    program = "xcrunner"

    def find(self, program: str) -> str:
        beside = Path(sys.executable).with_name(program)
        return str(beside) if beside.exists() else super().find(program)

    def prepare(self) -> None:
        archive = self.home / "image.tar"
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        digest = subprocess.run(["sha256sum", self.tar], capture_output=True, text=True, check=True).stdout.split()[0]
        config = {
            "architecture": machine,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": ["bench:latest"], "Layers": ["layer.tar"]}]
        for name, value in (("config.json", config), ("manifest.json", manifest)):
            (self.home / name).write_text(json.dumps(value))
        with tarfile.open(archive, "w") as file:
            for name in ("config.json", "manifest.json"):
                file.add(self.home / name, arcname=name)
            file.add(self.tar, arcname="layer.tar")
        self.do(self.path, "--home", self.home / "state", "load", "-i", archive)

    def command(self, words: Sequence[str]) -> list[str]:
        return [self.path, "--home", str(self.home / "state"), "run", "--rm", "bench:latest", *words]


PEERS: dict[str, type[Peer]] = {
    "hyrun-shell": Hyrun,
    "bwrap": Bwrap,
    "bwrap-host": BwrapHost,
    "crun": Crun,
    "runc": Runc,
    "podman": Podman,
    "docker": Docker,
    "xcrunner": Xcrunner,
}


def make_private() -> None:
    """Change the mount table, which must be this process's own."""
    if os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{os.getppid()}/ns/mnt"):
        raise SystemExit("peers.py --private: run it in `unshare -m --propagation private`")
    if os.path.ismount(UNIFIED):
        subprocess.run(["umount", UNIFIED], check=True)
    for place in ("/run", "/dev/shm"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place], check=True)


def main() -> None:
    base, root, tar = (Path(argument) for argument in sys.argv[1:4])
    if "--private" in sys.argv:
        make_private()
    sink, ready = Sink(), dict[str, Peer]()

    def answer(kind: str, name: str, words: list[str]) -> dict[str, object]:
        try:
            if kind == "prepare":
                ready[name] = peer = PEERS[name](base, root, tar)
                spawn(peer.command(["/bin/echo", TOKEN]), peer.environment, sink, TOKEN)
                return {"version": peer.version()}
            if kind == "command":
                return {"argv": ready[name].command(words)}
            return {"seconds": spawn(ready[name].command(words), ready[name].environment, sink)}
        except Missing:
            return {"missing": True}
        except (Failed, OSError, subprocess.SubprocessError) as error:
            return {"failed": str(error)}

    try:
        for line in sys.stdin:
            print(json.dumps(answer(*json.loads(line))), flush=True)
    finally:
        for peer in ready.values():
            peer.close()


if __name__ == "__main__":
    main()
