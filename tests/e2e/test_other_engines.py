"""podman and docker load what `save` writes, run it and see the same files; what they save loads here."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.command import PATIENCE, Hyrun, until
from support.nodes import listing

#: What the containers change: every kind of file, owners, modes, times, links, what was in the image removed.
_CHANGES = """
rm -r /data/sub /etc/hello
mkdir -m 1777 /made /made/empty
echo hello >/made/file
chown 5:6 /made/file; chmod 4755 /made/file
ln /made/file /made/hard; ln -s file /made/soft; mkfifo /made/fifo
dd if=/dev/zero of=/made/sparse bs=1 count=1 seek=1000000 2>/dev/null
touch -d '2001-02-03 04:05:06' /made/file /made/empty /made
"""
#: What each engine puts into a container by itself, and what has another time by that.
_OWN = (
    "./",
    "etc/",
    "dev",
    "proc",
    "sys",
    "run",
    ".dockerenv",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
)


class Engine:
    """Another engine, in a mount table of its own: crun works in it where cgroups are hybrid, and nothing is left."""

    def __init__(self, top: Path) -> None:
        script = (
            "umount /sys/fs/cgroup/unified 2>/dev/null; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /dev/shm; "
            "echo; cat"
        )
        self.top = top
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.holder.stdout is not None
        self.holder.stdout.readline()
        # podman wants the files of credentials to be there.
        own = ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG")
        self.environment = {name: value for name, value in os.environ.items() if name not in own}

    def wrapped(self, *arguments: object) -> list[str]:
        """Return a command line that runs in that mount table."""
        return ["nsenter", "-t", str(self.holder.pid), "-m", *map(str, arguments)]

    def __call__(self, *arguments: object) -> str:
        """Run one of its commands and return what it prints."""
        command = self.wrapped(*self.prefix, *arguments)
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.environment, timeout=60, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    prefix: tuple[object, ...] = ()
    #: For `run` and `create`.
    flags: tuple[str, ...] = ("--network", "none")
    #: The formats of `save` that it loads.
    formats: tuple[str, ...] = ("docker-archive", "oci")
    saves: tuple[str, ...] = ("save", "-o")

    def close(self) -> None:
        """End it."""
        assert self.holder.stdin is not None
        assert self.holder.stdout is not None
        self.holder.stdin.close()
        self.holder.stdout.close()
        self.holder.wait(PATIENCE)


class Podman(Engine):
    """podman with crun and a store of its own."""

    flags = ("--network", "none", "--cgroups=disabled")

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        limits = top / "containers.conf"
        limits.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
        self.environment["CONTAINERS_CONF"] = str(limits)
        own = [part for name in ("root", "runroot", "tmpdir") for part in (f"--{name}", top / name)]
        self.prefix = ("podman", "--storage-driver", "overlay", "--runtime", "crun", "--cgroup-manager", "cgroupfs",
                       "--events-backend", "file", *own)  # fmt: skip


class Docker(Engine):
    """docker, with a daemon on a socket of its own."""

    #: Before 25 it knew no OCI layout.
    formats = ("docker-archive",)

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        socket = f"unix://{top}/sock"
        self.prefix = ("docker", "-H", socket)
        command = ["dockerd", "--data-root", top / "data", "--exec-root", top / "exec", "-H", socket, "-p", top / "pid",
                   "--bridge", "none", "--iptables=false"]  # fmt: skip
        self.log = (top / "log").open("wb")
        self.daemon = subprocess.Popen(self.wrapped(*command), stdout=self.log, stderr=self.log)
        until(lambda: (top / "sock").exists() or self.daemon.poll() is not None, "the daemon answers")
        assert self.daemon.poll() is None, (top / "log").read_text()

    def close(self) -> None:
        self.daemon.terminate()
        self.daemon.wait(PATIENCE)
        self.log.close()
        super().close()


def trees(command: Callable[..., object], container: str, top: Path) -> dict[str, tuple[object, ...]]:
    """Return what is in a container by its export, without what every engine puts there itself."""
    tree = top / "tree"
    tree.mkdir()
    command("export", "-o", top / "export.tar", container)
    subprocess.run(["tar", "-C", tree, "-xpf", top / "export.tar"], check=True)
    # docker's export has whole seconds.
    return {
        name: (*facts[:4], facts[4] // 10**9, *facts[5:])
        for name, facts in listing(tree).items()
        if not any(f"{name}/" == own or f"{name}/".startswith(f"{own}/") for own in _OWN)
    }


ENGINES = {
    kind.__name__.lower(): kind
    for kind, programs in ((Podman, ("podman", "crun")), (Docker, ("docker", "dockerd")))
    if os.geteuid() == 0 and all(shutil.which(program) for program in programs)
}

# Left out where they are not installed, and not skipped: HYRUN_MUST_WORK makes failures of skips.
if ENGINES:

    @pytest.fixture(params=sorted(ENGINES))
    def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
        # Sockets have short names, and so has podman's run directory.
        with tempfile.TemporaryDirectory() as top:
            engine = ENGINES[request.param](Path(top))
            try:
                yield engine
            finally:
                engine.close()

    def test_a_committed_image_has_the_same_files_there_and_comes_back(
        hyrun: Hyrun, engine: Engine, tmp_path: Path
    ) -> None:
        hyrun("run", "--name", "box", "filled", "sh", "-ec", _CHANGES)
        image = hyrun.out("commit", "-c", 'CMD ["cat", "/made/file"]', "box", "mine:1")
        (tmp_path / "ours").mkdir()
        ours = trees(hyrun, "box", tmp_path / "ours")
        for form in engine.formats:
            archive, back = tmp_path / f"{form}.tar", tmp_path / f"{form}-back.tar"
            hyrun("save", "--format", form, "-o", archive, "mine:1")
            engine("load", "-i", archive)
            (name,) = engine("images", "--format", "{{.Repository}}:{{.Tag}}").split()
            assert name.endswith("mine:1")
            assert engine("run", "--rm", *engine.flags, name) == "hello\n"
            engine("create", *engine.flags, "--name", "theirs", name)
            (tmp_path / form).mkdir()
            theirs = trees(engine, "theirs", tmp_path / form)
            assert ours.keys() == theirs.keys()
            assert {name: facts for name, facts in theirs.items() if facts != ours[name]} == {}
            engine("save", "-o", back, name)
            engine("rm", "theirs")
            engine("rmi", name)
            hyrun("rmi", "mine:1")
            hyrun("load", "-q", "-i", back)
            assert hyrun.out("run", "--rm", image) == "hello"
            hyrun("tag", image, "mine:1")
