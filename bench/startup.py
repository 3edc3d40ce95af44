"""How long a container takes to start, do nothing and be gone: hyrun beside the peers that are installed.

All rows run in turn, in a new order each round, on one root file system, and every run is checked: exit status 0
and no output, after one run that had to print a token. Needs root.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import machine
import scale
import table
from launch import Failed
from payload import PAYLOADS, Missing, make_root, make_tar
from rows import Launcher, Row, make_rows

#: Rounds that do not count, and how many runs of a turn do.
WARM_UP, BURST = 3, 4
#: A row that takes longer than this runs in every second, third … round only.
SLOW = 0.05
HEADS = ("", "median ms", "p95 ms", "min ms", "to hyrun", "runs")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=int, default=200, metavar="N", help="timed starts for each row and payload (200)"
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="NAME,…",
        help="hyrun, hyrun-host, spawn, spawn-host, hyrun-shell, bwrap, bwrap-host, crun, runc, podman, docker, "
        "xcrunner, parent, threads (all)",
    )
    parser.add_argument("--json", metavar="FILE", help="write every sample, in seconds")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown")
    return parser.parse_args()


def measure(rows: list[Row], payload: str, runs: int) -> table.Table:
    """Run the rows in turn and return their table."""
    words, order = [PAYLOADS[payload]], random.Random(payload)
    for row in rows:
        row.samples, row.every = [], 1
    for number in range(WARM_UP + (runs + BURST - 1) // BURST):
        if number == WARM_UP:
            for row in rows:
                if row.samples:
                    row.every = max(1, round(median(row.samples) / SLOW))
                row.samples = []
        turn = [row for row in rows if not row.problem and (number - WARM_UP) % row.every == 0]
        order.shuffle(turn)
        for row in turn:
            # The first one of a turn pays for what the row before left to the kernel's threads, so it does not count.
            found = [row.attempt(partial(row.run, words)) for _ in range(1 + BURST) if not row.problem]
            if not row.problem:
                row.samples += [seconds for seconds in found[1:] if seconds is not None]
    reference = next((median(row.samples) for row in rows if row.key == "hyrun" and row.samples), None)
    cells = [[row.title, *(table.summary(row.samples, reference) if row.samples else [row.problem])] for row in rows]
    return f"Payload {payload}: start, exit and removal", HEADS, cells


def parents(root: Path, words: list[str], runs: int, found: dict[str, object]) -> table.Table:
    """Return the table of a small and a big parent."""
    heads = ("started from a parent of", *(f"{size} median ms" for size in ("20 MB", "1 GB")), "p95 ms", "min ms")
    try:
        small, big = scale.compare_parents((0, 1024), runs, root, words)
    except Failed as error:
        return "A big parent", heads, [["all", f"failed: {error}"]]
    found["parent"] = {"small": small, "big": big}
    cells = []
    for name, title in scale.WAYS.items():
        if name in big:
            medians = [table.milliseconds(median(samples[name])) for samples in (small, big)]
            cells.append([title, *medians, *table.summary(big[name], None)[1:3]])
        else:
            cells.append([title, scale.bwrap_problem(str(root))])
    return "A big parent (p95 and min: at 1 GB)", heads, cells


def rates(root: Path, words: list[str], runs: int, found: dict[str, object]) -> table.Table:
    """Return the table of starts per second."""
    command = [*scale.bwrap_command(str(root)), *words]
    ways: list[tuple[str, Callable[[], float]]] = []
    for count in (1, 2, 8):
        title = f"hyrun.run, {count} thread{'s' if count > 1 else ''}"
        ways.append((title, partial(scale.threads_rate, count, runs, words)))
    problem = scale.bwrap_problem(str(root))
    if not problem:
        for count in (1, 2, 8):
            ways.append((f"bwrap by xargs -P{count}", partial(scale.xargs_rate, count, runs, command)))
    results: dict[str, list[float]] = {title: [] for title, _ in ways}
    problems: dict[str, str] = {}
    for _ in range(5):
        for title, way in ways:
            try:
                results[title].append(way())
            except (Failed, OSError) as error:
                problems[title] = f"failed: {error}"
    found["rates"] = results
    cells = [
        [title, problems[title]]
        if title in problems
        else [title, *(f"{value:.0f}" for value in (median(values), min(values), max(values)))]
        for title, values in results.items()
    ]
    if problem:
        cells.append(["bwrap by xargs", problem])
    return f"Many at once, starts per second ({runs} starts, 5 times)", ("", "median", "least", "most"), cells


def benchmark(base: Path, options: argparse.Namespace) -> tuple[list[str], list[table.Table], dict[str, object]]:
    """Do everything below ``base``; return the header, the tables and the samples."""
    header, found = machine.facts(base), dict[str, object]()
    root, payloads, notes = make_root(base)
    tar = make_tar(root, base / "root.tar")
    hyrun = Path(sys.executable).with_name("hyrun")
    done = subprocess.run([hyrun, "import", tar, "bench"], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"hyrun import: {(done.stderr.strip() or 'nothing was said').splitlines()[-1]}")
    only = set(filter(None, options.only.split(",")))
    tables: list[table.Table] = []
    launchers = [Launcher(base / name, root, tar, private=name == "private") for name in ("host", "private")]
    try:
        rows = [row for row in make_rows(*launchers) if not only or row.key in only]
        if unknown := only - {row.key for row in rows} - {"parent", "threads"}:
            raise Missing(f"--only {','.join(sorted(unknown))}: there is no such row")
        for row in rows:
            row.attempt(row.prepare)
        for payload in payloads if rows else ():
            tables.append(measure(rows, payload, options.runs))
            found[payload] = {row.key: row.problem or row.samples for row in rows}
        versions = [row.version for row in rows if row.version]
    finally:
        for launcher in launchers:
            launcher.close()
    words = [PAYLOADS[payloads[0]]]
    if not only or "parent" in only:
        tables.append(parents(root, words, max(options.runs // 2, 5), found))
    if not only or "threads" in only:
        tables.append(rates(root, words, max(options.runs, 50), found))
    if versions:
        notes.append("with " + ", ".join(dict.fromkeys(versions)))
    return [*header, *notes], tables, found


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        print("startup.py: the peers need root: run it as root, or with sudo", file=sys.stderr)
        return 1
    # A benchmark that is told to stop clears away as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Run-time state belongs on a tmpfs, as it is in /run.
    run = tempfile.mkdtemp(prefix="hyrun-bench-", dir="/dev/shm" if os.path.ismount("/dev/shm") else None)
    base = Path(tempfile.mkdtemp(prefix="hyrun-bench-"))
    os.environ.update(HYRUN_ROOT=str(base / "store"), HYRUN_RUN=run)
    try:
        table.write(options, *benchmark(base, options))
    except (Missing, Failed, OSError) as error:
        print(f"startup.py: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(run)
        shutil.rmtree(base)
    with open("/proc/self/mountinfo") as mounts:
        left = [line.split()[4] for line in mounts if base.name in line]
    if left:
        print(f"startup.py: left mounted: {', '.join(left)}", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
