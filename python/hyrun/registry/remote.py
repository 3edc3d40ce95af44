"""What a repository holds: manifests, the one for a platform, configurations, tags."""

import hashlib
from typing import NamedTuple
from urllib.parse import quote

from hyrun.archives.found import checked_config, foreign
from hyrun.documents import MAX_DOCUMENT, expect, parse_object, strings
from hyrun.errors import StorageError
from hyrun.image_config import digest_hex
from hyrun.manifests import INDEXES, MANIFESTS, SCHEMA_1, Descriptor, Manifest, flat, read_manifest
from hyrun.platforms import Platform, rank
from hyrun.references import Reference

from .client import Client
from .failures import document
from .urls import join, split

_ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
_MAX_PAGES = 1000


class Remote(NamedTuple):
    """An image as a registry has it, checked as far as documents go.

    ``digest`` is that of what the reference means there, which may be an index; ``manifest_data`` and
    ``manifest`` are of the chosen platform.
    """

    digest: str
    manifest_data: bytes
    manifest: Manifest


def resolve(client: Client, reference: Reference, platform: Platform | None) -> Remote:
    """Return the image that a reference means for ``platform`` (None: this machine).

    Raises RegistryError, and StorageError for what cannot be an image.
    """
    shown = reference.familiar()
    top = _manifest(client, reference.digest or reference.tag or "", shown)
    fit = rank if platform is None else platform.rank
    if top.media_type in MANIFESTS:
        data, chosen = top.data, Descriptor(top.media_type, top.digest, len(top.data), {}, {}, [])
    else:
        root = Descriptor(top.media_type, top.digest, len(top.data), {}, {}, [])
        known = {top.digest: top.data}

        def fetch(item: Descriptor) -> bytes:
            if item.digest not in known:
                known[item.digest] = _described(client, item, shown)
            return known[item.digest]

        candidates = flat(root, fetch)
        ranked = [(value, item) for item in candidates if (value := fit(*item.platform_words)) is not None]
        if not ranked:
            raise foreign(shown, [item.shown_platform for item in candidates], platform)
        chosen = min(ranked, key=lambda pair: pair[0])[1]
        data = fetch(chosen)
    return Remote(top.digest, data, read_manifest(data, chosen.digest, chosen.media_type, shown))


def config(
    client: Client, remote: Remote, reference: Reference, data: bytes | None, platform: Platform | None
) -> tuple[bytes, list[str]]:
    """Return the configuration of an image, and its diff ids in hexadecimal, lowest first.

    ``data`` is the configuration if it is here already. Raises RegistryError, StorageError.
    """
    item = remote.manifest.config
    if data is None or len(data) != item.size or _digest(data) != item.digest:
        if item.size > MAX_DOCUMENT:
            raise StorageError(f"configuration {item.digest} has {item.size} bytes: the limit is {MAX_DOCUMENT}")
        what = f"configuration {item.digest} of {reference.familiar()}"
        response = client.request("GET", f"/v2/{client.endpoint.repository}/blobs/{item.digest}", what=what).response
        data = _checked(document(response, what, item.size), item, what)
    checked = checked_config(data, len(remote.manifest.layers), reference.familiar(), platform)
    return data, checked["diff_ids"]


def tags(client: Client) -> list[str]:
    """Return all tags of the repository (distribution-spec, "Listing Tags"). Raises RegistryError, StorageError."""
    found: dict[str, None] = {}
    url = f"/v2/{client.endpoint.repository}/tags/list"
    what = f"{client.endpoint.repository} (its tags)"
    for _ in range(_MAX_PAGES):
        result = client.request("GET", url, what=what)
        listed = parse_object(document(result.response, what), what).get("tags")
        found.update(dict.fromkeys(strings(listed or [], what)))
        link, _, parameters = result.response.headers.get("Link", "").partition(">")
        if "next" not in parameters:
            return list(found)
        url = join(result.url, link.removeprefix("<"), what)
        if split(url, what)[:2] != split(result.url, what)[:2]:
            raise StorageError(f"{what}: the next page is on another server: refused")
    raise StorageError(f"{what}: more than {_MAX_PAGES} pages: refused")


class _Top(NamedTuple):
    media_type: str
    digest: str
    data: bytes


def _manifest(client: Client, name: str, shown: str) -> _Top:
    """Fetch what a tag or a digest means."""
    what = f"{client.endpoint.repository}{'@' if ':' in name else ':'}{name}"
    url = f"/v2/{client.endpoint.repository}/manifests/{quote(name, safe=':')}"
    response = client.request("GET", url, what=what, headers={"Accept": _ACCEPT}).response
    data = document(response, f"manifest {what}")
    digest = _digest(data)
    promised = response.headers.get("Docker-Content-Digest", "")
    if name.startswith("sha256:") and name != digest:
        raise StorageError(f"manifest {what}: its content has the digest {digest}: refused")
    if promised.startswith("sha256:") and promised != digest:
        raise StorageError(f"manifest {what} has the digest {digest}, its server says {promised[:100]}: refused")
    if ":" in name and not name.startswith("sha256:"):
        digest_hex(name, f"image {shown}: digest")
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type not in (*MANIFESTS, *INDEXES):
        # Some servers say application/json: then the document has to say what it is.
        fields = parse_object(data, f"manifest {what}")
        if media_type in SCHEMA_1 or fields.get("schemaVersion") == 1:
            raise StorageError(
                f"image {shown} has a manifest of docker's old schema 1, which no digest protects: push it again with "
                "a current docker, or let skopeo copy convert it"
            )
        if media_type in ("", "application/json", "text/plain"):
            media_type = expect(fields.get("mediaType"), str, f"manifest {what}: mediaType")
        if media_type not in (*MANIFESTS, *INDEXES):
            raise StorageError(f"image {shown}: {media_type[:100]!r} is no manifest of an image")
    return _Top(media_type, digest, data)


def _described(client: Client, item: Descriptor, shown: str) -> bytes:
    """Fetch the manifest or index that an index lists."""
    what = f"manifest {item.digest} of {shown}"
    if item.size > MAX_DOCUMENT:
        raise StorageError(f"{what} has {item.size} bytes: the limit is {MAX_DOCUMENT}")
    url = f"/v2/{client.endpoint.repository}/manifests/{item.digest}"
    response = client.request("GET", url, what=what, headers={"Accept": _ACCEPT}).response
    return _checked(document(response, what, item.size), item, what)


def _checked(data: bytes, item: Descriptor, what: str) -> bytes:
    if len(data) != item.size:
        raise StorageError(f"{what} has {len(data)} bytes, its descriptor says {item.size}: refused")
    if _digest(data) != item.digest:
        raise StorageError(f"{what}: its content has the digest {_digest(data)}: refused")
    return data


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
