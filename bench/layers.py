"""How fast a large layer becomes a directory tree: hyrun beside the tools that are installed.

Every run has a fresh ext4 of its own (a file, mounted in a mount namespace of this process) and is checked: exit
status 0, and the tree's files, owners, modes, times and content are those that GNU tar makes. Needs root,
about 20 GB of disk, and for the first time mmdebstrap.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import corpus
import machine
import table
from launch import Failed
from payload import Missing
from unpackers import Unpacker, digest, unpackers

HEADS = ("", "MB/s", "median s", "min s", "CPU s", "to hyrun load", "max RSS MiB", "runs")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each row (3)")
    parser.add_argument("--forms", default="gzip,zstd,plain", metavar="NAME,…", help="gzip, zstd, plain (all)")
    parser.add_argument("--only", default="", metavar="NAME,…", help="unpack, load, load-off, tar, umoci, … (all)")
    parser.add_argument("--corpus", type=Path, default=corpus.cache(), metavar="DIR", help="where the layer is kept")
    parser.add_argument("--json", metavar="FILE", help="write every sample")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown")
    return parser.parse_args()


@contextmanager
def fresh(directory: Path) -> Iterator[Path]:
    """A new, empty ext4. On one that had the same tree before, ext4 is slow: it spares inodes deleted lately."""
    # podman wants short paths.
    image, mount = directory / "disk", Path("/mnt")
    with open(image, "wb") as file:
        file.truncate(16 << 30)
    options = ["-q", "-F", "-N", "400000", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
    subprocess.run(["mkfs.ext4", *options, image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        (mount / "out").mkdir()
        yield mount / "out"
    finally:
        # An engine may leave a mount below; the image goes with its last one.
        subprocess.run(["umount", "-R", mount], check=True)
        image.unlink()


class Reference:
    """The tree that GNU tar makes; the others are compared with it, the content in their first run only."""

    def __init__(self, base: Path, plain: Path) -> None:
        with fresh(base) as out:
            subprocess.run(["tar", "--numeric-owner", "-C", out, "-xf", plain], check=True)
            self.files, self.digest = digest(out)
        self.seen: set[str] = set()

    def check(self, row: str, tree: Path) -> None:
        """Raise Failed unless the tree is the same."""
        if row in self.seen:
            found = sum(len(files) for _, _, files in os.walk(tree))
            if found < self.files:
                raise Failed(f"{found} files instead of {self.files} (rc 0)")
            return
        files, found_digest = digest(tree)
        if (files, found_digest) != (self.files, self.digest):
            raise Failed(f"another tree: {files} files instead of {self.files}, or their content (rc 0)")
        self.seen.add(row)


def measure(rows: list[Unpacker], form: str, layout: Path, base: Path, runs: int, reference: Reference) -> None:
    """Run the rows in turn, each round in an order drawn anew."""
    order = random.Random(form)
    for _ in range(runs):
        turn = [row for row in rows if not row.problem]
        order.shuffle(turn)
        for row in turn:
            try:
                with fresh(base) as out:
                    row.run(layout, out, partial(reference.check, f"{form} {row.title}"))
            except (Missing, Failed) as error:
                row.problem = f"{'' if isinstance(error, Missing) else 'failed: '}{error}"


def cells(rows: list[Unpacker], size: int) -> list[list[str]]:
    """Return the lines of a table."""
    load = next((row for row in rows if row.key == "load-off" and row.samples), None)
    base = median(sample.seconds for sample in load.samples) if load else None
    lines = []
    for row in rows:
        if row.problem:
            lines.append([row.title, row.problem])
            continue
        seconds = [sample.seconds for sample in row.samples]
        middle = median(seconds)
        lines.append([
            row.title,
            f"{size / middle / 1e6:.0f}",
            f"{middle:.2f}",
            f"{min(seconds):.2f}",
            f"{median(sample.cpu for sample in row.samples):.2f}",
            f"{middle / base:.2f}x" if base else "-",
            f"{max(sample.memory for sample in row.samples):.0f}",
            str(len(seconds)),
        ])  # fmt: skip
    return lines


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        print("layers.py: owners and mounts need root: run it as root, or with sudo", file=sys.stderr)
        return 1
    if "HYRUN_BENCH_PRIVATE" not in os.environ:
        os.environ["HYRUN_BENCH_PRIVATE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    only = set(filter(None, options.only.split(",")))
    header, found, tables = machine.facts(options.corpus), dict[str, object](), []
    try:
        layouts = corpus.make(options.corpus)
        plain = options.corpus / "root.tar"
        header.append(corpus.describe(plain))
        with tempfile.TemporaryDirectory(prefix="hyrun-bench-", dir=options.corpus) as base:
            reference = Reference(Path(base), plain)
            for form in options.forms.split(","):
                rows = [row for row in unpackers() if form in row.forms and (not only or row.key in only)]
                measure(rows, form, layouts[form], Path(base), options.runs, reference)
                tables.append((f"One layer, {form}", HEADS, cells(rows, plain.stat().st_size)))
                found[form] = {row.title: row.problem or row.samples for row in rows}
    except (Missing, Failed, OSError, subprocess.CalledProcessError) as error:
        print(f"layers.py: {error}", file=sys.stderr)
        return 1
    table.write(options, header, tables, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
