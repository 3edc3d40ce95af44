"""500 images: what is done often does not look at all of them."""

import json
import re
import shutil
import time
from collections.abc import Callable

import pytest

from e2e.command import COMMAND, PATIENCE, Hyrun
from hyrun import image_store, layers
from hyrun.images import lookup
from hyrun.references import parse
from hyrun.store import Store
from support.images import ARCHITECTURE, tar_bytes

pytestmark = [pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"), pytest.mark.timeout(300)]

IMAGES = 500
_STRACE = ("strace", "-f", "-s", "500", "-e", "trace=%file", "-o")


def opened(hyrun: Hyrun, *arguments: str) -> list[str]:
    """Return the paths in the store that a command's system calls name."""
    log = hyrun.cwd / "log"
    process = hyrun.start(
        *arguments, command=("strace", "-f", "-s", "500", "-e", "trace=%file", "-o", str(log), *COMMAND)
    )
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return re.findall(rf'"({re.escape(str(hyrun.root))}[^"]*)"', log.read_text())


def make(hyrun: Hyrun, count: int) -> None:
    """Make images of one more layer each, on top of busybox's."""
    store = Store(str(hyrun.root), str(hyrun.run))
    (base,) = lookup(store, "busybox").layers
    with image_store.publishing(store):
        for number in range(count):
            path = hyrun.cwd / "layer.tar"
            path.write_bytes(tar_bytes([("mark", str(number).encode())]))
            with path.open("rb") as file:
                layer = layers.add(store, file.fileno())
            document = {
                "architecture": ARCHITECTURE,
                "os": "linux",
                "created": f"2024-01-02T03:04:05.{number:03d}Z",
                "config": {"Labels": {"number": str(number)}},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{base}", f"sha256:{layer.diff_id}"]},
            }
            both = [layers.find(store, base), layer]
            image = image_store.publish(store, json.dumps(document).encode(), both)
            image_store.tag(store, parse(f"made{number}"), image)


def test_run_and_ps_look_at_nothing_but_their_own(hyrun: Hyrun, tell: Callable[[str], None]) -> None:
    commands = (
        ("run", "--rm", "busybox", "true"),
        ("run", "--rm", lookup(Store(str(hyrun.root), str(hyrun.run)), "busybox").id, "true"),
        ("ps", "-a"),
        ("volume", "ls"),
    )
    before = [len(opened(hyrun, *command)) for command in commands]
    make(hyrun, IMAGES)
    after = [len(opened(hyrun, *command)) for command in commands]
    assert after == before
    hyrun("run", "--rm", "made77", "true")
    tell(f"run touches {after[0]} paths of the store with 3 and with {IMAGES + 3} images")

    # A list reads each record and each tag once; no layer, no blob, no container is opened for it.
    paths = opened(hyrun, "images", "-q")
    assert len([path for path in paths if "/images/" in path]) == IMAGES + 3
    assert len([path for path in paths if "/tags/" in path]) == IMAGES + 3
    assert not [path for path in paths if "/layers/" in path or "/blobs/" in path]

    start = time.monotonic()
    hyrun("system", "check")
    hyrun("image", "prune", "-a", "-f", "--filter", "label=number")
    assert len(hyrun.lines("images", "-q")) == 3
    tell(f"check and prune of {IMAGES}: {time.monotonic() - start:.1f} s")
