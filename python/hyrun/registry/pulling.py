"""Images from a registry into the store: `pull`, and what `run` does about an image that is not here."""

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from errno import EDQUOT, ENOSPC
from typing import NamedTuple, TypeVar

from hyrun import _core, events
from hyrun.claims import claim
from hyrun.errors import HyrunError, ImageNotFound, NotFound, RegistryError, StorageError
from hyrun.image_config import parse_config
from hyrun.image_store import publish, publishing, recording, refuse_reserved, sweep_now, tag, tag_digest
from hyrun.images import HOST, read_record, read_tag, resolve
from hyrun.layers import Layer, find, present, sound
from hyrun.manifests import Descriptor
from hyrun.platforms import Platform, parse_platform
from hyrun.progress import Progress
from hyrun.references import Reference, is_id_prefix, parse
from hyrun.staging import staging
from hyrun.store import Store

from . import endpoints, hosts, remote
from .client import Client
from .download import fetch_layer
from .partial import discard, remove_old
from .transport import Transport

#: Layers at once: docker's number.
CONCURRENT = 3
POLICIES = ("always", "missing", "never")

T = TypeVar("T")


class Pulled(NamedTuple):
    """What a pull brought: ``digest`` is that of the reference at the registry; ``fresh`` tells whether it is news."""

    reference: Reference
    image_id: str
    digest: str
    fresh: bool


def pull(
    store: Store, reference: Reference, *, platform: Platform | None = None, progress: Progress | None = None
) -> Pulled:
    """Bring the image that a reference means into the store, under that name.

    ``platform`` is one that was asked for; None takes what fits this machine best. Raises RegistryError (refused,
    unreachable), StorageError (what came is damaged, hostile or of another platform) and InvalidArgument. After an
    error the store has the images and names it had before.
    """
    refuse_reserved(reference)
    shown = progress or Progress()
    with Transport(hosts.read()) as transport:
        clients = _clients(transport, reference, shown)
        return _pull(store, clients, reference.pinned(), platform, shown)


def pull_all(
    store: Store, reference: Reference, *, platform: Platform | None = None, progress: Progress | None = None
) -> list[Pulled]:
    """Bring all tags of a repository; errors as in ``pull``."""
    shown = progress or Progress()
    with Transport(hosts.read()) as transport:
        clients = _clients(transport, reference, shown)
        names, _ = _first(clients, remote.tags, shown)
        if not names:
            raise RegistryError(f"registry {reference.domain} has no tags of {reference.path}")
        references = [parse(f"{reference.name()}:{name}") for name in names]
        return [_pull(store, clients, each, platform, shown) for each in references]


def ensure(store: Store, reference: str, policy: str, platform: str | None, progress: Progress) -> None:
    """Make sure that an image is here, as `run --pull` says: ``always`` asks the registry, ``missing`` if need be.

    Raises ImageNotFound, with why it could not be pulled, and what ``pull`` raises for ``always``.
    """
    wanted = None if platform is None else parse_platform(platform)
    if reference == HOST or _is_id(store, reference):
        return
    parsed = parse(reference)
    if policy != "always":
        missing = _missing(store, parsed, wanted)
        if missing is None:
            return
        if policy == "never":
            raise ImageNotFound(missing)
    refuse_reserved(parsed)
    store.prepare()
    try:
        with Transport(hosts.read()) as transport:
            clients = _clients(transport, parsed, progress)
            if policy != "always":
                progress.say(f"Unable to find image '{parsed.familiar()}' locally")
            pulled = _pull(store, clients, parsed.pinned(), wanted, progress)
    except (RegistryError, StorageError) as error:
        if policy == "always":
            raise
        raise ImageNotFound(f"no image {parsed.familiar()} here, and it cannot be pulled: {error}") from None
    for line in summary(pulled):
        progress.say(line)


def summary(pulled: Pulled) -> list[str]:
    """Return docker's last lines of a pull."""
    name = pulled.reference.familiar()
    news = f"Downloaded newer image for {name}" if pulled.fresh else f"Image is up to date for {name}"
    return [f"Digest: {pulled.digest}", f"Status: {news}"]


def _is_id(store: Store, text: str) -> bool:
    """Tell whether a text is the id of an image that is here, or the beginning of it: no name for a registry."""
    if not is_id_prefix(text):
        return False
    try:
        return resolve(store, text).startswith(text.removeprefix("sha256:"))
    except ImageNotFound:
        return False


def _missing(store: Store, reference: Reference, wanted: Platform | None) -> str | None:
    """Return why an image has to be pulled; None when it is here, of the platform that is wanted."""
    try:
        record = read_record(store, resolve(store, reference.full()))
    except NotFound as error:
        return str(error)
    if wanted is None or wanted.rank(record["os"], record["architecture"], record["variant"]) is not None:
        return None
    return f"the image {reference.familiar()} that is here is for {record['os']}/{record['architecture']}, not {wanted}"


def _clients(transport: Transport, reference: Reference, progress: Progress) -> list[Client]:
    def warn(text: str) -> None:
        progress.say(f"Warning: {text}")

    return [Client(transport, endpoint, warn=warn) for endpoint in endpoints.of(reference, transport.hosts)]


def _first(clients: list[Client], function: Callable[[Client], T], progress: Progress) -> tuple[T, list[Client]]:
    """Return what the first server gives that can, and the servers from that one on."""
    for index, client in enumerate(clients):
        try:
            return function(client), clients[index:]
        except (RegistryError, StorageError) as error:
            if index == len(clients) - 1:
                raise
            # What a mirror does not have is no news.
            if not isinstance(error, RegistryError) or error.status != 404:
                progress.say(f"Mirror {client.endpoint.server} is left out: {error}")
    raise AssertionError("unreachable: the last client returns or raises")


def _pull(
    store: Store, clients: list[Client], reference: Reference, platform: Platform | None, progress: Progress
) -> Pulled:
    """Bring an image from the first server that has all of it.

    What a mirror lacks is not asked of the next server, which may mean another image by that name: that one is asked
    what it means. Layers that came before that are here then.
    """
    try:
        pulled, _ = _first(clients, lambda client: _pull_from(store, client, reference, platform, progress), progress)
    except StorageError:
        # After a failure of the network, what came before it is worth keeping for the next time: not after this.
        sweep_now(store)
        raise
    except OSError as error:
        if isinstance(error, HyrunError) or error.errno not in (ENOSPC, EDQUOT):
            raise
        raise StorageError(
            f"pull of {reference.familiar()} into {store.root}: {error.strerror}: make room and pull again, which goes "
            "on where this one stopped; hyrun system prune removes interrupted downloads"
        ) from None
    return pulled


def _pull_from(
    store: Store, client: Client, reference: Reference, platform: Platform | None, progress: Progress
) -> Pulled:
    found = remote.resolve(client, reference, platform)
    progress.say(f"{reference.tag or reference.digest}: Pulling from {reference.path}")
    image_id = found.manifest.config.digest
    known = _blob(store, found.manifest.config.hex)
    config, diff_ids = remote.config(client, found, reference, known, platform)
    with ExitStack() as stack:
        with publishing(store):
            claim(stack.enter_context(staging(store)), diff_ids)
        # After the claim: what a pull that was killed has unpacked of this image is not thrown away.
        sweep_now(store)
        remove_old(store)
        _fetch(store, client, dict(zip(diff_ids, found.manifest.layers, strict=True)), progress)
        with publishing(store):
            layers = [_found(store, diff_id) for diff_id in diff_ids]
            before = read_tag(store, reference.full())
            publish(store, config, layers, manifest=found.manifest_data)
            with recording(store):
                tag_digest(store, reference, found.digest, image_id)
                tag(store, reference, image_id)
    labels = parse_config(config)["config"].get("Labels")
    events.of_image(store, "pull", reference.familiar(), reference.familiar_name(), labels)
    return Pulled(reference, image_id, found.digest, before != image_id[7:])


def _fetch(store: Store, client: Client, layers: dict[str, Descriptor], progress: Progress) -> None:
    """Bring the layers (by diff id, hexadecimal) into the store, several at once; the first error ends all of it."""
    transport = client.transport
    missing: dict[str, Descriptor] = {}
    for diff_id, item in layers.items():
        # Not every byte of it: that would take longer than a pull of what is here.
        here = sound(store, diff_id, contents=False)
        progress.item(item.hex[:12], "Already exists" if here else "Pulling fs layer", item.size)
        if here:
            discard(store, item.hex)
        else:
            missing[diff_id] = item
    if not missing:
        return
    keep = transport.hosts.keep_layers
    cancellation = _core.Cancellation()
    with ExitStack() as stack, ThreadPoolExecutor(CONCURRENT, "hyrun-pull") as pool:
        try:
            futures = [
                pool.submit(fetch_layer, store, client, item, diff_id, progress, keep=keep, cancellation=cancellation)
                for diff_id, item in missing.items()
            ]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            # The others stop at their next piece; what they have got so far is kept for the next time.
            stack.callback(transport.cancelled.clear)
            transport.cancelled.set()
            cancellation.cancel()
            pool.shutdown(cancel_futures=True)
            raise


def _found(store: Store, diff_id: str) -> Layer:
    if not present(store, diff_id):
        raise StorageError(f"layer sha256:{diff_id} has been removed from {store.root} meanwhile: pull again")
    return find(store, diff_id)


def _blob(store: Store, name: str) -> bytes | None:
    """Return a document that is in the store already."""
    try:
        with open(store.path("blobs", "sha256", name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
