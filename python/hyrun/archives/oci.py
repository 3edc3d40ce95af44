"""OCI layouts (image-spec: image-layout.md, image-index.md, manifest.md), in a directory or a tar file."""

import hashlib
from typing import Any, NamedTuple

from hyrun.documents import MAX_DOCUMENT, expect, parse_object
from hyrun.errors import StorageError
from hyrun.image_config import MAX_LAYERS, digest_hex
from hyrun.platforms import rank

from .found import Found, FoundLayer, checked_config, foreign, parsed
from .source import Member, Source

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_LAYERS = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
#: Documents read for one archive: an index of indexes could otherwise keep us busy for ever.
_MAX_DOCUMENTS = 1000
_MAX_DEPTH = 4


class _Descriptor(NamedTuple):
    """A reference to a blob: image-spec, descriptor.md."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, Any]
    platform: dict[str, Any]

    @property
    def attestation(self) -> bool:
        """BuildKit's provenance documents are listed beside the images they are about."""
        return "vnd.docker.reference.type" in self.annotations or self.platform.get("os") == "unknown"

    @property
    def rank(self) -> int | None:
        """How well the promised platform fits this machine; None when it does not."""
        words = [self.platform.get(key) or "" for key in ("os", "architecture", "variant")]
        return rank(*(expect(word, str, "index: platform") for word in words))

    @property
    def shown_platform(self) -> str:
        """The platform in one word, for errors."""
        return "/".join(str(self.platform[key]) for key in ("os", "architecture", "variant") if self.platform.get(key))


def read(source: Source) -> list[Found] | None:
    """Return the images of an OCI layout that run here; None when it is none. Raises StorageError."""
    index = source.find("index.json")
    if index is None:
        return None
    layout = source.find("oci-layout")
    if layout is not None:
        version = parse_object(layout.document(), "oci-layout").get("imageLayoutVersion")
        if not expect(version, str, "oci-layout: imageLayoutVersion").startswith("1."):
            raise StorageError(f"oci-layout: version {str(version)[:20]!r} is unknown: 1.0.0 is the one")
    return _Layout(source).images(index.document())


class _Layout:
    """One layout while it is read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._documents = 0

    def images(self, index: bytes) -> list[Found]:
        """Return one image per name in ``index.json``, and those without a name."""
        groups: dict[str | None, list[_Descriptor]] = {}
        for item in _manifests(parse_object(index, "index.json"), "index.json"):
            if not item.attestation:
                groups.setdefault(_ref_name(item), []).append(item)
        found = []
        for name, items in groups.items():
            # Without platforms and names, several entries are several images; otherwise one for many.
            several = name is None and len(items) > 1 and not any(item.platform for item in items)
            for chosen in [[item] for item in items] if several else [items]:
                found.append(self._image(chosen, _whole(name)))
        if not found:
            raise StorageError("index.json names no image")
        return found

    def _image(self, items: list[_Descriptor], name: str | None) -> Found:
        shown = name or items[0].digest[:19]
        candidates = [candidate for item in items for candidate in self._flat(item, 0)]
        ranked = [(rank, item) for item in candidates if (rank := item.rank) is not None]
        if not ranked:
            raise foreign(shown, [item.shown_platform for item in candidates])
        chosen = min(ranked, key=lambda pair: pair[0])[1]
        data = self._document(chosen)
        manifest = _unambiguous(parse_object(data, f"manifest {chosen.digest}"), f"manifest {chosen.digest}", chosen)
        if "manifests" in manifest or manifest.get("schemaVersion") == 1:
            raise StorageError(f"image {shown}: {chosen.digest} is no manifest of schema 2: skopeo copy converts it")
        config = _descriptor(manifest.get("config"), "manifest: config")
        if config.media_type not in _CONFIGS:
            raise StorageError(f"image {shown}: {config.media_type!r} is no image configuration: nothing to run")
        listed = expect(manifest.get("layers"), list, "manifest: layers")
        if len(listed) > MAX_LAYERS:
            raise StorageError(f"image {shown}: {len(listed)} layers: the limit is {MAX_LAYERS}")
        described = [_descriptor(item, "manifest: layer") for item in listed]
        for item in described:
            kind = item.media_type.removesuffix("+gzip").removesuffix("+zstd")
            if kind.removesuffix(".gzip").removesuffix(".zstd") not in _LAYERS:
                raise StorageError(f"image {shown}: layer of type {item.media_type!r}: want tar, gzip or zstd")
        config_data = self._document(config)
        diff_ids = checked_config(config_data, len(described), shown)["diff_ids"]
        layers = [
            FoundLayer(self._blob(item), diff_id, item.digest)
            for item, diff_id in zip(described, diff_ids, strict=True)
        ]
        reference = None if name is None else parsed(name)
        return Found(config_data, data, layers, [] if reference is None else [reference])

    def _flat(self, item: _Descriptor, depth: int) -> list[_Descriptor]:
        """Return the manifests behind a descriptor, which is one or leads to an index of them."""
        if item.attestation:
            return []
        if item.media_type in _MANIFESTS:
            return [item]
        if item.media_type not in _INDEXES:
            return []
        if depth == _MAX_DEPTH:
            raise StorageError(f"index {item.digest}: more than {_MAX_DEPTH} indexes inside each other")
        what = f"index {item.digest}"
        document = _unambiguous(parse_object(self._document(item), what), what, item)
        return [leaf for below in _manifests(document, what) for leaf in self._flat(below, depth + 1)]

    def _blob(self, item: _Descriptor) -> Member:
        member = self._source.find(f"blobs/sha256/{digest_hex(item.digest, 'digest')}")
        if member is None:
            raise StorageError(f"archive: blob {item.digest} is missing: the archive is not whole")
        if member.length != item.size:
            raise StorageError(
                f"archive: blob {item.digest} has {member.length} bytes, its descriptor says {item.size}"
            )
        return member

    def _document(self, item: _Descriptor) -> bytes:
        self._documents += 1
        if self._documents > _MAX_DOCUMENTS:
            raise StorageError(f"archive: more than {_MAX_DOCUMENTS} documents")
        if item.size > MAX_DOCUMENT:
            raise StorageError(f"archive: document {item.digest} has {item.size} bytes: the limit is {MAX_DOCUMENT}")
        data = self._blob(item).document()
        if hashlib.sha256(data).hexdigest() != item.digest[7:]:
            raise StorageError(f"archive: the content of {item.digest} does not have that digest: it is damaged")
        return data


def _manifests(document: dict[str, Any], what: str) -> list[_Descriptor]:
    if "layers" in document or "config" in document:
        raise StorageError(f"{what} is ambiguous: an index with 'layers' or 'config' (CVE-2021-41190)")
    return [_descriptor(item, what) for item in expect(document.get("manifests"), list, f"{what}: manifests")]


def _unambiguous(document: dict[str, Any], what: str, item: _Descriptor) -> dict[str, Any]:
    """Refuse a document that two readers could take for two different things (CVE-2021-41190)."""
    if "manifests" in document and ("layers" in document or "config" in document):
        raise StorageError(f"{what} is ambiguous: both an index and a manifest (CVE-2021-41190)")
    if document.get("mediaType", item.media_type) != item.media_type:
        raise StorageError(f"{what}: its mediaType is not the one of its descriptor, {item.media_type}")
    return document


def _descriptor(value: object, what: str) -> _Descriptor:
    fields = expect(value, dict, f"{what}: descriptor")
    digest = expect(fields.get("digest"), str, f"{what}: digest")
    digest_hex(digest, f"{what}: digest")
    size = expect(fields.get("size"), int, f"{what}: size")
    if size < 0:
        raise StorageError(f"{what}: size {size} is negative")
    annotations = fields.get("annotations")
    platform = fields.get("platform")
    return _Descriptor(
        expect(fields.get("mediaType"), str, f"{what}: mediaType"),
        digest,
        size,
        {} if annotations is None else expect(annotations, dict, f"{what}: annotations"),
        {} if platform is None else expect(platform, dict, f"{what}: platform"),
    )


def _ref_name(item: _Descriptor) -> str | None:
    """Return what a descriptor's annotations call it; descriptors of one name are one image."""
    for key in ("io.containerd.image.name", "org.opencontainers.image.ref.name"):
        value = item.annotations.get(key)
        if value is not None:
            return expect(value, str, f"index.json: {key}")
    return None


def _whole(name: str | None) -> str | None:
    """Return a name if it is a whole reference: a bare ``latest`` is a tag of nothing (annotations.md)."""
    return name if name is not None and ("/" in name or ":" in name) else None
