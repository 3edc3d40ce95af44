"""One layer from a registry into the store: resumed where it broke, also in another process, and checked."""

import hashlib
import os
from collections.abc import Callable

from hyrun import _core
from hyrun.errors import RegistryError, StorageError
from hyrun.image_store import publishing
from hyrun.layers import add, present, sound
from hyrun.manifests import Descriptor
from hyrun.progress import Progress
from hyrun.store import Store

from .client import ATTEMPTS, BACK_OFF, Client
from .failures import read
from .partial import partial
from .transport import Broken

_CHUNK = 1 << 18
#: Bytes after which a connection that breaks is not counted as another failure: it does get on.
_PROGRESS = 1 << 20


def fetch_layer(
    store: Store,
    client: Client,
    item: Descriptor,
    diff_id: str,
    progress: Progress,
    *,
    keep: bool,
    cancellation: _core.Cancellation,
) -> None:
    """Download and unpack a layer, unless it is there whole; ``diff_id`` is hexadecimal, and claimed by the caller.

    ``keep`` makes the compressed bytes stay. ``cancellation`` ends the unpacking;
    what was downloaded stays for the next time. Raises RegistryError, StorageError.
    """
    shown = item.hex[:12]
    transport = client.transport
    progress.item(shown, "Waiting", item.size)
    with partial(store, item.hex, transport) as file:
        if sound(store, diff_id, contents=False):
            # Somebody else was faster.
            file.remove()
            progress.item(shown, "Already exists")
            return
        _complete(file, client, item, progress)
        progress.item(shown, "Download complete")
        transport.check()
        meter = _core.Meter()
        progress.aside(shown, "Extracting", item.size, meter)
        with publishing(store):
            add(
                store,
                file.fd,
                offset=0,
                length=item.size,
                diff_id=f"sha256:{diff_id}",
                digest=item.digest,
                keep=file.path if keep else None,
                cancellation=cancellation,
                meter=meter,
                replace=present(store, diff_id),
            )
        file.remove()
        progress.item(shown, "Pull complete")


def _complete(file: partial, client: Client, item: Descriptor, progress: Progress) -> None:
    """Make the file whole; the bytes that an earlier process left are the beginning of it."""
    left_over = os.fstat(file.fd).st_size > 0
    # What was left may be no beginning of it: once more then, from nothing.
    if not _download(file, client, item, progress) and not (left_over and _download(file, client, item, progress)):
        raise StorageError(f"layer {item.digest}: the bytes from registry {client.endpoint.server} have another digest")


def _download(file: partial, client: Client, item: Descriptor, progress: Progress) -> bool:
    """Get what is missing from one server; tell whether the whole has the digest (else the file is empty again)."""
    shown = item.hex[:12]
    progress.restart(shown)
    received = _Received(file.fd, item.size, lambda amount: progress.advance(shown, amount))
    progress.item(shown, "Downloading")
    failures = 0
    while received.size < item.size:
        before = received.size
        try:
            _transfer(received, client, item, progress)
        except Broken:
            failures = 0 if received.size - before >= _PROGRESS else failures + 1
            if failures == ATTEMPTS:
                raise
            client.transport.wait(BACK_OFF * 2 ** max(0, failures - 1))
    progress.item(shown, "Verifying Checksum")
    if received.digest == item.digest:
        return True
    received.forget()
    progress.restart(shown)
    return False


def _transfer(received: "_Received", client: Client, item: Descriptor, progress: Progress) -> None:
    """Append what one response brings. Raises Broken when that ends too early."""
    shown = item.hex[:12]
    what = f"layer {item.digest} of {client.endpoint.repository}"
    have = received.size
    headers = {"Range": f"bytes={have}-{item.size - 1}"} if have else {}
    url = f"/v2/{client.endpoint.repository}/blobs/{item.digest}"
    try:
        response = client.request("GET", url, what=what, headers=headers, hoped=(200, 206, 416)).response
    except Broken as error:
        # It was tried often enough; only what breaks on the way is gone on with.
        raise RegistryError(str(error)) from None
    try:
        if response.status != 206 or not _begins_at(response.headers.get("Content-Range"), have):
            if response.status != 200 and not have:
                raise RegistryError(f"{what}: registry {client.endpoint.server} sends a range that nobody asked for")
            received.forget()
            progress.restart(shown)
            if response.status != 200:
                # The server has another idea of these bytes; without a range it sends all of them.
                response.close()
                return
        while chunk := read(response, _CHUNK, what):
            if received.size + len(chunk) > item.size:
                received.forget()
                raise StorageError(f"{what}: more than the {item.size} bytes that its descriptor says: refused")
            received.append(chunk)
            progress.advance(shown, len(chunk))
            client.transport.check()
    except BaseException:
        response.close()
        raise
    response.release_conn()
    if received.size < item.size:
        raise Broken(f"{what}: {received.size} of {item.size} bytes came from registry {client.endpoint.server}")


class _Received:
    """The bytes of a blob that are there, and their digest."""

    def __init__(self, fd: int, limit: int, advance: Callable[[int], None]) -> None:
        """Read what is in the file already; more than ``limit`` bytes are no beginning of the blob."""
        self._fd = fd
        self._hash = hashlib.sha256()
        self.size = 0
        if os.fstat(fd).st_size > limit:
            os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        while chunk := os.read(fd, _CHUNK):
            self._hash.update(chunk)
            self.size += len(chunk)
            advance(len(chunk))

    @property
    def digest(self) -> str:
        """The digest of what is there."""
        return f"sha256:{self._hash.hexdigest()}"

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self.size += len(data)

    def forget(self) -> None:
        """Begin with nothing again."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.size = 0


def _begins_at(header: str | None, offset: int) -> bool:
    """Tell whether a Content-Range begins there: ``bytes 5-9/10``."""
    unit, _, rest = (header or "").partition(" ")
    return unit == "bytes" and rest.partition("-")[0] == str(offset)
