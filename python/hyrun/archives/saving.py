"""`hyrun save`: images as an archive that `docker load`, `podman load` and `skopeo` read, or as an OCI layout.

Both have one form: a tar with ``blobs/sha256/``, ``oci-layout`` and ``index.json``. The docker archive has
``manifest.json`` on top, as docker itself writes it since 25, and its layers are plain tars, so they have their diff
ids as names. In the OCI archive they are compressed. Source: OCI image-spec, image-layout.md; moby, image/tarexport.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from typing import Any, NamedTuple

from hyrun import _core, events
from hyrun.errors import InvalidArgument, StorageError
from hyrun.image_config import parse_config
from hyrun.image_store import publishing, tags
from hyrun.images import HOST, resolve
from hyrun.layer_tar import check_compression
from hyrun.layer_tar import write as write_layer
from hyrun.layers import Layer
from hyrun.lineage import parent, read_config, refuse_unportable
from hyrun.progress import Progress
from hyrun.references import Reference, parse
from hyrun.staging import staging
from hyrun.store import Store

FORMATS = ("docker-archive", "oci", "oci-archive")
_BLOCK = 512
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


class _Image(NamedTuple):
    name: str
    config: bytes
    layers: list[Layer]
    references: list[Reference]


def save(
    store: Store,
    names: Sequence[str],
    target: int,
    *,
    form: str = "docker-archive",
    compression: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Write images to a descriptor. A name without a tag means all tags of that repository, as for docker.

    ``form`` is one of ``FORMATS``; ``compression`` is that of an OCI archive's layers, gzip without it; each layer is a
    part of ``progress``, by the bytes of its plain tar. Raises NotFound, InvalidArgument (``host``, or an image that
    stands on it), StorageError for a layer that is damaged: throw away what was written.
    """
    if form not in FORMATS:
        raise InvalidArgument(f"format {form!r}: there are {', '.join(FORMATS)}")
    if compression is not None:
        check_compression(compression)
        if form == "docker-archive":
            raise InvalidArgument(
                f"compression format {compression}: layers of a docker-archive are plain: --format oci"
            )
    if form != "docker-archive":
        compression = compression or "gzip"
    with publishing(store):  # nothing is removed meanwhile
        images = chosen(store, names)
        shown = progress or Progress()
        for layer in {layer.diff_id: layer for image in images for layer in image.layers}.values():
            shown.item(layer.diff_id[:12], "Waiting", layer.size)
        archive = _Archive(store, target, compression, shown)
        with staging(store) as directory:
            manifests = [archive.add_image(image, directory) for image in images]
        archive.finish(images, manifests)
    for image in images:
        image_id = f"sha256:{image.name}"
        name = image.references[0].familiar() if image.references else image_id
        events.of_image(store, "save", image_id, name, parse_config(image.config)["config"].get("Labels"))


def chosen(store: Store, names: Sequence[str]) -> list[_Image]:
    """Return the images that are meant, each once, with the names that it is to have."""
    all_tags = tags(store)
    found: dict[str, list[Reference]] = {}
    for text in names:
        if text == HOST:
            raise InvalidArgument(f"{HOST} cannot be saved: it is this machine's own root file system")
        for image_id, references in _meant(store, text, all_tags):
            known = found.setdefault(image_id, [])
            known += [reference for reference in references if reference not in known]
    images = []
    for name, references in found.items():
        image = parent(store, name)
        refuse_unportable(image.base, f"image {references[0].familiar() if references else name[:12]}", "run it here")
        images.append(_Image(name, read_config(store, name), image.layers, references))
    return images


def _meant(store: Store, text: str, all_tags: dict[str, list[Reference]]) -> list[tuple[str, list[Reference]]]:
    try:
        reference = parse(text)
    except InvalidArgument:
        return [(resolve(store, text), [])]
    if reference.digest is None and ":" not in text.rpartition("/")[2]:
        repository = [
            (image_id[7:], same)
            for image_id, references in all_tags.items()
            if (same := [item for item in references if item.name() == reference.name() and item.tag is not None])
        ]
        if repository:
            return repository
    name = resolve(store, text)
    # A digest is no name that an archive can give.
    return [(name, [reference] if reference.digest is None and reference in all_tags.get(f"sha256:{name}", ()) else [])]


class _Archive:
    """A tar being written to a descriptor that need not be seekable. Its bytes depend on the images alone."""

    def __init__(self, store: Store, target: int, compression: str | None, progress: Progress) -> None:
        self._store = store
        self._target = target
        #: None: a docker archive, whose layers are plain.
        self._compression = compression
        self._progress = progress
        self._layers: dict[str, dict[str, Any]] = {}
        self._blobs: set[str] = set()
        self._add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')

    def add_image(self, image: _Image, directory: str) -> dict[str, Any]:
        """Add all blobs of an image; return the descriptor of its manifest."""
        layers = [self._layer(layer, directory) for layer in image.layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._blob(image.config, _CONFIG),
            "layers": layers,
        }
        return self._blob(_json(manifest), _MANIFEST)

    def finish(self, images: list[_Image], manifests: list[dict[str, Any]]) -> None:
        """Write the documents that name everything, and the end."""
        entries = []
        for image, manifest in zip(images, manifests, strict=True):
            for reference in image.references:
                short = reference.full() if self._compression else reference.tag
                annotations = {
                    "io.containerd.image.name": reference.full(),
                    "org.opencontainers.image.ref.name": short,
                }
                entries.append({**manifest, "annotations": annotations})
            if not image.references:
                entries.append(manifest)
        self._add("index.json", _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}))
        if self._compression is None:
            listed = [
                {
                    "Config": f"blobs/sha256/{image.name}",
                    "RepoTags": [reference.familiar() for reference in image.references] or None,
                    "Layers": [f"blobs/sha256/{layer.diff_id}" for layer in image.layers],
                }
                for image in images
            ]
            self._add("manifest.json", _json(listed))
        self._write(bytes(2 * _BLOCK))

    def _layer(self, layer: Layer, directory: str) -> dict[str, Any]:
        if layer.diff_id not in self._layers:
            meter = _core.Meter()
            self._progress.item(layer.diff_id[:12], "Saving layer")
            self._progress.follow(layer.diff_id[:12], meter)
            if self._compression is None:
                self._layers[layer.diff_id] = self._plain(layer, meter)
            else:
                self._layers[layer.diff_id] = self._packed(layer, directory, self._compression, meter)
            self._progress.item(layer.diff_id[:12], "Layer saved")
        return self._layers[layer.diff_id]

    def _plain(self, layer: Layer, meter: _core.Meter) -> dict[str, Any]:
        """A header needs the size before the content, and a plain layer's is known."""
        size = layer.size or _measured(self._store, layer.diff_id)
        self._header(f"blobs/sha256/{layer.diff_id}", size)
        written = write_layer(self._store, layer.diff_id, self._target, meter=meter).size
        if written != size:
            raise StorageError(f"layer sha256:{layer.diff_id}: {written} bytes, its record says {size}")
        self._pad(size)
        return {"mediaType": _LAYER, "digest": f"sha256:{layer.diff_id}", "size": size}

    def _packed(self, layer: Layer, directory: str, compression: str, meter: _core.Meter) -> dict[str, Any]:
        path = os.path.join(directory, "layer")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.unlink(path)
            packed = write_layer(self._store, layer.diff_id, file, compression=compression, meter=meter)
            self._header(f"blobs/sha256/{packed.digest[7:]}", packed.compressed_size)
            os.lseek(file, 0, os.SEEK_SET)
            while data := os.read(file, 1 << 20):
                self._write(data)
        finally:
            os.close(file)
        self._pad(packed.compressed_size)
        return {"mediaType": f"{_LAYER}+{compression}", "digest": packed.digest, "size": packed.compressed_size}

    def _blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        name = hashlib.sha256(data).hexdigest()
        if name not in self._blobs:
            self._blobs.add(name)
            self._add(f"blobs/sha256/{name}", data)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    def _add(self, name: str, data: bytes) -> None:
        self._header(name, len(data))
        self._write(data)
        self._pad(len(data))

    def _header(self, name: str, size: int) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o644
        self._write(member.tobuf(format=tarfile.PAX_FORMAT))

    def _pad(self, size: int) -> None:
        self._write(bytes(-size % _BLOCK))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._target, view) :]


def _measured(store: Store, name: str) -> int:
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        return write_layer(store, name, null).size
    finally:
        os.close(null)


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
