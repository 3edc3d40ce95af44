"""Images from the store to a registry: layers and configuration first, the manifest last."""

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from hyrun import _core, events
from hyrun.errors import InvalidArgument, NotFound, RegistryError, StorageError
from hyrun.image_config import Record
from hyrun.image_inspect import diff_ids
from hyrun.image_store import put_blob, records, tag_digest, tags
from hyrun.images import HOST, read_record, read_tag
from hyrun.layer_tar import check_compression
from hyrun.layers import find
from hyrun.lineage import refuse_unportable
from hyrun.manifests import MANIFESTS, Descriptor, Manifest, layer_compression, oci_layer, read_manifest
from hyrun.progress import Progress
from hyrun.references import Reference
from hyrun.store import Store

from . import endpoints, hosts
from .client import Client
from .pulling import CONCURRENT
from .transport import Transport, finish
from .upload import exists, layer_blob, mount, send

#: How many repositories are asked for a layer before it is sent.
_NEIGHBOURS = 3
_OCI_MANIFEST, _OCI_CONFIG = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json"


class Pushed(NamedTuple):
    """What the registry has now: the manifest's digest, and its bytes."""

    reference: Reference
    digest: str
    size: int


class _Image(NamedTuple):
    """What there is to push; ``manifest`` is the one the image came with, if it did."""

    config: bytes
    config_digest: str
    diff_ids: list[str]
    manifest: Manifest | None
    manifest_data: bytes


def push(
    store: Store, reference: Reference, *, compression: str | None = None, progress: Progress | None = None
) -> Pushed:
    """Push the image of that name to where the name says.

    An image that came from a registry keeps its manifest, and so its digest, unless ``compression`` (``gzip`` or
    ``zstd``) is not what its layers have: those are packed anew then, for an OCI manifest. Raises NotFound,
    InvalidArgument (an image that is not whole without a directory of this machine), RegistryError and StorageError.
    """
    if compression is not None:
        check_compression(compression)
    shown = progress or Progress()
    if reference.familiar() == f"{HOST}:latest":
        raise InvalidArgument(f"{HOST} cannot be pushed: it is this machine's own root file system")
    name = read_tag(store, reference.full())
    if name is None or reference.tag is None:
        raise NotFound(f"no image {reference.familiar()} here: hyrun tag IMAGE {reference.familiar()} first")
    record = read_record(store, name)
    refuse_unportable(record.get("base", ""), f"image {reference.familiar()}", "it can be used on this machine only")
    image = _image(store, record, reference)
    shown.say(f"The push refers to repository [{reference.name()}]")
    with Transport(hosts.read()) as transport:
        (endpoint,) = endpoints.of(reference, transport.hosts, mirrors=False)
        client = Client(transport, endpoint, warn=lambda text: shown.say(f"Warning: {text}"))
        layers = _push_layers(store, client, image, compression, reference, shown)
        if not exists(client, image.config_digest):
            _send_document(client, image, shown)
        pushed = _push_manifest(store, client, image, layers, reference, shown)
    try:
        tag_digest(store, reference, pushed.digest, record["id"])
    except NotFound:
        pass  # removed here meanwhile: the registry has it
    labels = record["config"].get("Labels")
    events.of_image(store, "push", reference.familiar(), reference.familiar_name(), labels)
    return pushed


def push_all(
    store: Store, reference: Reference, *, compression: str | None = None, progress: Progress | None = None
) -> list[Pushed]:
    """Push all tags of a repository that are here; errors as in ``push``."""
    if compression is not None:
        check_compression(compression)
    found = [each for listed in tags(store).values() for each in listed if each.name() == reference.name() and each.tag]
    if not found:
        raise NotFound(f"no image of {reference.name()} here: hyrun tag IMAGE {reference.name()}:TAG first")
    return [push(store, each, compression=compression, progress=progress) for each in sorted(found, key=Reference.full)]


def _image(store: Store, record: Record, reference: Reference) -> _Image:
    listed = [name.removeprefix("sha256:") for name in diff_ids(store, record)]
    with open(store.path("blobs", "sha256", record["id"][7:]), "rb") as file:
        config = file.read()
    manifest, data = None, b""
    if record["digest"] is not None:
        try:
            with open(store.path("blobs", "sha256", record["digest"][7:]), "rb") as file:
                data = file.read()
            manifest = read_manifest(data, record["digest"], _media_type(data), reference.familiar())
        except FileNotFoundError:
            pass  # a new one is made
        if manifest is not None and (len(manifest.layers) != len(listed) or manifest.config.digest != record["id"]):
            manifest = None
    return _Image(config, record["id"], listed, manifest, data)


def _media_type(data: bytes) -> str:
    """Return the type of a manifest; one that does not say is of OCI (manifest.md)."""
    try:
        value = json.loads(data).get("mediaType", MANIFESTS[0])
    except (ValueError, AttributeError):
        raise StorageError("the manifest in the store is damaged: pull or load the image again") from None
    return str(value)


def _push_layers(
    store: Store, client: Client, image: _Image, compression: str | None, reference: Reference, progress: Progress
) -> dict[str, Descriptor]:
    """Bring all layers there, several at once; return their descriptors by diff id."""
    promised = {} if image.manifest is None else dict(zip(image.diff_ids, image.manifest.layers, strict=True))
    if compression is not None:
        promised = {
            diff_id: layer for diff_id, layer in promised.items() if layer_compression(layer.media_type) == compression
        }
    neighbours = _neighbours(store, reference)
    unique = list(dict.fromkeys(image.diff_ids))
    for diff_id in unique:
        progress.item(diff_id[:12], "Preparing", promised[diff_id].size if diff_id in promised else None)
    with ThreadPoolExecutor(CONCURRENT, "hyrun-push") as pool:
        try:
            futures = [
                pool.submit(
                    _push_layer,
                    store,
                    client,
                    diff_id,
                    compression,
                    promised.get(diff_id),
                    neighbours.get(diff_id, ()),
                    progress,
                )
                for diff_id in unique
            ]
            return {diff_id: future.result() for diff_id, future in zip(unique, futures, strict=True)}
        except BaseException:
            client.transport.cancelled.set()
            pool.shutdown(cancel_futures=True)
            raise


def _push_layer(
    store: Store,
    client: Client,
    diff_id: str,
    compression: str | None,
    promised: Descriptor | None,
    neighbours: Iterable[str],
    progress: Progress,
) -> Descriptor:
    shown = diff_id[:12]
    if promised is not None:
        if exists(client, promised.digest):
            progress.item(shown, "Layer already exists")
            return promised
        for neighbour in neighbours:
            if mount(client, promised.digest, neighbour):
                progress.item(shown, f"Mounted from {neighbour}")
                return promised
    meter = _core.Meter()
    progress.aside(shown, "Preparing", find(store, diff_id).size, meter)
    blob = layer_blob(store, diff_id, compression, meter)
    try:
        same = promised is not None and promised.digest == blob.digest
        if not same and exists(client, blob.digest):
            progress.item(shown, "Layer already exists")
        else:
            progress.item(shown, "Pushing", blob.size)
            send(client, blob.fd, blob.digest, blob.size, shown, progress)
            progress.item(shown, "Pushed")
    finally:
        os.close(blob.fd)
    if same and promised is not None:
        return promised
    return Descriptor(blob.media_type, blob.digest, blob.size, {}, {}, [])


def _neighbours(store: Store, reference: Reference) -> dict[str, list[str]]:
    """Return, by diff id, the repositories of the same registry that ought to have that layer."""
    named = tags(store)
    found: dict[str, list[str]] = {}
    for record in records(store):
        for other in named.get(record["id"], ()):
            if other.domain == reference.domain and other.path != reference.path:
                for diff_id in record["layers"]:
                    paths = found.setdefault(diff_id, [])
                    if other.path not in paths and len(paths) < _NEIGHBOURS:
                        paths.append(other.path)
    return found


def _send_document(client: Client, image: _Image, progress: Progress) -> None:
    # A file in memory, so that there is one way to send a blob.
    fd = os.memfd_create("config", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(image.config)
        send(client, fd, image.config_digest, len(image.config), "config", Progress())
    finally:
        os.close(fd)


def _push_manifest(
    store: Store, client: Client, image: _Image, layers: dict[str, Descriptor], reference: Reference, progress: Progress
) -> Pushed:
    listed = [layers[diff_id] for diff_id in image.diff_ids]
    if image.manifest is not None and [item.digest for item in listed] == [
        item.digest for item in image.manifest.layers
    ]:
        data, media_type = image.manifest_data, _media_type(image.manifest_data)
    else:
        data, media_type = _new_manifest(image, listed), _OCI_MANIFEST
    digest = put_blob(store, data) if image.manifest_data == data else _digest(data)
    url = f"/v2/{client.endpoint.repository}/manifests/{reference.tag}"
    what = f"{client.endpoint.repository}:{reference.tag}"
    response = client.request(
        "PUT", url, what=what, hoped=(201, 202), headers={"Content-Type": media_type}, body=data
    ).response
    finish(response)
    said = response.headers.get("Docker-Content-Digest", digest)
    if said.startswith("sha256:") and said != digest:
        raise RegistryError(f"registry {client.endpoint.server} has stored {what} as {said[:100]}, not as {digest}")
    progress.say(f"{reference.tag}: digest: {digest} size: {len(data)}")
    return Pushed(reference, digest, len(data))


def _new_manifest(image: _Image, layers: list[Descriptor]) -> bytes:
    """Return a manifest of OCI for layers that have other bytes than those that the image came with."""
    document = {
        "schemaVersion": 2,
        "mediaType": _OCI_MANIFEST,
        "config": {"mediaType": _OCI_CONFIG, "digest": image.config_digest, "size": len(image.config)},
        "layers": [
            {"mediaType": oci_layer(item.media_type), "digest": item.digest, "size": item.size} for item in layers
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    import hashlib

    return f"sha256:{hashlib.sha256(data).hexdigest()}"
