"""The engines with images of their own: podman, docker and xcrunner."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from launch import Failed
from peers import Peer


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
        # podman refuses a runroot of more than 50 characters; /run is empty here, and of this mount namespace alone.
        self.options += [
            "--root",
            str(self.home / "root"),
            "--tmpdir",
            str(self.home / "tmpdir"),
            "--runroot",
            "/run/bench",
        ]
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
        layout = self.home / "layout"
        write_layout(layout, self.tar)
        archive = self.home / "image.tar"
        with tarfile.open(archive, "w") as file:
            file.add(layout, arcname=".")
        self.do(self.path, "--home", self.home / "state", "load", "-i", archive, "-t", "bench:latest")

    def command(self, words: Sequence[str]) -> list[str]:
        return [self.path, "--home", str(self.home / "state"), "run", "--rm", "bench:latest", *words]


def write_layout(directory: Path, tar: Path) -> None:
    """Make an OCI image layout with one plain layer."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(kind: str, data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    machine = os.uname().machine
    layer = put("layer.v1.tar", tar.read_bytes())
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    manifest = {"schemaVersion": 2, "layers": [layer], "config": put("config.v1+json", json.dumps(config).encode())}
    index = {"schemaVersion": 2, "manifests": [put("manifest.v1+json", json.dumps(manifest).encode())]}
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
