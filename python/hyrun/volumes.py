"""Volumes: directories of data that outlive containers.

``<root>/volumes/<name>/`` (mode 0711) holds ``volume.json`` and ``_data/`` (0755). Both are made below
``tmp/`` and published by one ``rename``, which fails when the name is taken: a volume is there whole or not
at all, and of two processes that create it at once both succeed with the same one. The lock of a volume is
a ``flock`` on its directory: it goes away with the volume, so that no lock file is left behind for each
``run --rm -v /data``.

How a container comes to its volumes, in this order (``remove`` relies on it):

1. choose the names (``store.new_id()`` for anonymous ones) and write ``containers/<id>/config.json`` with
them; 2. ``reference`` each: it makes the volume if it is not there and returns the path of its data; 3.
``copyup.fill`` the data from the image, unless ``nocopy``; then mount.

So a volume that is used is named in a file before it exists, and ``remove`` cannot take one away in between.
"""

from __future__ import annotations

import os
import time
from errno import EEXIST, ENOTEMPTY
from fcntl import LOCK_EX, LOCK_SH, flock

from . import events
from .errors import InUse, InvalidArgument, NotFound, StorageError
from .store import Store, new_id, sync_directory, write_atomic
from .tree_size import disk_usage
from .volume_record import ANONYMOUS_LABEL as ANONYMOUS_LABEL
from .volume_record import Volume as Volume
from .volume_record import encode, timestamp
from .volume_users import describe, read_object, references
from .volume_users import users as users
from .volumespec import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def data_path(store: Store, name: str) -> str:
    """Return the host path of a volume's data, whether the volume exists or not; the name is checked."""
    return store.path("volumes", check_name(name), "_data")


def exists(store: Store, name: str) -> bool:
    """Return whether there is a volume of that name."""
    return os.path.isdir(store.path("volumes", check_name(name)))


def create(
    store: Store, name: str | None = None, *, labels: Mapping[str, str] | None = None, anonymous: bool = False
) -> Volume:
    """Return the volume ``name``, made if it is not there; without a name a new anonymous one.

    An existing volume is returned as it is, whatever its labels (Docker: ``volume create`` twice is fine).
    """
    if name is None:
        name, anonymous = new_id(), True
    ensure(store, name, labels=labels, anonymous=anonymous)
    return get(store, name)


def ensure(store: Store, name: str, *, labels: Mapping[str, str] | None = None, anonymous: bool = False) -> bool:
    """Make the volume if it is not there; return whether this call made it.

    A named one is on the disk (fsync) when this returns. An anonymous one may be lost in a power cut, as the
    container it belongs to.
    """
    data = data_path(store, name)
    if os.path.isdir(data):
        return False
    try:
        made = _make(store, name, data, labels, anonymous=anonymous)
        if made and not anonymous:
            sync_directory(store.path("volumes"))
    except OSError as error:
        raise StorageError(f"create volume {name}: {error.strerror}: {error.filename or store.root}") from error
    if made:
        events.of_volume(store, "create", name)
    return made


def _make(store: Store, name: str, data: str, labels: Mapping[str, str] | None, *, anonymous: bool) -> bool:
    """Make a volume in staging and move it to its place; False when another process was faster."""
    from .staging import staging

    now = time.time_ns()
    with staging(store) as stage:
        volume = f"{stage}/volume"
        # chmod: the umask took its part of mkdir's mode.
        for path, mode in ((volume, 0o711), (f"{volume}/_data", 0o755)):
            os.mkdir(path, mode)
            os.chmod(path, mode)
        record = encode(name, timestamp(now), labels, anonymous=anonymous)
        write_atomic(f"{volume}/volume.json", record, sync=not anonymous)
        try:
            os.rename(volume, os.path.dirname(data))
        except OSError as error:
            if error.errno not in (EEXIST, ENOTEMPTY):
                raise
            if not os.path.isdir(data):
                raise StorageError(
                    f"volume {name} has no data directory ({data}): remove it with hyrun volume rm {name}"
                ) from None
            return False
    return True


def get(store: Store, name: str) -> Volume:
    """Return the volume; NotFound when there is none.

    A damaged volume.json costs the labels and never the data: such a volume counts as a named one without
    labels.
    """
    path = store.path("volumes", check_name(name))
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise NotFound(f"no such volume: {name}") from None
    found = read_object(f"{path}/volume.json")
    created = found.get("created")
    labels, options = found.get("labels"), found.get("options")
    return Volume(
        name=name,
        path=f"{path}/_data",
        created=created if isinstance(created, str) else timestamp(status.st_ctime_ns),
        labels=labels if isinstance(labels, dict) else None,
        options=options if isinstance(options, dict) else None,
        anonymous=found.get("anonymous") is True,
    )


def list_all(store: Store) -> list[Volume]:
    """Return all volumes in natural order (``v2`` before ``v10``)."""
    import re

    found: list[Volume] = []
    for name in os.listdir(store.path("volumes")):
        try:
            found.append(get(store, name))
        except (NotFound, InvalidArgument):  # removed meanwhile; nothing that hyrun made
            continue
    chunks = re.compile(r"([0-9]+)")
    return sorted(
        found,
        key=lambda volume: (
            [(int(chunk), "") if chunk.isdigit() else (-1, chunk) for chunk in chunks.split(volume.name)],
            volume.name,
        ),
    )


def reference(store: Store, name: str, *, labels: Mapping[str, str] | None = None, anonymous: bool = False) -> str:
    """Make sure that a volume named in a config.json is there to stay; return the path of its data.

    Call it after the config.json is in its place (see the module). ``anonymous`` is for a fresh
    ``new_id()`` only.
    """
    while True:
        ensure(store, name, labels=labels, anonymous=anonymous)
        if anonymous:
            # Nobody else knows the name, and from its first moment on it is named in the config.json.
            break
        # Shared: who removes the volume holds it exclusively from the look at config.json to the rename.
        descriptor = _lock(store, name, LOCK_SH)
        if descriptor is not None:
            os.close(descriptor)
            break
    return data_path(store, name)


def _lock(store: Store, name: str, operation: int) -> int | None:
    """Return a locked descriptor of the volume's directory; None when the volume is gone."""
    path = store.path("volumes", check_name(name))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        flock(descriptor, operation)
        if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def remove(
    store: Store,
    name: str,
    *,
    users: Callable[[Store], Mapping[str, Sequence[str]]] | None = None,
    ignore: str = "",
    only_empty: bool = False,
) -> None:
    """Remove a volume and its data; InUse, naming the containers, when one references it, running or not.

    ``ignore`` is the id of a container that is being removed along. ``users`` replaces the function of that
    name. ``only_empty``: InUse also when it has content, whosever that is. Raises NotFound.
    """
    from .staging import Trash

    try:
        # What is moved away is removed at the end, after the lock: a large tree takes long.
        with Trash(store) as trash:
            while (descriptor := _lock(store, name, LOCK_EX)) is None:
                if not exists(store, name):
                    raise NotFound(f"no such volume: {name}")
            try:
                _check_unused(store, name, users, ignore)
                if only_empty and os.listdir(data_path(store, name)):
                    raise InUse(f"volume {name} has content: hyrun volume rm {name} removes it")
                trash.take(store.path("volumes", name))
            finally:
                os.close(descriptor)
            events.of_volume(store, "destroy", name)
    except OSError as error:
        raise StorageError(f"remove volume {name}: {error.strerror}: {error.filename or store.root}") from error


def _check_unused(
    store: Store, name: str, users: Callable[[Store], Mapping[str, Sequence[str]]] | None, ignore: str
) -> None:
    if users is None:
        found = [identifier for identifier, names in references(store, only=name) if name in names]
    else:
        found = list(users(store).get(name, ()))
    if found := [identifier for identifier in found if identifier != ignore]:
        shown = ", ".join(describe(store, identifier) for identifier in found)
        raise InUse(f"volume {name} is in use by container {shown}: remove that first")


def prune(
    store: Store, *, everything: bool = False, wanted: Callable[[Volume], bool] = lambda volume: True
) -> list[tuple[str, int]]:
    """Remove the volumes that no container references; return name and bytes on disk of each.

    Only anonymous ones, unless ``everything`` (Docker since Engine 23), and only those that ``wanted``
    accepts.
    """
    from .staging import sweep

    sweep(store)
    removed: list[tuple[str, int]] = []
    candidates = [volume for volume in list_all(store) if (everything or volume.anonymous) and wanted(volume)]
    used = users(store) if candidates else {}
    for volume in candidates:
        if volume.name in used:
            continue
        size = disk_usage(volume.path)
        try:
            remove(store, volume.name)
        except (InUse, NotFound):  # a container came, or another prune was faster
            continue
        removed.append((volume.name, size))
    events.of_prune(store, "volume", sum(size for _, size in removed))
    return removed


def fill(data: str, lowerdirs: Sequence[str], target: str, *, sync: bool = True) -> bool:
    """Copy the image's directory into a volume that is empty; see ``copyup.fill``."""
    from .copyup import fill

    return fill(data, lowerdirs, target, sync=sync)
