"""Removal, prune, repair and load killed (-9) before one system call after the other: images are whole or gone."""

import os
import shutil
from collections.abc import Callable

import pytest

from e2e.command import Hyrun, Template
from e2e.killing import kill, points
from hyrun.archives.loading import load
from hyrun.check.checking import check
from hyrun.image_store import tags
from hyrun.store import Store

pytestmark = [pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"), pytest.mark.timeout(300)]

#: At how many system calls each command is killed.
POINTS = 15


@pytest.fixture
def store(hyrun: Hyrun) -> Store:
    return Store(str(hyrun.root), str(hyrun.run))


def fill(hyrun: Hyrun, template: Template, store: Store) -> None:
    """Make the store what it was: three images, one of them without a name, and a container that has ended."""
    for archive in (template.archive, template.layout, template.archive.parent / "entry.tar"):
        load(store, str(archive))
    untagged = hyrun.root / "tags/docker.io%2Flibrary%2Fentry:latest"
    untagged.unlink(missing_ok=True)
    if "kept" not in hyrun.left("names"):
        hyrun("run", "--name", "kept", "-v", "data:/v", "busybox", "true")


def images_are_whole_or_gone(store: Store) -> None:
    """Nothing is damaged, and what names mean is there: the next command needs no repair."""
    report = check(store)
    assert report.healthy, [finding.view() for finding in report.findings if not finding.harmless]
    assert all(os.path.exists(store.path("images", f"{image[7:]}.json")) for image in tags(store))


COMMANDS = {
    "rmi": ("rmi", "filled"),
    "image prune": ("image", "prune", "-f"),
    "image prune -a": ("image", "prune", "-a", "-f"),
    "system prune": ("system", "prune", "-f"),
    "system prune -a --volumes": ("system", "prune", "-a", "-f", "--volumes"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_while_removing(
    hyrun: Hyrun, template: Template, store: Store, command: str, tell: Callable[[str], None]
) -> None:
    arguments = COMMANDS[command]
    fill(hyrun, template, store)
    tried = points(hyrun, arguments, POINTS)
    for point in tried:
        fill(hyrun, template, store)
        kill(hyrun, point, arguments)
        images_are_whole_or_gone(store)
        hyrun("images")
        hyrun(*arguments, code=1 if command == "rmi" and "filled" not in hyrun.out("images") else 0)
    hyrun("system", "prune", "-a", "-f")
    hyrun("system", "check", "--repair")
    images_are_whole_or_gone(store)
    assert check(store).findings == []
    tell(f"killed at {len(tried)} points, nothing lost")


def test_killed_while_repairing(hyrun: Hyrun, template: Template, store: Store, tell: Callable[[str], None]) -> None:
    def hurt() -> None:
        fill(hyrun, template, store)
        top = next(path for path in (hyrun.root / "layers").iterdir() if (path / "diff/data/file").exists())
        os.truncate(top / "diff/data/file", 0)
        (hyrun.root / "tmp/stale/deep").mkdir(parents=True, exist_ok=True)
        (hyrun.root / "tags/docker.io%2Flibrary%2Fnobody:1").write_text(f"sha256:{'0' * 64}")
        record = next(path for path in (hyrun.root / "images").iterdir() if b"entrypoint" in path.read_bytes())
        os.truncate(record, 0)
        shutil.rmtree(next((hyrun.root / "containers").iterdir()) / "work")
        (hyrun.root / "layers" / ("1" * 64)).mkdir(exist_ok=True)

    arguments = ("system", "check", "--repair")
    hurt()
    # It ends with 1: a layer is lost until somebody loads it again.
    log = hyrun.cwd / "log"
    assert hyrun("system", "check", "--repair", code=1).stdout
    hurt()
    tried = points(hyrun, arguments, POINTS, code=1)
    assert log.exists()
    for point in tried:
        hurt()
        kill(hyrun, point, arguments)
        hyrun("system", "check", "--repair", code=None)
        load(store, str(template.layout))
        assert check(store, repair=True).healthy, point
        images_are_whole_or_gone(store)
        assert hyrun.out("run", "--rm", "filled", "cat", "/data/file") == "from the image"
    tell(f"killed at {len(tried)} points, nothing lost")


def test_killed_while_loading(hyrun: Hyrun, template: Template, store: Store, tell: Callable[[str], None]) -> None:
    arguments = ("load", "-q", "-i", str(template.layout))
    hyrun("image", "prune", "-a", "-f")
    tried = points(hyrun, arguments, POINTS)
    for point in tried:
        hyrun("image", "prune", "-a", "-f")
        kill(hyrun, point, arguments)
        images_are_whole_or_gone(store)
        hyrun(*arguments)
        assert hyrun.out("run", "--rm", "filled", "cat", "/data/file") == "from the image"
    hyrun("image", "prune", "-a", "-f")
    assert check(store).findings == []
    tell(f"killed at {len(tried)} points, nothing lost")
