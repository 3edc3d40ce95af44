"""How long a commit takes: 256 MiB in a container's writable layer, hyrun beside podman and docker.

Every engine has its store on the same file system. Rows run in turn, and every run is checked: exit status 0, and in a
container of the new image the file has the digest that it had in the first one. Needs root.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import machine
import table
from engines import Docker, Podman
from launch import Failed
from payload import Missing, make_root, make_tar
from peers import Hyrun, Peer
from serve import make_private

HEADS = ("", "MiB/s", "median s", "min s", "to hyrun", "runs")
#: What fills the file: bytes that no compressor makes smaller, or lines of text.
FILLS = {
    "random": "head -c {size} /dev/urandom >/big",
    "text": "yes 'the quick brown fox jumps over the lazy dog, again and again' | head -c {size} >/big",
}

#: The file's size and digest, as the container sees it.
_LOOK = "echo $(wc -c </big) $(sha256sum </big)"


class Row:
    """One engine with a container of its own."""

    def __init__(self, title: str, kind: type[Peer], flags: Sequence[str] = (), sync: str = "") -> None:
        self.title, self.kind, self.flags, self.sync = title, kind, flags, sync
        self.problem = ""
        self.samples: list[float] = []

    def prepare(self, base: Path, root: Path, tar: Path, fill: str, size: int) -> None:
        """Find the engine, and make a container whose writable layer has the file."""
        base.mkdir()
        self.samples = []
        # Hyrun's row without sync is the same store.
        os.environ.update(HYRUN_ROOT=str(base / "store"), HYRUN_RUN=str(base / "run"))
        (base / "run").mkdir(mode=0o700)
        self.peer = self.kind(base, root, tar)
        if self.sync:
            self.peer.environment["HYRUN_SYNC"] = self.sync
        if self.kind is Hyrun:
            self.peer.do(self.peer.path, "import", tar, "bench")
        self.prefix = [self.peer.path, *getattr(self.peer, "options", ())]
        self.expected = self.run("--name", "box", "bench", "/bin/sh", "-c", f"{fill}; {_LOOK}")
        if not self.expected.startswith(f"{size} "):
            raise Failed(f"the file could not be made: {self.expected.strip()[:80]!r} (rc 0)")

    def run(self, *words: str) -> str:
        """Run a container and return what it prints."""
        command = [*self.prefix, "run", "--network", "none", *self.flags, *words]
        return self.do(*command)

    def do(self, *command: str) -> str:
        """Run a command and return what it prints; Failed when it fails."""
        done = subprocess.run(command, capture_output=True, text=True, env=self.peer.environment, timeout=300)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()[-1]
            raise Failed(f"{said[:160]} (rc {done.returncode})")
        return done.stdout

    def measure(self) -> None:
        """Commit once, look at the image, and remove it."""
        os.sync()
        begin = time.perf_counter()
        self.do(*self.prefix, "commit", "box", "snapshot")
        seconds = time.perf_counter() - begin
        found = self.run("--rm", "snapshot", "/bin/sh", "-c", _LOOK)
        if found != self.expected:
            raise Failed(f"the image has {found.strip()[:40]!r} instead of {self.expected.strip()[:40]!r} (rc 0)")
        self.do(*self.prefix, "rmi", "snapshot")
        self.samples.append(seconds)


def rows() -> list[Row]:
    """Return all rows, hyrun's first."""
    return [
        Row("hyrun commit", Hyrun),
        Row("hyrun commit, HYRUN_SYNC=off", Hyrun, sync="off"),
        Row("podman commit", Podman, ["--cgroups=disabled"]),
        Row("docker commit", Docker),
    ]


def compare(base: Path, root: Path, tar: Path, fill: str, size: int, runs: int) -> list[Row]:
    """Run all rows in turn, each round in an order drawn anew."""
    found, order = rows(), random.Random(fill)
    base.mkdir()
    try:
        for number, row in enumerate(found):
            try:
                row.prepare(base / str(number), root, tar, fill.format(size=size), size)
            except (Missing, Failed) as error:
                row.problem = str(error)
        for _ in range(runs):
            turn = [row for row in found if not row.problem]
            order.shuffle(turn)
            for row in turn:
                try:
                    row.measure()
                except Failed as error:
                    row.problem = f"failed: {error}"
    finally:
        for row in found:
            if hasattr(row, "peer"):
                row.peer.close()
    return found


def cells(found: list[Row], size: int) -> list[list[str]]:
    """Return the lines of a table."""
    base = median(found[0].samples) if found[0].samples else None
    lines = []
    for row in found:
        if row.problem:
            lines.append([row.title, row.problem])
            continue
        middle = median(row.samples)
        ratio = f"{middle / base:.2f}x" if base else "-"
        figures = [f"{size / middle:.0f}", f"{middle:.2f}", f"{min(row.samples):.2f}", ratio, str(len(row.samples))]
        lines.append([row.title, *figures])
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each row (5)")
    parser.add_argument("--size", type=int, default=256, metavar="MIB", help="the file's size (256)")
    parser.add_argument("--json", metavar="FILE", help="write every sample")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("commit.py: the engines need root: run it as root, or with sudo", file=sys.stderr)
        return 1
    if "HYRUN_BENCH_PRIVATE" not in os.environ:
        os.environ["HYRUN_BENCH_PRIVATE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    make_private()
    header, tables, samples = machine.facts(Path(tempfile.gettempdir())), [], {}
    base = Path(tempfile.mkdtemp(prefix="hyrun-bench-"))
    try:
        root, _, _ = make_root(base)
        for name in ("head", "yes", "sha256sum", "wc"):
            (root / "bin" / name).symlink_to("busybox")
        tar = make_tar(root, base / "root.tar")
        for name, fill in FILLS.items():
            found = compare(base / name, root, tar, fill, options.size << 20, options.runs)
            tables.append((f"commit of {options.size} MiB, {name}", HEADS, cells(found, options.size)))
            samples[name] = {row.title: row.problem or row.samples for row in found}
    except (Missing, Failed, OSError) as error:
        print(f"commit.py: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(base)
    table.write(options, header, tables, samples)
    return 0


if __name__ == "__main__":
    sys.exit(main())
