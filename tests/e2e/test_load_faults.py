"""`hyrun load` killed, out of space or with a broken disk at one system call after the other; and many at once.

Whatever happens, the store holds the whole image or none of it, and the next load needs no repair.
"""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.command import COMMAND, PATIENCE, Hyrun
from support.images import docker_archive, image_config, sha256, tar_bytes
from support.points import spread
from support.trees import Facts, facts

#: At how many points each fault is tried.
POINTS = 16
#: What changes something outside of the process, or makes it last.
CHANGES = "mkdir,mkdirat,openat,write,rename,unlink,unlinkat,symlinkat,linkat,fchown,utimensat,flock,fsync,syncfs"

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

#: A small layer, unpacked by one thread, and a large one, unpacked by several.
SMALL = tar_bytes([(".", None), ("etc", None), ("etc/motd", b"hello\n"), ("etc/empty", b"")])
LARGE = tar_bytes([
    (".", None),
    ("data", None),
    *((f"data/{number}", random.Random(number).randbytes(40_000)) for number in range(8)),
])  # fmt: skip
LAYERS = [SMALL, LARGE]

Point = tuple[str, int]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of an image ``victim`` with both layers."""
    docker_archive(tmp_path / "victim.tar", LAYERS, {"Cmd": ["x"]}, ["victim:1"])
    return tmp_path / "victim.tar"


def _trees(hyrun: Hyrun) -> dict[str, Facts]:
    names = [sha256(layer)[7:] for layer in LAYERS]
    layers = {name: hyrun.root / "layers" / name for name in names}
    return {name: facts(layer / "diff") for name, layer in layers.items() if layer.exists()}


def _traced(hyrun: Hyrun, archive: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    # Synced, as by default: the waiting for the disk is among the points.
    strace = ("strace", "-f", "-qq", "-o", str(hyrun.cwd / "log"), *flags)
    environment = os.environ | {"HYRUN_SYNC": "on"}
    process = hyrun.start("load", "-q", "-i", archive, command=(*strace, *COMMAND), env=environment)
    out, errors = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess((), process.returncode, out, errors)


def _points(hyrun: Hyrun, archive: Path, calls: str) -> list[Point]:
    """Return (system call, its how manyeth of a thread) from when a load has met the store, spread evenly."""
    assert _traced(hyrun, archive, "-y", "-e", f"trace={calls}").returncode == 0
    counts: dict[tuple[str, str], int] = {}
    points: dict[Point, None] = {}
    met = False
    for line in (hyrun.cwd / "log").read_text().splitlines():
        if (match := re.match(r"(\d+) +(\w+)\(", line)) is None:
            continue
        thread, name = match.groups()
        counts[thread, name] = counts.get((thread, name), 0) + 1
        met = met or str(hyrun.root) in line
        if met and {"openat": "O_CREAT", "write": str(hyrun.root)}.get(name, "") in line:
            points[name, counts[thread, name]] = None
    hyrun("rmi", "victim:1")
    return spread(list(points), POINTS)


@contextmanager
def _tried(tell: Callable[[str], None], what: str, points: list[Point]) -> Iterator[None]:
    assert len(points) > 3, points
    yield
    tell(f"{what} at {len(points)} points, nothing lost")


def _is_whole_or_absent(hyrun: Hyrun, expected: dict[str, Facts]) -> None:
    """Check what any command sees now, before the next load has mended anything."""
    listed = "victim" in hyrun.lines("images", "--format", "{{.Repository}}")
    trees = _trees(hyrun)
    for name, tree in trees.items():
        assert tree == expected[name]
    if listed:
        assert trees == expected


def _expected(hyrun: Hyrun, archive: Path) -> dict[str, Facts]:
    hyrun("load", "-i", archive)
    expected = _trees(hyrun)
    assert len(expected) == len(LAYERS)
    hyrun("rmi", "victim:1")
    return expected


def _loads_again(hyrun: Hyrun, archive: Path, expected: dict[str, Facts], before: set[str]) -> None:
    hyrun("load", "-i", archive)
    assert _trees(hyrun) == expected
    hyrun("rmi", "victim:1")
    assert {path for path in hyrun.tree() if "/locks/" not in path} == before


def test_killed(hyrun: Hyrun, archive: Path, tell: Callable[[str], None]) -> None:
    expected = _expected(hyrun, archive)
    before = {path for path in hyrun.tree() if "/locks/" not in path}
    points = _points(hyrun, archive, CHANGES)
    with _tried(tell, "killed", points):
        for name, count in points:
            _traced(hyrun, archive, "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={count}")
            _is_whole_or_absent(hyrun, expected)
            _loads_again(hyrun, archive, expected, before)


@pytest.mark.parametrize(
    ("error", "calls", "words"),
    [
        ("ENOSPC+", "write", "No space left on device"),
        ("EIO", "write", "Input/output error"),
        ("EDQUOT", "write", "Disk quota exceeded"),
        ("EIO", "fsync,syncfs", "Input/output error"),
    ],
)
def test_a_write_fails(
    hyrun: Hyrun, archive: Path, tell: Callable[[str], None], error: str, calls: str, words: str
) -> None:
    expected = _expected(hyrun, archive)
    before = {path for path in hyrun.tree() if "/locks/" not in path}
    points = _points(hyrun, archive, calls)
    complaints = []
    error, lasting, _ = error.partition("+")
    with _tried(tell, f"{error} at {calls}", points):
        for name, count in points:
            inject = f"inject={name}:error={error}:when={count}{lasting}"
            done = _traced(hyrun, archive, "-e", f"trace={name}", "-e", inject)
            if done.returncode and done.stderr:
                complaints.append(done.stderr)
            _is_whole_or_absent(hyrun, expected)
            _loads_again(hyrun, archive, expected, before)
    # Where the same call of another thread wrote the complaint, there is none; nor where all fail from then on.
    assert complaints or lasting
    assert all(words in complaint and complaint.count("\n") == 1 for complaint in complaints), complaints


def test_on_a_full_disk_nothing_is_left_and_commands_work(hyrun: Hyrun, archive: Path, tmp_path: Path) -> None:
    """A real one, too small for the layer: the store on it stays usable."""
    script = (
        'mount -t tmpfs -o size=300k,mode=700 none $HYRUN_ROOT; set +e; hyrun() { $COMMAND "$@"; }\n'
        "hyrun load -q -i $ARCHIVE; echo $?; hyrun images -q; echo $?; find $HYRUN_ROOT -type f ! -path '*/locks/*' "
        "! -path '*/skeleton/*'"
    )
    root = tmp_path / "small"
    root.mkdir()
    environment = os.environ | {"HYRUN_ROOT": str(root), "ARCHIVE": str(archive), "COMMAND": " ".join(COMMAND)}
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["1", "0"]
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_eight_at_once_unpack_each_layer_once_and_all_succeed(hyrun: Hyrun, archive: Path) -> None:
    logs = [hyrun.cwd / f"log{number}" for number in range(8)]
    strace = ("strace", "-f", "-qq", "-e", "trace=mkdir,rename")
    running = [hyrun.start("load", "-i", archive, command=(*strace, "-o", str(log), *COMMAND)) for log in logs]
    for process in running:
        out, errors = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "Loaded image: victim:1\n"), errors
    text = "".join(log.read_text() for log in logs)
    assert len(re.findall(r'mkdir\("[^"]*/layer/diff"', text)) == len(LAYERS)
    assert len(re.findall(r'rename\("[^"]*/layer", "[^"]*/layers/', text)) == len(LAYERS)
    assert hyrun.inspect("victim:1", "--type", "image")["Id"] == sha256(image_config(LAYERS, {"Cmd": ["x"]}))


def test_a_layer_counts_only_once_it_is_on_the_disk(hyrun: Hyrun, archive: Path) -> None:
    """syncfs, then the rename that makes it present, then the directory's fsync, then record and name."""
    assert _traced(hyrun, archive, "-y", "-e", "trace=syncfs,rename,fsync").returncode == 0
    calls = [line.partition(" ")[2].strip() for line in (hyrun.cwd / "log").read_text().splitlines()]

    def position(pattern: str, begin: int = 0) -> int:
        return next(number for number in range(begin, len(calls)) if re.match(pattern, calls[number]))

    root = re.escape(str(hyrun.root))
    published = 0
    for layer in LAYERS:
        renamed = position(rf'rename\("{root}/tmp/(\w+)/layer", "{root}/layers/{sha256(layer)[7:]}"')
        staging = re.findall(r"/tmp/(\w+)/", calls[renamed])[0]
        assert position(rf"syncfs\(\d+<{root}/tmp/{staging}/layer>\) += 0") < renamed
        published = max(published, position(rf"fsync\(\d+<{root}/layers>\) += 0", renamed))
    record = position(rf'rename\("{root}/images/', published)
    position(rf'rename\("{root}/tags/', record)
