"""`docker save` archives: ``manifest.json`` names configurations and layers (moby, image/tarexport).

Docker 25 and later write an OCI layout around it; this document is still the one with all the names.
"""

import hashlib

from hyrun.documents import expect, parse, strings
from hyrun.errors import StorageError
from hyrun.image_config import MAX_LAYERS
from hyrun.platforms import Platform

from .found import Found, FoundLayer, checked_config, parsed
from .source import Member, Source


def read(source: Source, wanted: Platform | None = None) -> list[Found] | None:
    """Return the images of a `docker save` archive; None when it is none. Raises StorageError.

    All of them must fit ``wanted``, or this machine.
    """
    member = source.find("manifest.json")
    if member is None:
        if source.find("repositories") is not None:
            raise StorageError("archive: written by docker before 1.10: load and save it with a newer docker first")
        return None
    document = parse(member.document(), "manifest.json")
    if isinstance(document, dict) and "schemaVersion" in document:
        raise StorageError(
            "archive: its manifest.json is that of a single image in a registry, as skopeo writes it with dir: "
            "skopeo copy dir:DIRECTORY oci-archive:FILE makes what hyrun load takes"
        )
    entries = expect(document, list, "manifest.json")
    if not entries:
        raise StorageError("archive: manifest.json names no image")
    return [_image(source, entry, wanted) for entry in entries]


def _image(source: Source, entry: object, wanted: Platform | None) -> Found:
    fields = expect(entry, dict, "manifest.json: entry")
    config_name = expect(fields.get("Config"), str, "manifest.json: Config")
    names = strings(fields.get("Layers"), "manifest.json: Layers")
    tags = fields.get("RepoTags")
    texts = [] if tags is None else strings(tags, "manifest.json: RepoTags")
    references = [reference for text in texts if (reference := parsed(text)) is not None]
    shown = references[0].familiar() if references else config_name
    if len(names) > MAX_LAYERS:
        raise StorageError(f"image {shown}: {len(names)} layers: the limit is {MAX_LAYERS}")
    data = _member(source, config_name).document()
    promised = _promised(config_name, ".json")
    if promised is not None and hashlib.sha256(data).hexdigest() != promised:
        raise StorageError(f"image {shown}: configuration {config_name} does not have the digest in its name")
    config = checked_config(data, len(names), shown, wanted)
    layers = []
    for name, diff_id in zip(names, config["diff_ids"], strict=True):
        blob = _promised(name, None)
        layers.append(FoundLayer(_member(source, name), diff_id, None if blob is None else f"sha256:{blob}"))
    return Found(data, None, layers, references)


def _member(source: Source, name: str) -> Member:
    member = source.find(name)
    if member is None:
        raise StorageError(f"archive: {name[:200]} is missing: the archive is not whole")
    return member


def _promised(name: str, suffix: str | None) -> str | None:
    """Return the digest (hexadecimal) that a member's name promises for its bytes, if it does."""
    if name.startswith("blobs/sha256/"):
        digest = name[13:]
    elif suffix is not None and name.endswith(suffix):
        digest = name[: -len(suffix)]
    else:
        return None
    return digest if len(digest) == 64 and not digest.strip("0123456789abcdef") else None
