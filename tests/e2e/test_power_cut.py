"""The power goes while images are loaded: what was acknowledged is whole afterwards, the rest whole or absent.

A file system of its own (ext4 in a file, mounted in a mount namespace of its own) is shut down without writing its
journal (EXT4_IOC_SHUTDOWN), mounted again and read again. HYRUN_POWER_CUTS says how often.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.images import docker_archive, tar_bytes

CUTS = int(os.environ.get("HYRUN_POWER_CUTS", "20"))

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs mkfs.ext4"),
    pytest.mark.timeout(300),
]

#: Loads images one after another and says which are there; in a process of its own, for it meets a dead disk.
LOADER = """
import sys
from hyrun.archives.loading import load
from hyrun.store import Store
store = Store().prepare()
print("ready", flush=True)
for path in sys.argv[1:]:
    load(store, path)
    print(path, flush=True)
"""

#: Everything that needs the mount, in one process in a mount namespace of its own. Prints one JSON object a cut.
SCRIPT = r"""
import fcntl, json, os, random, struct, subprocess, sys, threading, time
sys.path.insert(0, TESTS)
from pathlib import Path
from hyrun import image_store
from hyrun.archives.loading import load
from hyrun.store import Store
from support.trees import facts

SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, struct.pack("I", 2)
base, archives = Path(BASE), ARCHIVES
disk, mount = base / "disk", base / "mount"
mount.mkdir()
os.environ.update(HYRUN_ROOT=str(mount / "store"), HYRUN_RUN=str(base / "run"), HYRUN_SYNC="on")

def attach(new):
    if new:
        disk.unlink(missing_ok=True)
        with open(disk, "wb") as file:
            file.truncate(96 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, mount], check=True)

def detach():
    subprocess.run(["umount", mount], check=True)

def layers(store):
    return {name: facts(Path(store.path("layers", name, "diff"))) for name in os.listdir(store.path("layers"))}

attach(True)
begin = time.monotonic()
for path in archives:
    load(Store().prepare(), path)
whole = time.monotonic() - begin
expected = layers(Store())
detach()
order = random.Random(7)
for cut in range(CUTS):
    attach(True)
    loading = subprocess.Popen([sys.executable, "-c", LOADER, *archives], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    assert loading.stdout.readline() == "ready\n"
    time.sleep(order.random() * whole * 1.2)
    descriptor = os.open(mount, os.O_RDONLY)
    fcntl.ioctl(descriptor, SHUTDOWN, NO_LOG_FLUSH)
    os.close(descriptor)
    # What is said after the cut was done before it, or it is not true: both have to hold.
    said = loading.stdout.read().split()
    loading.wait()
    detach()
    attach(False)
    store = Store().prepare()
    found = layers(store)
    wrong = [name for name, tree in found.items() if tree != expected[name]]
    tags = {reference.familiar() for references in image_store.tags(store).values() for reference in references}
    for record in image_store.records(store):
        wrong += [layer for layer in record["layers"] if layer not in found]
    missing = [path for path in said if f"{Path(path).stem}:1" not in tags]
    # And without any repair the next load makes it whole.
    for path in archives:
        load(store, path)
    again = layers(store) == expected and os.listdir(store.path("tmp")) == []
    print(json.dumps({"said": len(said), "wrong": wrong, "missing": missing, "again": again}), flush=True)
    detach()
"""


def test_what_was_acknowledged_is_whole_after_a_power_cut(tmp_path: Path, tell: Callable[[str], None]) -> None:
    archives = []
    for number in range(5):
        # One file for each way to unpack: by one thread, and by several; compressed and not.
        small = tar_bytes([(".", None), (f"small{number}", b"x" * 3000)])
        large = tar_bytes([(".", None), *((f"file{index}", os.urandom(60_000)) for index in range(6))])
        archives.append(str(tmp_path / f"image{number}.tar"))
        docker_archive(tmp_path / f"image{number}.tar", [small, large], {}, [f"image{number}:1"])
    names = {"TESTS": str(Path(__file__).parents[1]), "BASE": str(tmp_path), "ARCHIVES": archives, "CUTS": CUTS}
    head = "".join(f"{name} = {value!r}\n" for name, value in {**names, "LOADER": LOADER}.items())
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", head + SCRIPT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cuts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cuts) == CUTS
    for cut in cuts:
        assert (cut["wrong"], cut["missing"], cut["again"]) == ([], [], True), cuts
    acknowledged = sum(cut["said"] for cut in cuts)
    # Some came before the end and some did not, or the cuts tell nothing.
    assert 0 < acknowledged < CUTS * len(archives)
    tell(f"{CUTS} power cuts, {acknowledged} of {CUTS * len(archives)} images acknowledged, none lost")
