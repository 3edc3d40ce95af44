"""One layer from a registry into the store: resumed where it broke, also in another process, and checked."""

import hashlib
import os
from collections.abc import Callable, Sequence

from hyrun.errors import RegistryError, StorageError
from hyrun.image_store import publishing
from hyrun.layers import add, present
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
    store: Store, clients: Sequence[Client], item: Descriptor, diff_id: str, progress: Progress, *, keep: bool
) -> None:
    """Download and unpack a layer, unless it is there; ``diff_id`` is hexadecimal, and claimed by the caller.

    ``clients`` are asked in turn. ``keep`` makes the compressed bytes stay. Raises RegistryError, StorageError.
    """
    shown = item.hex[:12]
    transport = clients[0].transport
    progress.item(shown, "Waiting", item.size)
    with partial(store, item.hex, transport) as file:
        if present(store, diff_id):
            # Somebody else was faster.
            file.remove()
            progress.item(shown, "Already exists")
            return
        _complete(file, clients, item, progress)
        progress.item(shown, "Download complete")
        transport.check()
        progress.item(shown, "Extracting")
        with publishing(store):
            add(
                store,
                file.fd,
                offset=0,
                length=item.size,
                diff_id=f"sha256:{diff_id}",
                digest=item.digest,
                keep=file.path if keep else None,
            )
        file.remove()
        progress.item(shown, "Pull complete")


def _complete(file: partial, clients: Sequence[Client], item: Descriptor, progress: Progress) -> None:
    """Make the file whole; the bytes that an earlier process left are the beginning of it."""
    left_over = os.fstat(file.fd).st_size > 0
    errors: list[RegistryError | StorageError] = []
    for client in clients:
        try:
            if _download(file, client, item, progress):
                return
            if left_over:
                # What another process left was no beginning of it: once more, from nothing.
                left_over = False
                if _download(file, client, item, progress):
                    return
            errors.append(
                StorageError(
                    f"layer {item.digest}: the bytes from registry {client.endpoint.server} have another digest"
                )
            )
        except (RegistryError, StorageError) as error:
            errors.append(error)
    raise errors[-1]


def _download(file: partial, client: Client, item: Descriptor, progress: Progress) -> bool:
    """Get what is missing from one server; tell whether the whole has the digest (else the file is empty again)."""
    shown = item.hex[:12]
    digest = _hash_of(file.fd, item.size, lambda amount: progress.advance(shown, amount))
    progress.item(shown, "Downloading")
    failures = 0
    while (have := os.fstat(file.fd).st_size) < item.size:
        try:
            digest = _transfer(file.fd, client, item, digest, progress)
        except Broken:
            got = os.fstat(file.fd).st_size - have
            failures = 0 if got >= _PROGRESS else failures + 1
            if failures == ATTEMPTS:
                raise
            client.transport.wait(BACK_OFF * 2 ** max(0, failures - 1))
    progress.item(shown, "Verifying Checksum")
    if f"sha256:{digest.hexdigest()}" == item.digest:
        return True
    os.ftruncate(file.fd, 0)
    progress.restart(shown)
    return False


def _transfer(
    fd: int, client: Client, item: Descriptor, digest: "hashlib._Hash", progress: Progress
) -> "hashlib._Hash":
    """Append what one response brings; return the digest so far."""
    have = os.lseek(fd, 0, os.SEEK_END)
    shown = item.hex[:12]
    what = f"layer {item.digest} of {client.endpoint.repository}"
    headers = {"Range": f"bytes={have}-{item.size - 1}"} if have else {}
    url = f"/v2/{client.endpoint.repository}/blobs/{item.digest}"
    try:
        response = client.request("GET", url, what=what, headers=headers, hoped=(200, 206, 416)).response
    except Broken as error:
        # It was tried often enough; only what breaks on the way is gone on with.
        raise RegistryError(str(error)) from None
    try:
        if response.status == 206 and _begins_at(response.headers.get("Content-Range"), have):
            pass
        elif response.status == 200 or have:
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            digest = hashlib.sha256()
            progress.restart(shown)
            have = 0
            if response.status != 200:
                # The server has another idea of these bytes; without a range it sends all of them.
                response.close()
                return digest
        else:
            raise RegistryError(f"{what}: registry {client.endpoint.server} sends a range that nobody asked for")
        while chunk := read(response, _CHUNK, what):
            have += len(chunk)
            if have > item.size:
                os.ftruncate(fd, 0)
                raise StorageError(f"{what}: more than the {item.size} bytes that its descriptor says: refused")
            digest.update(chunk)
            _write(fd, chunk)
            progress.advance(shown, len(chunk))
            client.transport.check()
    except BaseException:
        response.close()
        raise
    response.release_conn()
    if have < item.size:
        raise Broken(f"{what}: {have} of {item.size} bytes came from registry {client.endpoint.server}")
    return digest


def _hash_of(fd: int, limit: int, advance: Callable[[int], None]) -> "hashlib._Hash":
    """Return the digest of what is there already; more than there should be is no beginning of it."""
    digest = hashlib.sha256()
    if os.fstat(fd).st_size > limit:
        os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    while chunk := os.read(fd, _CHUNK):
        digest.update(chunk)
        advance(len(chunk))
    return digest


def _begins_at(header: str | None, offset: int) -> bool:
    """Tell whether a Content-Range begins there: ``bytes 5-9/10``."""
    unit, _, rest = (header or "").partition(" ")
    return unit == "bytes" and rest.partition("-")[0] == str(offset)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
