"""A container's directory, its lock and its name: made, claimed, and removed in one step.

``<root>/names/<name>`` is a symlink to the id: making it is the claim. Whoever owns a container holds the ``flock`` of
``<root>/containers/<id>``, so a free lock says that nobody does: the kernel drops it with the process.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock

from . import _core, names, records
from .container_state import state_path
from .errors import Conflict, InUse, NotFound, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from .store import Store


def make_upper(path: str, top: str) -> None:
    """Make the writable layer's directory: its owner and mode are those of the container's ``/``, so the image's."""
    os.mkdir(path, 0o700)
    try:
        status = os.stat(top)
    except FileNotFoundError:
        raise missing_layer(top) from None  # the image may have been removed at this moment
    if status.st_uid or status.st_gid:
        os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, status.st_mode & 0o7777)  # and not what the caller's umask left of it


def missing_layer(layer: str) -> StorageError:
    """Return the error for a layer whose directory is not there: its path."""
    return StorageError(
        f"layer {layer} is missing: hyrun system check says which images need it, load or pull one again"
    )


def make_locked(directory: str) -> int:
    """Make a container's directory and return the descriptor that holds its lock."""
    while True:
        os.mkdir(directory, 0o700)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        flock(descriptor, LOCK_EX)
        # Between mkdir and flock it looked like what a dead owner left, and another command may have removed it.
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


#: int() reads numbers to this base, and a number of 256 bits has 50 digits in it.
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_NUMBER: Final = frozenset(_DIGITS)
_HEX: Final = frozenset("0123456789abcdef")
#: Where an id is wanted and there is none: no container has a directory of that name, and it is not "", which is all.
NOBODY: Final = "-"


def link_of_id(identifier: str) -> str:
    """Return what a name's symlink says: the id to base 36, because ext4 keeps up to 59 bytes in the inode itself."""
    # By hand: importing binascii, for base64, takes longer than everything else that is imported for a name.
    number, digits = int(identifier, 16), ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"


def id_of_link(target: str) -> str:
    """Return the id that a name's symlink says; NOBODY for none."""
    if not _NUMBER.issuperset(target) or not 0 < len(target) <= 50:
        return NOBODY
    number = int(target, 36)
    return f"{number:064x}" if number < 1 << 256 else NOBODY


def is_id(identifier: str) -> bool:
    """Tell whether that is the full id of a container: everything else is never looked for, nor removed."""
    return len(identifier) == 64 and _HEX.issuperset(identifier)


def claim_name(store: Store, name: str | None, identifier: str) -> str:
    """Take the name, or a generated one, and return it. symlink(2) makes it for one caller only."""
    target = link_of_id(identifier)
    if name is not None:
        while True:
            try:
                os.symlink(target, store.path("names", name))
                return name
            except FileExistsError:
                from .container_list import free_name

                if not free_name(store, name):
                    holder = id_of_link(os.readlink(store.path("names", name)))
                    raise Conflict(
                        f"the container name {name} is in use by container {holder[:12]}: remove or rename that one"
                    ) from None
    for attempt in range(100):
        generated = names.generate() + (str(attempt) if attempt > 4 else "")
        try:
            os.symlink(target, store.path("names", generated))
            return generated
        except FileExistsError:
            continue
    raise Conflict("no free name was found: choose one with --name")


def discard(store: Store, identifier: str, name: str, anonymous: list[str]) -> None:
    """Remove everything of a container that is not running. Its lock must be held, or nobody know it yet."""
    if not is_id(identifier):
        raise ValueError(f"{identifier!r} is no id of a container")
    try:
        os.unlink(state_path(store, identifier))
    except FileNotFoundError:
        pass
    directory = store.path("containers", identifier)
    # The record goes last of all that other commands look for: until then they know what is left to do.
    if anonymous:
        _remove_volumes(store, anonymous, identifier)
    # Gone in one step: should this process be killed, what is left is nobody's, and the next command sweeps it up.
    rubbish = store.path("tmp", identifier)
    try:
        os.rename(directory, rubbish)
    except FileNotFoundError:
        pass
    if name and not _free_name(store, name, identifier):
        # Renamed since its owner has read the name.
        renamed = (records.read(f"{rubbish}/config.json") or {}).get("Name")
        if isinstance(renamed, str) and renamed != name:
            _free_name(store, renamed, identifier)
    try:
        _core.remove_tree(rubbish)
    except FileNotFoundError:
        pass


def _remove_volumes(store: Store, anonymous: list[str], identifier: str) -> None:
    from . import volumes

    for volume in anonymous:
        try:
            volumes.remove(store, volume, ignore=identifier)
        except (NotFound, InUse):
            pass


def _free_name(store: Store, name: str, identifier: str) -> bool:
    """Free a name if it is this container's; return whether it was."""
    link = store.path("names", name)
    try:
        if id_of_link(os.readlink(link)) != identifier:
            return False
        os.unlink(link)
    except FileNotFoundError:
        return False
    return True


def check_place(store: Store, config: dict[str, Any]) -> None:
    """Raise Conflict for a container of a store that was copied or moved: the paths in its record are the other one's.

    A copy that is started would write to the volumes of the original.
    """
    if config.get("Root", store.root) != store.root:
        name = config.get("Name")
        raise Conflict(
            f"container {name} was made in the store {config['Root']}, and this one is {store.root}: "
            f"hyrun commit {name} keeps what it wrote; make it anew"
        )


def try_lock(directory: str) -> int | None:
    """Return a descriptor that holds a container's lock; None while somebody else owns it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
