"""A big parent, and many containers at once.

``python scale.py MEGABYTES RUNS ROOT`` is the big parent: it touches the memory, then times the ways to start a
container from a Python process, and prints a JSON object of samples.
"""

import json
import mmap
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hyrun import HyrunError
from launch import Failed, Sink
from payload import TOKEN
from rows import InProcess

WAYS = {
    "hyrun": "hyrun.run in-process",
    "bwrap": "bwrap by subprocess.run (vfork)",
    "bwrap-close": "bwrap by subprocess.run(close_fds=False)",
    "bwrap-fork": "bwrap by subprocess.run(preexec_fn) (fork)",
}


def bwrap_command(root: str) -> list[str]:
    """Return the bwrap command line up to the payload."""
    return ["bwrap", "--unshare-all", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev"]


def bwrap_problem(root: str) -> str:
    """Return why bwrap gets no figures: it is missing, or does not print the token; empty when it works."""
    if shutil.which("bwrap") is None:
        return "not installed"
    done = subprocess.run([*bwrap_command(root), "/bin/echo", TOKEN], capture_output=True, text=True)
    if done.returncode or done.stdout.strip() != TOKEN:
        said = (done.stderr.strip() or f"printed {done.stdout[:60]!r}").splitlines()[-1]
        return f"failed: {said[:160]} (rc {done.returncode})"
    return ""


def parent_samples(megabytes: int, runs: int, root: Path, words: Sequence[str]) -> dict[str, list[float]]:
    """Measure in a process of that size; Failed when a run in it fails."""
    command = [sys.executable, __file__, str(megabytes), str(runs), str(root), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{(done.stderr.strip() or 'nothing was said').splitlines()[-1]} (rc {done.returncode})")
    samples: dict[str, list[float]] = json.loads(done.stdout)
    return samples


def compare_parents(sizes: Sequence[int], runs: int, root: Path, words: Sequence[str]) -> list[dict[str, list[float]]]:
    """Measure in processes of all sizes in turn, four times; return the samples of each size."""
    pooled: list[dict[str, list[float]]] = [{} for _ in sizes]
    for _ in range(4):
        for size, pool in zip(sizes, pooled, strict=True):
            for name, samples in parent_samples(size, max(runs // 4, 2), root, words).items():
                pool.setdefault(name, []).extend(samples)
    return pooled


def threads_rate(count: int, runs: int, words: Sequence[str]) -> float:
    """Return the containers per second that ``count`` threads start with hyrun.run."""
    todo = iter(range(runs))
    lock = threading.Lock()
    errors: list[Failed | HyrunError | OSError] = []

    def work() -> None:
        row = InProcess("", "", "none")
        try:
            while not errors:
                with lock:
                    if next(todo, None) is None:
                        return
                row.run(words)
        except (Failed, HyrunError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end = time.perf_counter()
    if errors:
        raise errors[0]
    return runs / (end - begin)


def xargs_rate(count: int, runs: int, command: Sequence[str]) -> float:
    """Return the starts per second of a command by `xargs -P`, which ends with 123 when one of them fails."""
    numbers = "".join(f"{number}\n" for number in range(runs))
    begin = time.perf_counter()
    done = subprocess.run(["xargs", f"-P{count}", "-n1", *command], input=numbers, text=True, capture_output=True)
    end = time.perf_counter()
    if done.returncode or done.stdout or done.stderr:
        raise Failed(f"{(done.stderr or done.stdout).strip()[:160]} (rc {done.returncode})")
    return runs / (end - begin)


def main() -> None:
    megabytes, runs, root = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    words = sys.argv[4:]
    # Private and in small pages, as the heap of a program that has run for a while.
    memory = mmap.mmap(-1, max(megabytes, 1) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for offset in range(0, megabytes << 20, mmap.PAGESIZE):
        memory[offset] = 1
    row, sink = InProcess("", "", "none"), Sink()

    def program(**keywords: object) -> float:
        begin = time.perf_counter()
        done = subprocess.run(  # type: ignore[call-overload]
            [*bwrap_command(root), *words], stdin=subprocess.DEVNULL, stdout=sink.out, stderr=sink.err, **keywords
        )
        end = time.perf_counter()
        sink.check(done.returncode, "")
        return end - begin

    ways: dict[str, Callable[[], float]] = {"hyrun": lambda: row.run(words)}
    if not bwrap_problem(root):
        ways["bwrap"] = program
        ways["bwrap-close"] = lambda: program(close_fds=False)
        ways["bwrap-fork"] = lambda: program(preexec_fn=lambda: None)
    row.prepare()
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs + 3):
        for name, way in ways.items():
            seconds = way()
            if number >= 3:
                samples[name].append(seconds)
    print(json.dumps(samples))


if __name__ == "__main__":
    main()
