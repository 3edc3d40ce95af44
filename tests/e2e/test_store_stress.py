"""Load, run, rmi, prune and check at once: nobody loses a layer, and nobody sees an error that is not documented."""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from e2e.command import Hyrun, Template
from hyrun.check.checking import check
from hyrun.store import Store
from support.images import docker_archive, tar_bytes

#: How long they work, in seconds, and how many of each.
DURATION = 6.0
LOADERS, RUNNERS, REMOVERS, PRUNERS = 2, 3, 1, 1

#: What somebody may be told whose image is removed by somebody else at that moment.
DOCUMENTED = re.compile(
    r"no image \S+ here|was removed just now|it was removed|is missing: hyrun system check"
    r"|is used by container|no such container"
)

_WORKER = """
import os, random, sys, time
from hyrun.errors import HyrunError
from hyrun.store import Store
kind, seed, duration, *names = sys.argv[1:]
choose, store, end = random.Random(seed), Store().prepare(), time.monotonic() + float(duration)
count = 0
while time.monotonic() < end:
    name = choose.choice(names)
    try:
        if kind == "load":
            from hyrun.archives.loading import load
            load(store, name + ".tar")
        elif kind == "run":
            import hyrun
            done = hyrun.run(name, ["cat", "/etc/hello", "/mark"], capture_output=True, text=True)
            assert (done.returncode, done.stdout) == (0, "hello from the image\\n" + name), (done, name)
        elif kind == "rmi":
            from hyrun.image_store import remove
            remove(store, name, force=True)
        else:
            from hyrun import image_pruning, pruning
            pruning.prune(store)
            image_pruning.prune_images(store, image_pruning.Wanted({}), everything=choose.random() < 0.3)
        count += 1
    except (HyrunError, OSError) as error:
        print(kind, type(error).__name__, error, flush=True)
    if kind in ("rmi", "prune"):
        time.sleep(choose.random() * 0.2)
print("done", kind, count)
"""


@pytest.mark.timeout(120)
def test_everything_at_once(hyrun: Hyrun, template: Template, tell: Callable[[str], None]) -> None:
    base = template.rootfs.read_bytes()
    names = [f"image{number}" for number in range(4)]
    for number, name in enumerate(names):
        middle = tar_bytes([("shared", str(number % 2).encode() * 1000)])
        docker_archive(hyrun.cwd / f"{name}.tar", [base, middle, tar_bytes([("mark", name.encode())])], {}, [name])
        hyrun("load", "-q", "-i", f"{name}.tar")
    # This one is used all the time: nothing of it may ever be lost.
    hyrun.sleeper("--name", "witness", image="image0")
    kinds = ["load"] * LOADERS + ["run"] * RUNNERS + ["rmi"] * REMOVERS + ["prune"] * PRUNERS
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, kind, str(seed), str(DURATION), *names],
            cwd=hyrun.cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, kind in enumerate(kinds)
    ]
    store = Store(str(hyrun.root), str(hyrun.run))
    checks = 0
    end = time.monotonic() + DURATION
    found = []
    while time.monotonic() < end and not found:
        report = check(store)
        # A container may have been made of an image that was removed in between: it notices, and goes away again.
        found = [item.view() for item in report.findings if not item.harmless and item.kind != "image-missing"]
        checks += 1
        time.sleep(random.random() * 0.1)
    done: dict[str, int] = {}
    outputs = [worker.communicate(timeout=60) for worker in workers]
    for worker, (out, errors) in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, errors
        *complaints, last = out.splitlines()
        unknown = [line for line in complaints if not DOCUMENTED.search(line)]
        assert unknown == [], unknown
        _, kind, count = last.split()
        done[kind] = done.get(kind, 0) + int(count)
    assert found == []
    assert min(done.values()) > 0, done
    assert hyrun.out("inspect", "-f", "{{.State.Status}}", "witness") == "running"
    state = json.loads(hyrun.out("inspect", "witness"))[0]
    assert all(map(os.path.isdir, state["GraphDriver"]["Data"]["LowerDir"].split(":")))
    for name in names:
        hyrun("load", "-q", "-i", f"{name}.tar")
        assert hyrun.out("run", "--rm", name, "cat", "/mark") == name
    hyrun("system", "check", "--repair")
    assert check(store).findings == []
    tell(f"{done} and {checks} checks")
