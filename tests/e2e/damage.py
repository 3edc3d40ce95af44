"""Every kind of damage to a store, done to one with an image, a container and a volume."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from e2e.command import Hyrun, Template
from hyrun import layers
from hyrun.check.checking import check
from hyrun.check.finding import Finding
from hyrun.images import lookup
from hyrun.store import Store
from support.images import tar_bytes


class Damaged:
    """A store with an image of two layers and a manifest, a container of it that has ended, and a named volume."""

    def __init__(self, hyrun: Hyrun, template: Template) -> None:
        self.hyrun = hyrun
        self.template = template
        hyrun(
            "run", "--name", "kept", "-v", "named:/named", "filled", "sh", "-c", "echo mine > /mine; echo v > /named/v"
        )
        self.store = Store(str(hyrun.root), str(hyrun.run))
        image = lookup(self.store, "filled")
        self.image = image.id[7:]
        self.top, self.base = (hyrun.root / "layers" / layer for layer in image.layers)
        self.container = hyrun.root / "containers" / hyrun.record("kept")["Id"]

    def blob(self, name: str) -> Path:
        return self.hyrun.root / "blobs/sha256" / name

    @property
    def record(self) -> Path:
        return self.hyrun.root / f"images/{self.image}.json"

    @property
    def manifest(self) -> Path:
        return self.blob(json.loads(self.record.read_bytes())["digest"][7:])

    def found(self) -> dict[str, Finding]:
        return {finding.kind: finding for finding in check(self.store).findings}

    def load(self) -> None:
        for archive in (self.template.layout, self.template.archive):
            self.hyrun("load", "-q", "-i", archive)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rewrite_all(tree: Path) -> None:
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_text("of another layer\n")


def add_unused_layer(damaged: Damaged) -> None:
    path = damaged.hyrun.cwd / "layer.tar"
    path.write_bytes(tar_bytes([("unused", b"x")]))
    with path.open("rb") as file:
        layers.add(damaged.store, file.fileno())


def add_unmanaged_layer(damaged: Damaged) -> None:
    (damaged.hyrun.root / "layers" / ("0" * 64) / "diff").mkdir(parents=True)


def forget_image(damaged: Damaged) -> None:
    for path in (damaged.manifest, damaged.blob(damaged.image), damaged.record):
        path.unlink()
    (damaged.hyrun.root / "tags/docker.io%2Flibrary%2Ffilled:latest").unlink()


def lose_manifest_of_image(damaged: Damaged) -> None:
    damaged.manifest.unlink()


def keep_damaged_bytes(damaged: Damaged) -> None:
    """What a registry gave is kept beside the tree, to be pushed again."""
    (damaged.top / "blob").write_bytes(b"compressed")
    figures = json.loads((damaged.top / "layer.json").read_text())
    (damaged.top / "layer.json").write_text(json.dumps({**figures, "digest": f"sha256:{'0' * 64}"}))


#: Podman's kinds of damage (its system test 331-system-check), each with what is found here.
PODMANS: dict[str, tuple[Callable[[Damaged], object], str]] = {
    "a layer that nobody made": (add_unmanaged_layer, "layer-orphan"),
    "a layer that nobody uses": (add_unused_layer, "layer-orphan"),
    "a layer with other content": (lambda damaged: rewrite_all(damaged.top / "diff"), "layer-damaged"),
    "content added to a layer": (lambda damaged: (damaged.top / "diff/new").write_text("x"), "layer-damaged"),
    "an image's layer is missing": (lambda damaged: shutil.rmtree(damaged.base), "layer-missing"),
    "a container's image is missing": (forget_image, "image-missing"),
    "a layer's own data is missing": (lambda damaged: (damaged.top / "manifest").unlink(), "layer-damaged"),
    "an image's own data is missing": (lose_manifest_of_image, "blob-missing"),
    "an image's own data is modified": (lambda damaged: flip(damaged.blob(damaged.image)), "blob-damaged"),
    "a container's own data is missing": (lambda damaged: shutil.rmtree(damaged.container / "work"), "container-work"),
    "a container's own data is modified": (
        lambda damaged: (damaged.container / "exit.json").write_text("{"),
        "container-exit",
    ),
}
#: The other ways in which files can be lost.
OTHERS: dict[str, tuple[Callable[[Damaged], object], str]] = {
    "a flipped bit in a file of a layer": (lambda damaged: flip(damaged.base / "diff/bin/busybox"), "layer-damaged"),
    "a truncated file of a layer": (lambda damaged: os.truncate(damaged.top / "diff/data/file", 3), "layer-damaged"),
    "a file of a layer without content": (
        lambda damaged: os.truncate(damaged.top / "diff/data/file", 0),
        "layer-damaged",
    ),
    "a missing file of a layer": (lambda damaged: (damaged.base / "diff/etc/passwd").unlink(), "layer-damaged"),
    "a mode of a layer": (lambda damaged: os.chmod(damaged.base / "diff/etc/passwd", 0o666), "layer-damaged"),
    "an attribute of a layer": (
        lambda damaged: os.setxattr(damaged.top / "diff/data/file", "user.colour", b"red"),
        "layer-damaged",
    ),
    "a layer without files": (lambda damaged: shutil.rmtree(damaged.top / "diff"), "layer-damaged"),
    "a flipped bit in the manifest of a layer": (lambda damaged: flip(damaged.top / "manifest"), "layer-damaged"),
    "a manifest of a layer without content": (
        lambda damaged: os.truncate(damaged.top / "manifest", 0),
        "layer-damaged",
    ),
    "a layer without its figure": (lambda damaged: (damaged.top / "layer.json").unlink(), "layer-figures"),
    "a figure without content": (lambda damaged: os.truncate(damaged.top / "layer.json", 0), "layer-figures"),
    "damaged bytes kept for a push": (keep_damaged_bytes, "layer-blob"),
    "a configuration without content": (lambda damaged: os.truncate(damaged.blob(damaged.image), 0), "blob-damaged"),
    "a truncated manifest": (lambda damaged: os.truncate(damaged.manifest, 9), "blob-damaged"),
    "a missing record": (lambda damaged: damaged.record.unlink(), "image-missing"),
    "a record without content": (lambda damaged: os.truncate(damaged.record, 0), "image-record"),
    "a truncated record": (lambda damaged: os.truncate(damaged.record, 50), "image-record"),
    "a record of something else": (
        lambda damaged: damaged.record.write_text(damaged.record.read_text().replace('"sh"', '"sH"')),
        "image-record",
    ),
    "a record with another member": (
        lambda damaged: damaged.record.write_text(damaged.record.read_text().replace('"layers"', '"lbyers"')),
        "image-record",
    ),
    "a record with another type": (
        lambda damaged: damaged.record.write_text(
            json.dumps({**json.loads(damaged.record.read_text()), "config": [], "history": 5})
        ),
        "image-record",
    ),
    "a record with its id alone": (
        lambda damaged: damaged.record.write_text(json.dumps({"id": f"sha256:{damaged.image}"})),
        "image-record",
    ),
    "a record and its configuration": (
        lambda damaged: (os.truncate(damaged.record, 0), os.truncate(damaged.blob(damaged.image), 0)),
        "image-record",
    ),
    "a container without its name": (lambda damaged: (damaged.hyrun.root / "names/kept").unlink(), "container-name"),
    "a container without its writable layer": (
        lambda damaged: shutil.rmtree(damaged.container / "upper"),
        "container-upper",
    ),
    "a volume without record": (
        lambda damaged: (damaged.hyrun.root / "volumes/named/volume.json").unlink(),
        "volume-record",
    ),
    "a volume with a damaged record": (
        lambda damaged: os.truncate(damaged.hyrun.root / "volumes/named/volume.json", 5),
        "volume-record",
    ),
    "a volume without data": (lambda damaged: shutil.rmtree(damaged.hyrun.root / "volumes/named/_data"), "volume-data"),
    "a missing volume": (lambda damaged: shutil.rmtree(damaged.hyrun.root / "volumes/named"), "volume-missing"),
    "a store that others can enter": (lambda damaged: os.chmod(damaged.hyrun.root, 0o755), "store-mode"),
    "a mount point that is gone": (
        lambda damaged: (damaged.hyrun.root / "skeleton/etc/hosts").unlink(),
        "store-skeleton",
    ),
    "a mount point with content": (
        lambda damaged: (damaged.hyrun.root / "skeleton/etc/hosts").write_text("x"),
        "store-skeleton",
    ),
}
