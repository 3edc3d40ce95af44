"""One blob from the store to a repository: skipped, mounted from a neighbour, or sent, and resumed where it broke.

Source: OCI distribution-spec, "Pushing blobs".
"""

import os
from typing import NamedTuple
from urllib.parse import quote

from hyrun import _core, layer_tar
from hyrun.errors import RegistryError
from hyrun.layers import kept
from hyrun.progress import Progress
from hyrun.store import Store

from .client import ATTEMPTS, BACK_OFF, Client, Result
from .transport import Broken, Transport, finish
from .urls import join

#: Blobs up to this many bytes go in one request after the first (the spec's "POST then PUT").
_SMALL = 1 << 20
#: Bytes after which a connection that breaks is not counted as another failure.
_PROGRESS = 1 << 20
_STREAM = {"Content-Type": "application/octet-stream"}
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


class LayerBlob(NamedTuple):
    """The bytes of a layer as they travel; ``fd`` is the caller's to close."""

    fd: int
    digest: str
    size: int
    media_type: str


def layer_blob(
    store: Store, diff_id: str, compression: str | None = None, meter: _core.Meter | None = None
) -> LayerBlob:
    """Return the bytes to send for a layer (hexadecimal diff id).

    Those that it came with from a registry, so that its digest is the same everywhere, unless ``compression`` names
    another form; otherwise its tar, packed anew in that form (gzip without it), which gives the same bytes each time.
    ``meter`` counts the bytes of that tar. Raises StorageError for a layer that is damaged.
    """
    blob = kept(store, diff_id)
    form = None if blob is None else _form(blob.fd)
    if blob is not None and compression not in (None, form):
        os.close(blob.fd)
        blob = None
    if blob is None:
        form = compression or "gzip"
        # Without a name: it goes with the descriptor, whatever happens.
        fd = os.open(store.path("tmp"), os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        try:
            packed = layer_tar.write(store, diff_id, fd, compression=form, meter=meter)
        except BaseException:
            os.close(fd)
            raise
        return LayerBlob(fd, packed.digest, packed.compressed_size, f"{_OCI_LAYER}+{form}")
    return LayerBlob(blob.fd, blob.digest, blob.size, f"{_OCI_LAYER}+{form}" if form else _OCI_LAYER)


def _form(fd: int) -> str | None:
    """Tell the compression of a layer by its first bytes; None for a plain tar."""
    magic = os.pread(fd, 4, 0)
    if magic[:2] == b"\x1f\x8b":
        return "gzip"
    # A frame, or one that is skipped (RFC 8878, 3.1.2), with which some encoders begin.
    skippable = magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50
    return "zstd" if magic == b"\x28\xb5\x2f\xfd" or skippable else None


def exists(client: Client, digest: str) -> bool:
    """Tell whether the repository has a blob. Raises RegistryError."""
    url = f"/v2/{client.endpoint.repository}/blobs/{digest}"
    response = client.request("HEAD", url, what=f"blob {digest}", hoped=(200, 404)).response
    finish(response)
    return response.status == 200


def mount(client: Client, digest: str, source: str) -> bool:
    """Let the repository take a blob from ``source``, a repository of the same registry; tell whether it did."""
    url = f"/v2/{client.endpoint.repository}/blobs/uploads/?mount={quote(digest)}&from={quote(source)}"
    try:
        result = client.request("POST", url, what=f"blob {digest}", hoped=(201, 202), body=b"")
    except RegistryError as error:
        # We may not read there, or the registry does not mount: then the bytes have to go.
        if error.status is None or error.status >= 500 or error.status == 429:
            raise
        return False
    finish(result.response)
    if result.response.status == 201:
        return True
    # It has begun an upload instead; one is begun anew, as one that was not asked for may be of another kind.
    _cancel(client, result)
    return False


def send(client: Client, fd: int, digest: str, size: int, name: str, progress: Progress) -> None:
    """Upload a blob; ``name`` is its part of ``progress``. Raises RegistryError."""
    what = f"blob {digest}"
    failures = 0
    location = _begin(client, what)
    sent = furthest = 0
    while True:
        try:
            if size <= _SMALL:
                body = os.pread(fd, size, 0)
                _commit(client, location, digest, what, body)
                progress.advance(name, size)
                return
            if sent < size:
                location, sent = _send_rest(client, fd, location, sent, size, what, name, progress)
                if sent < size:
                    raise Broken(f"registry {client.endpoint.server} takes {sent} of {size} bytes of {what} only")
            _commit(client, location, digest, what, b"")
            return
        except RegistryError as error:
            if not isinstance(error, Broken) and error.status not in (404, 408, 416, 429, 500, 502, 503, 504):
                raise
            failures += 1
            if failures == ATTEMPTS:
                raise
        client.transport.wait(BACK_OFF * 2 ** (failures - 1))
        location, sent = _resumed(client, location, what)
        if sent - furthest >= _PROGRESS:
            failures, furthest = 0, sent
        progress.restart(name)
        progress.advance(name, sent)


def _begin(client: Client, what: str) -> str:
    url = f"/v2/{client.endpoint.repository}/blobs/uploads/"
    result = client.request("POST", url, what=what, hoped=(202,), body=b"")
    finish(result.response)
    return _location(client, result.url, result.response.headers.get("Location"), what)


def _send_rest(
    client: Client, fd: int, location: str, start: int, size: int, what: str, name: str, progress: Progress
) -> tuple[str, int]:
    """Send everything from ``start`` on; return where to go on, and how many bytes the registry has."""
    headers = {**_STREAM, "Content-Length": str(size - start), "Content-Range": f"{start}-{size - 1}"}
    body = _Body(fd, start, client.transport, name, progress)
    result = client.request("PATCH", location, what=what, hoped=(202, 204), headers=headers, body=body, again=False)
    finish(result.response)
    has = _received(result.response.headers.get("Range"))
    location = _location(client, result.url, result.response.headers.get("Location") or location, what)
    return location, size if has is None else has


def _commit(client: Client, location: str, digest: str, what: str, body: bytes) -> None:
    """End an upload, with the last bytes of it or without any."""
    url = f"{location}{'&' if '?' in location else '?'}digest={quote(digest)}"
    finish(client.request("PUT", url, what=what, hoped=(201, 204), headers=_STREAM, body=body, again=False).response)


def _resumed(client: Client, location: str, what: str) -> tuple[str, int]:
    """Ask how much of an upload has arrived; begin another one if it is not known any more."""
    try:
        result = client.request("GET", location, what=what, hoped=(202, 204))
    except RegistryError as error:
        if error.status is None:
            raise
        return _begin(client, what), 0
    finish(result.response)
    has = _received(result.response.headers.get("Range"))
    if has is None:
        return _begin(client, what), 0
    return _location(client, result.url, result.response.headers.get("Location") or location, what), has


def _received(header: str | None) -> int | None:
    """Return how many bytes ``0-N`` says; registries write 0-0 for none as well."""
    start, _, end = (header or "").removeprefix("bytes=").partition("-")
    if start != "0" or not end.isascii() or not end.isdecimal():
        return None
    return int(end) + 1 if end != "0" else 0


def _location(client: Client, url: str, header: str | None, what: str) -> str:
    if not header:
        raise RegistryError(f"registry {client.endpoint.server} does not say where to send {what}")
    target = join(url, header, f"registry {client.endpoint.server} says where to send {what}")
    if url.startswith("https:") and not target.startswith("https:"):
        raise RegistryError(
            f"registry {client.endpoint.server} wants {what} without TLS, at {target[:100]!r}: refused; if a proxy is "
            "before it, that has to pass X-Forwarded-Proto on"
        )
    return target


def _cancel(client: Client, begun: Result) -> None:
    try:
        location = _location(client, begun.url, begun.response.headers.get("Location"), "an upload")
        finish(client.request("DELETE", location, what="an upload", hoped=(204, 202, 200), again=False).response)
    except RegistryError:
        pass  # it ends by itself: registries sweep uploads that nobody finishes


class _Body:
    """The rest of a file for urllib3, counted as it is read. It cannot be sent twice: ``send`` decides how to go on."""

    def __init__(self, fd: int, offset: int, transport: Transport, name: str, progress: Progress) -> None:
        self._fd = fd
        self._offset = offset
        self._transport = transport
        self._name = name
        self._progress = progress

    def read(self, amount: int) -> bytes:
        self._transport.check()
        data = os.pread(self._fd, amount, self._offset)
        self._offset += len(data)
        self._progress.advance(self._name, len(data))
        return data
