"""`hyrun commit`: the writable layer of a container becomes the topmost layer of a new image.

The layer is packed and unpacked again at once, through a pipe: it passes the same code as a layer that is loaded, gets
its true diff id, and the writable layer itself is only read. Data of volumes is never in it: what was mounted in the
container has left nothing but its mount point, an empty directory or file, in the writable layer.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from typing import Any, NamedTuple, cast

from . import _core, events
from .archives.rootfs import encode
from .changes import apply
from .container_list import Record
from .container_size import written
from .errors import Conflict, HyrunError, InvalidArgument
from .image_config import MAX_LAYERS, Config
from .image_store import new_reference, publish, publishing, sweep_now, tag
from .layers import Layer, add
from .lineage import Parent, parent_of
from .progress import Progress
from .store import Store

#: Holds a container's processes still as long as it is entered.
Pause = Callable[[Store, Record], AbstractContextManager[object]]

_PIPE = 1 << 20
_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ is there since Python 3.10 only where the C library has it


class Committed(NamedTuple):
    """A new image: its id, and the mounts and the numbers of sockets and attributes that are not in it."""

    image_id: str
    mounts: list[str]
    sockets: int
    attributes: int


def commit(
    store: Store,
    record: Record,
    reference: str | None = None,
    *,
    author: str = "",
    message: str = "",
    changes: Sequence[str] = (),
    pause: Pause | None = None,
    progress: Progress | None = None,
) -> Committed:
    """Make an image of a container's configuration and writable layer, and name it ``reference``.

    ``changes`` are Dockerfile instructions as `docker commit --change` takes them. ``pause`` is entered while the layer
    is read; without it a running container may change a file while that file is read. The layer is the one part of
    ``progress``. Raises InvalidArgument, StorageError (a name that no layer can hold), Conflict (the container was
    removed meanwhile).
    """
    name = None if reference is None else new_reference(reference)
    apply({}, changes)
    parent = parent_of(store, record.config)
    # A directory of this machine below the layers takes the place of one.
    if len(parent.layers) >= MAX_LAYERS - bool(parent.base):
        raise InvalidArgument(
            f"container {record.name}: its image has {len(parent.layers)} layers, one more could not run: "
            f"hyrun export {record.name} | hyrun import - makes one of all"
        )
    sweep_now(store)
    try:
        with publishing(store):
            with nullcontext() if pause is None else pause(store, record):
                layer, packed = _layer(store, record, progress or Progress())
            document = _document(record, parent, layer, author=author, message=message, changes=changes)
            labels = cast("Config", document["config"]).get("Labels")
            image_id = publish(store, encode(document), [*parent.layers, layer], base=parent.base)
            if name is not None:
                tag(store, name, image_id)
                events.of_image(store, "tag", image_id, name.familiar(), labels)
    except BaseException:
        sweep_now(store)
        raise
    made = "" if name is None else name.familiar()
    events.of_container(store, "commit", record, comment=message, imageID=image_id, imageRef=made)
    return Committed(image_id, mounts(record.config), packed.sockets, packed.attributes)


def mounts(config: dict[str, Any]) -> list[str]:
    """Return what was mounted in a container, for people: ``/data (volume 3f2a…)``."""
    found = []
    for mount in config.get("Mounts") or ():
        name = str(mount.get("Name") or "")
        what = f"volume {name if len(name) < 64 else name[:12]}" if name else str(mount.get("Source") or "")
        found.append(f"{mount.get('Destination')} ({what})")
    return [*found, *(f"{target} (tmpfs)" for target in config.get("Tmpfs") or ())]


def _layer(store: Store, record: Record, progress: Progress) -> tuple[Layer, _core.Packed]:
    """Copy the writable layer into the store."""
    upper = os.open(f"{record.directory}/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    source, target = os.pipe()
    try:
        fcntl.fcntl(target, _F_SETPIPE_SZ, _PIPE)
    except OSError:
        pass  # more than an ordinary user may have: it is only slower
    packed: list[_core.Packed] = []
    errors: list[Exception] = []

    def pack() -> None:
        try:
            packed.append(_core.pack_layer(upper, target))
        except (HyrunError, OSError) as error:
            errors.append(error)
        finally:
            os.close(target)

    thread = threading.Thread(target=pack, name="pack")
    thread.start()
    try:
        meter = _core.Meter()
        progress.item(record.name, "Committing", lambda: written(record))
        progress.follow(record.name, meter)
        layer = add(store, source, meter=meter)
    except BaseException:
        os.close(source)
        thread.join()
        # What the reader makes of half an archive is no explanation; a pipe without a reader is none either.
        if errors and not isinstance(errors[0], BrokenPipeError):
            raise errors[0] from None
        raise
    else:
        os.close(source)
        thread.join()
        if errors:
            raise errors[0]
        _refuse_removed(record, upper)
    finally:
        os.close(upper)
    return layer, packed[0]


def _refuse_removed(record: Record, upper: int) -> None:
    """A container that was removed while its layer was read was read in part only."""
    try:
        there = os.path.samestat(os.stat(f"{record.directory}/upper"), os.fstat(upper))
    except FileNotFoundError:
        there = False
    if not there:
        raise Conflict(f"container {record.name} was removed while it was committed: there is no image of it")


def _document(
    record: Record, parent: Parent, layer: Layer, *, author: str, message: str, changes: Sequence[str]
) -> dict[str, object]:
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    config = cast("Config", _config(record.config, parent.document.get("config") or {}))
    # Docker's: the command of the container that made it.
    entry = {"created": created, "created_by": " ".join(config.get("Cmd") or record.config.get("Argv") or ())}
    if author:
        entry["author"] = author
    if message:
        entry["comment"] = message
    known = ("architecture", "os", "variant", "os.version", "os.features")
    document: dict[str, object] = {key: parent.document[key] for key in known if parent.document.get(key)}
    document |= {
        "created": created,
        "author": author,
        "config": apply(config, changes),
        "history": [*(parent.document.get("history") or ()), entry],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{item.diff_id}" for item in (*parent.layers, layer)]},
    }
    if parent.base:
        # Not read by anyone: it makes two images with one layer and different bases two images.
        document["dev.hyrun.base"] = parent.base
    return document


def _config(container: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """Return what a container of the new image starts with: what this one started with."""
    config = dict(image)
    argv, entrypoint = list(container.get("Argv") or ()), list(container.get("Entrypoint") or ())
    if argv[: len(entrypoint)] != entrypoint:
        entrypoint = []  # it was taken away with --entrypoint ""
    variables: dict[str, str] = {}
    for item in container.get("Env") or ():
        name, equals, value = item.partition("=")
        if equals:
            variables[name] = value
        else:
            variables.pop(name, None)
    directory = container.get("WorkingDir") or ""
    config |= {
        "Cmd": argv[len(entrypoint) :],
        "Entrypoint": entrypoint,
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "ExposedPorts": container.get("ExposedPorts"),
        "Labels": container.get("Labels"),
        "StopSignal": container.get("StopSignal"),
        "User": container.get("User"),
        "Volumes": {**(image.get("Volumes") or {}), **(container.get("Volumes") or {})},
        "WorkingDir": "" if directory == "/" else directory,
    }
    return {key: value for key, value in config.items() if value not in (None, "", [], {})}
