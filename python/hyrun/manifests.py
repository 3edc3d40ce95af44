"""Manifests, indexes and descriptors (image-spec: manifest.md, image-index.md, descriptor.md), read strictly.

Archives and registries have the same documents; here is what both make of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from .documents import expect, parse_object
from .errors import StorageError
from .image_config import MAX_LAYERS, digest_hex

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
#: Docker's schema 1, which no reader should take any more: nothing in it is checked by a digest.
SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_LAYERS = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
_MAX_DEPTH = 4
#: Bytes of a blob: a layer unpacks to no more than this.
MAX_BLOB = 1 << 40


class Descriptor(NamedTuple):
    """A reference to a blob."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, Any]
    platform: dict[str, Any]
    urls: list[Any]

    @property
    def hex(self) -> str:
        """The digest's hexadecimal part, checked: it may be part of a path."""
        return self.digest[7:]

    @property
    def attestation(self) -> bool:
        """BuildKit's provenance documents are listed beside the images they are about."""
        return "vnd.docker.reference.type" in self.annotations or self.platform.get("os") == "unknown"

    @property
    def platform_words(self) -> tuple[str, str, str]:
        """The promised os, architecture and variant; empty words for what it does not say."""
        os_name, architecture, variant = (
            expect(self.platform.get(key) or "", str, "index: platform") for key in ("os", "architecture", "variant")
        )
        return os_name, architecture, variant

    @property
    def shown_platform(self) -> str:
        """The platform in one word, for errors."""
        return "/".join(filter(None, self.platform_words))


class Manifest(NamedTuple):
    """A manifest of an image: its configuration, and its layers lowest first."""

    config: Descriptor
    layers: list[Descriptor]


def descriptor(value: object, what: str) -> Descriptor:
    """Check one descriptor. Raises StorageError."""
    fields = expect(value, dict, f"{what}: descriptor")
    digest = expect(fields.get("digest"), str, f"{what}: digest")
    digest_hex(digest, f"{what}: digest")
    size = expect(fields.get("size"), int, f"{what}: size")
    if not 0 <= size <= MAX_BLOB:
        reason = "is negative" if size < 0 else f"is over the limit of {MAX_BLOB} bytes"
        raise StorageError(f"{what}: size {size} {reason}")
    annotations, platform, urls = (fields.get(key) for key in ("annotations", "platform", "urls"))
    return Descriptor(
        expect(fields.get("mediaType"), str, f"{what}: mediaType"),
        digest,
        size,
        {} if annotations is None else expect(annotations, dict, f"{what}: annotations"),
        {} if platform is None else expect(platform, dict, f"{what}: platform"),
        [] if urls is None else expect(urls, list, f"{what}: urls"),
    )


def listed(document: dict[str, Any], what: str) -> list[Descriptor]:
    """Return what an index lists. Raises StorageError."""
    if "layers" in document or "config" in document:
        raise StorageError(f"{what} is ambiguous: an index with 'layers' or 'config' (CVE-2021-41190)")
    return [descriptor(item, what) for item in expect(document.get("manifests"), list, f"{what}: manifests")]


def unambiguous(document: dict[str, Any], what: str, media_type: str) -> dict[str, Any]:
    """Refuse a document that two readers could take for two different things (CVE-2021-41190)."""
    if "manifests" in document and ("layers" in document or "config" in document):
        raise StorageError(f"{what} is ambiguous: both an index and a manifest (CVE-2021-41190)")
    if document.get("mediaType", media_type) != media_type:
        raise StorageError(f"{what}: its mediaType is not the one it came with, {media_type[:100]}")
    return document


def flat(item: Descriptor, document: Callable[[Descriptor], bytes], depth: int = 0) -> list[Descriptor]:
    """Return the manifests behind a descriptor, which is one or leads to an index of them.

    ``document`` fetches the content of an index, checked by its digest.
    """
    if item.attestation:
        return []
    if item.media_type in MANIFESTS:
        return [item]
    if item.media_type not in INDEXES:
        return []
    if depth == _MAX_DEPTH:
        raise StorageError(f"index {item.digest}: more than {_MAX_DEPTH} indexes inside each other")
    what = f"index {item.digest}"
    index = unambiguous(parse_object(document(item), what), what, item.media_type)
    return [leaf for below in listed(index, what) for leaf in flat(below, document, depth + 1)]


def layer_compression(media_type: str) -> str | None:
    """Return what a layer's media type says: ``gzip``, ``zstd``, or None for a plain tar."""
    return next((word for word in ("gzip", "zstd") if media_type.endswith((f"+{word}", f".{word}"))), None)


def oci_layer(media_type: str) -> str:
    """Return the media type that a layer has in an OCI manifest; Docker's types are for Docker's manifests only."""
    if not media_type.startswith("application/vnd.docker."):
        return media_type
    compression = layer_compression(media_type)
    return f"{_LAYERS[0]}+{compression}" if compression else _LAYERS[0]


def read_manifest(data: bytes, digest: str, media_type: str, shown: str) -> Manifest:
    """Check the manifest of the image that errors call ``shown``. Raises StorageError."""
    manifest = unambiguous(parse_object(data, f"manifest {digest}"), f"manifest {digest}", media_type)
    if "manifests" in manifest or manifest.get("schemaVersion") == 1:
        raise StorageError(f"image {shown}: {digest} is no manifest of schema 2: skopeo copy converts it")
    config = descriptor(manifest.get("config"), "manifest: config")
    if config.media_type not in CONFIGS:
        raise StorageError(f"image {shown}: {config.media_type[:100]!r} is no image configuration: nothing to run")
    items = expect(manifest.get("layers"), list, "manifest: layers")
    if len(items) > MAX_LAYERS:
        raise StorageError(f"image {shown}: {len(items)} layers: the limit is {MAX_LAYERS}")
    layers = [descriptor(item, "manifest: layer") for item in items]
    for item in layers:
        kind = item.media_type.removesuffix("+gzip").removesuffix("+zstd")
        if kind.removesuffix(".gzip").removesuffix(".zstd") not in _LAYERS:
            raise StorageError(f"image {shown}: layer of type {item.media_type[:100]!r}: want tar, gzip or zstd")
    return Manifest(config, layers)
