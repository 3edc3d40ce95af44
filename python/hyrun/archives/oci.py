"""OCI layouts (image-spec: image-layout.md, image-index.md, manifest.md), in a directory or a tar file."""

import hashlib

from hyrun.documents import MAX_DOCUMENT, expect, parse_object
from hyrun.errors import StorageError
from hyrun.manifests import Descriptor, flat, listed, read_manifest
from hyrun.platforms import Platform, rank

from .found import Found, FoundLayer, checked_config, foreign, parsed
from .source import Member, Source

#: Documents read for one archive: an index of indexes could otherwise keep us busy for ever.
_MAX_DOCUMENTS = 1000


def read(source: Source, wanted: Platform | None = None) -> list[Found] | None:
    """Return the images of an OCI layout for ``wanted`` or this machine; None when it is none. Raises StorageError."""
    index = source.find("index.json")
    if index is None:
        return None
    layout = source.find("oci-layout")
    if layout is not None:
        version = parse_object(layout.document(), "oci-layout").get("imageLayoutVersion")
        if not expect(version, str, "oci-layout: imageLayoutVersion").startswith("1."):
            raise StorageError(f"oci-layout: version {str(version)[:20]!r} is unknown: 1.0.0 is the one")
    return _Layout(source, wanted).images(index.document())


class _Layout:
    """One layout while it is read."""

    def __init__(self, source: Source, wanted: Platform | None) -> None:
        self._source = source
        self._wanted = wanted
        self._rank = rank if wanted is None else wanted.rank
        self._documents = 0

    def images(self, index: bytes) -> list[Found]:
        """Return one image per name in ``index.json``, and those without a name."""
        groups: dict[str | None, list[Descriptor]] = {}
        for item in listed(parse_object(index, "index.json"), "index.json"):
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

    def _image(self, items: list[Descriptor], name: str | None) -> Found:
        shown = name or items[0].digest[:19]
        candidates = [candidate for item in items for candidate in flat(item, self._document)]
        ranked = [(fit, item) for item in candidates if (fit := self._rank(*item.platform_words)) is not None]
        if not ranked:
            raise foreign(shown, [item.shown_platform for item in candidates], self._wanted)
        chosen = min(ranked, key=lambda pair: pair[0])[1]
        data = self._document(chosen)
        config, described = read_manifest(data, chosen.digest, chosen.media_type, shown)
        config_data = self._document(config)
        diff_ids = checked_config(config_data, len(described), shown, self._wanted)["diff_ids"]
        layers = [
            FoundLayer(self._blob(item), diff_id, item.digest)
            for item, diff_id in zip(described, diff_ids, strict=True)
        ]
        reference = None if name is None else parsed(name)
        return Found(config_data, data, layers, [] if reference is None else [reference])

    def _blob(self, item: Descriptor) -> Member:
        member = self._source.find(f"blobs/sha256/{item.hex}")
        if member is None:
            raise StorageError(f"archive: blob {item.digest} is missing: the archive is not whole")
        if member.length != item.size:
            raise StorageError(
                f"archive: blob {item.digest} has {member.length} bytes, its descriptor says {item.size}"
            )
        return member

    def _document(self, item: Descriptor) -> bytes:
        self._documents += 1
        if self._documents > _MAX_DOCUMENTS:
            raise StorageError(f"archive: more than {_MAX_DOCUMENTS} documents")
        if item.size > MAX_DOCUMENT:
            raise StorageError(f"archive: document {item.digest} has {item.size} bytes: the limit is {MAX_DOCUMENT}")
        data = self._blob(item).document()
        if hashlib.sha256(data).hexdigest() != item.digest[7:]:
            raise StorageError(f"archive: the content of {item.digest} does not have that digest: it is damaged")
        return data


def _ref_name(item: Descriptor) -> str | None:
    """Return what a descriptor's annotations call it; descriptors of one name are one image."""
    for key in ("io.containerd.image.name", "org.opencontainers.image.ref.name"):
        value = item.annotations.get(key)
        if value is not None:
            return expect(value, str, f"index.json: {key}")
    return None


def _whole(name: str | None) -> str | None:
    """Return a name if it is a whole reference: a bare ``latest`` is a tag of nothing (annotations.md)."""
    return name if name is not None and ("/" in name or ":" in name) else None
