"""`hyrun pull` killed (-9) before one system call after the other: the next one succeeds, and nothing is half."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.command import COMMAND, PATIENCE, Hyrun
from e2e.registries import Content
from support.points import spread
from support.registry import Registry

CALLS = (
    "mkdir,mkdirat,link,linkat,rename,renameat,renameat2,unlink,unlinkat,rmdir,flock,write,pwrite64,openat,ftruncate"
)
#: At how many of them a pull is killed, spread evenly.
POINTS = 16

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


def _traced(hyrun: Hyrun, flags: list[str], name: str) -> int:
    command = ("strace", "-f", "-o", str(hyrun.cwd / "log"), *flags, *COMMAND)
    process = hyrun.start("pull", "-q", name, command=command)
    process.communicate(timeout=2 * PATIENCE)
    return process.returncode


def _points(hyrun: Hyrun, name: str) -> list[tuple[str, int]]:
    """Return (system call, its how manyeth) for what a pull does to the store; threads make the order vary a little."""
    assert _traced(hyrun, ["-y", "-e", f"trace={CALLS}"], name) == 0
    counts: dict[str, int] = {}
    points = []
    for line in (hyrun.cwd / "log").read_text().splitlines():
        if (match := re.match(r"\d+ +(\w+)\(", line)) is None:
            continue
        call = match[1]
        counts[call] = counts.get(call, 0) + 1
        if str(hyrun.root) in line and (call != "openat" or "O_CREAT" in line):
            points.append((call, counts[call]))
    assert len(points) > POINTS, points
    return spread(points, POINTS)


@pytest.fixture
def name(hyrun: Hyrun, plain: Registry) -> str:
    """An image of which the store has no layer."""
    for image in hyrun.lines("images", "-q"):
        hyrun("rmi", "-f", image)
    return f"{plain.host}/team/box:1"


def test_the_next_pull_succeeds(hyrun: Hyrun, name: str, content: Content, tell: Callable[[str], None]) -> None:
    points = _points(hyrun, name)
    empty = hyrun.tree()
    layers, blobs = hyrun.left("layers"), hyrun.left("blobs/sha256")
    for call, count in points:
        hyrun("rmi", name)
        assert hyrun.left("layers") == set()
        _traced(hyrun, ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={count}"], name)
        # What is there is there whole: an image that has its name runs, and every layer has its tree and its bytes.
        for layer in (hyrun.root / "layers").iterdir():
            assert {entry.name for entry in layer.iterdir()} == {"blob", "diff", "layer.json", "manifest", "recipe"}
        if hyrun.lines("images", "-q", name):
            assert hyrun.out("run", "--rm", "--pull", "never", name, "cat", "/data/word") == "hello"
        hyrun("pull", "-q", name)
        assert hyrun.out("run", "--rm", "--pull", "never", name, "cat", "/data/word") == "hello"
        assert hyrun.left("tmp") == set()
        assert hyrun.left("partial") == set()
        assert (hyrun.left("layers"), hyrun.left("blobs/sha256")) == (layers, blobs)
    assert {path for path in hyrun.tree() ^ empty if "/locks/" not in path} == set()
    tell(f"killed at {len(points)} points, nothing left and nothing lost")


def test_while_another_one_waits_for_the_same_layer(hyrun: Hyrun, name: str, tmp_path: Path) -> None:
    points = [point for point in _points(hyrun, name) if point[0] in ("write", "linkat", "link", "rename")]
    for call, count in points[::4]:
        hyrun("rmi", name)
        waiting = hyrun.start("pull", "-q", name)
        _traced(hyrun, ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={count}"], name)
        out, errors = waiting.communicate(timeout=PATIENCE)
        assert waiting.returncode == 0, errors
        assert out == f"{name}\n"
        assert hyrun.left("partial") == set()
        hyrun("pull", "-q", name)
    assert hyrun.left("tmp") == set()
