"""The rows of the layer benchmark: programs that turn a compressed layer into a directory tree."""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from launch import Failed
from payload import Missing

_UNPACK = "import os, sys; from hyrun import _core; _core.unpack_layer(0, sys.argv[1], offset=0)"


class Sample(NamedTuple):
    """One run: seconds of the clock and of all processors, and the largest resident set of any process in MiB.

    The measuring process itself has 8 MiB: less than that is not told.
    """

    seconds: float
    cpu: float
    memory: float


class Unpacker:
    """One row: a shell script that gets LAYOUT, LAYER, OUT, HYRUN and PYTHON, and where the tree is afterwards.

    ``around`` is run before the clock starts, until it prints a line, and ended afterwards.
    """

    def __init__(
        self, key: str, title: str, script: str, tree: str, needs: str = "sh", forms: str = "", around: str = ""
    ) -> None:
        self.around = around
        self.key, self.title, self.script, self.tree, self.needs = key, title, script, tree, needs
        self.forms = forms.split() or ["gzip", "zstd", "plain"]
        self.problem = ""
        self.samples: list[Sample] = []

    def run(self, layout: Path, out: Path, check: Callable[[Path], None]) -> None:
        """Run it once below the empty directory ``out``, check the tree and keep the sample."""
        if shutil.which(self.needs) is None:
            raise Missing("not installed")
        environment = {
            **os.environ,
            "LAYOUT": str(layout),
            "LAYER": str(layout / "layer"),
            "OUT": str(out),
            "HYRUN": str(Path(sys.executable).with_name("hyrun")),
            "PYTHON": sys.executable,
            "UNPACK": _UNPACK,
            "HYRUN_ROOT": str(out / "store"),
            "HYRUN_RUN": str(out / "run"),
        }
        (out / "run").mkdir(mode=0o700)
        with _running(self.around, environment):
            sample = _measure(["/bin/sh", "-ec", self.script], environment, out / "said")
        found = sorted(out.glob(self.tree))
        if len(found) != 1:
            raise Failed(f"{len(found)} trees at {self.tree} (rc 0)")
        check(found[0])
        self.samples.append(sample)


_STORAGE = "[overlay@$OUT/root+$OUT/state]"
#: podman and docker take archives only.
_ARCHIVE = 'tar -C "$LAYOUT" -c blobs index.json oci-layout'
_PODMAN = 'podman --root "$OUT/root" --runroot "$OUT/state" --storage-driver overlay --events-backend file'
#: Debian's tar would look owners up by name; a layer means numbers.
_TAR = 'mkdir "$OUT/tree"; {} | tar --numeric-owner -C "$OUT/tree" -x'


def unpackers() -> list[Unpacker]:
    """Return all rows, hyrun's first."""
    store = "store/layers/*/diff"
    return [
        Unpacker("unpack", "hyrun, the unpacker alone",
                 'mkdir "$OUT/tree"; "$PYTHON" -c "$UNPACK" "$OUT/tree" <"$LAYER"',
                 "tree"),
        Unpacker("load-off", "hyrun load, HYRUN_SYNC=off", 'HYRUN_SYNC=off "$HYRUN" load -i "$LAYOUT"', store),
        Unpacker("load", "hyrun load", '"$HYRUN" load -i "$LAYOUT"', store),
        Unpacker("tar", "tar -xz", 'mkdir "$OUT/tree"; tar --numeric-owner -C "$OUT/tree" -xzf "$LAYER"', "tree",
                 "tar", "gzip"),
        Unpacker("tar", "zstd -dc, tar -x", _TAR.format('zstd -dc "$LAYER"'), "tree", "zstd", "zstd"),
        Unpacker("tar", "tar -x", 'mkdir "$OUT/tree"; tar --numeric-owner -C "$OUT/tree" -xf "$LAYER"', "tree",
                 "tar", "plain"),
        Unpacker("bsdtar", "bsdtar -x", 'mkdir "$OUT/tree"; bsdtar --numeric-owner -C "$OUT/tree" -xpf "$LAYER"',
                 "tree", "bsdtar"),
        Unpacker("umoci", "umoci raw unpack", 'umoci raw unpack --image "$LAYOUT:bench" "$OUT/tree"', "tree", "umoci"),
        Unpacker("skopeo", "skopeo copy to containers-storage",
                 f'skopeo copy -q "oci:$LAYOUT:bench" "containers-storage:{_STORAGE}localhost/bench"',
                 "root/overlay/*/diff", "skopeo"),
        Unpacker("podman", "podman load", f'{_ARCHIVE} | {_PODMAN} load -q', "root/overlay/*/diff", "podman"),
        Unpacker("docker", "docker load",
                 'tar -C "$LAYOUT" -c blobs manifest.json | docker -H "unix://$OUT/sock" load -q',
                 "data/overlay2/*/diff", "dockerd", "gzip plain", _DOCKERD),
    ]  # fmt: skip


#: The work is the daemon's, whose processor time and memory are therefore not in the row.
_DOCKERD = """
dockerd --data-root "$OUT/data" --exec-root "$OUT/exec" -H "unix://$OUT/sock" -p "$OUT/pid" --bridge none \\
    --iptables=false >"$OUT/log" 2>&1 &
trap 'kill $!; wait' EXIT
for _ in $(seq 150); do docker -H "unix://$OUT/sock" version >/dev/null 2>&1 && break; sleep 0.2; done
echo
read -r _ || :
"""


@contextmanager
def _running(script: str, environment: Mapping[str, str]) -> Iterator[None]:
    if not script:
        yield
        return
    command = ["/bin/sh", "-ec", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.stdin.close()
            process.wait(60)


#: Between this process and the script: what is started by posix_spawn(3) has its parent's memory as its own largest.
_SMALL = """
import os, sys, time
begin = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, status, file=sys.stderr)
"""


def _measure(command: list[str], environment: Mapping[str, str], said: Path) -> Sample:
    with open(said, "wb") as log:
        small = [sys.executable, "-I", "-S", "-c", _SMALL, *command]
        done = subprocess.run(small, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    *text, figures = said.read_text(errors="replace").strip().splitlines()
    if done.returncode:
        raise Failed(f"{figures[-160:]} (rc {done.returncode})")
    seconds, cpu, memory, status = figures.split()
    if code := os.waitstatus_to_exitcode(int(status)):
        raise Failed(f"{(text or ['nothing was said'])[-1][-160:]} (rc {code})")
    return Sample(float(seconds), float(cpu), float(memory))


def digest(tree: Path) -> tuple[int, str]:
    """Return the number of files and a digest over names, types, owners, modes, times, links and content."""
    hasher, count = hashlib.sha256(), 0
    for directory, names, files in os.walk(tree):
        names.sort()
        for name in sorted([*names, *files]):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            facts: list[object] = [os.path.relpath(path, tree), oct(status.st_mode), status.st_uid, status.st_gid]
            facts += [int(status.st_mtime), status.st_rdev]
            if kind == stat.S_IFLNK:
                facts.append(os.readlink(path))
            elif kind == stat.S_IFREG:
                count += 1
                with open(path, "rb") as file:
                    facts += [status.st_nlink, hashlib.file_digest(file, "sha256").hexdigest()]
            hasher.update(repr(facts).encode("utf-8", "surrogateescape"))
    return count, hasher.hexdigest()
