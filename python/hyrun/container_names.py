"""Names of containers in the store: a symlink each, freed when what it leads to is gone, moved by `rename`.

``names/<name>`` says a container's id, and the container's record says its name; making the link is the claim. When
the two disagree somebody died in the middle of a rename, and the record is right.
"""

from __future__ import annotations

import os

from . import container_directory, events, names, records
from .container_record import Record
from .errors import Conflict, InvalidArgument, NotFound
from .locks import lock
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def target(store: Store, name: str) -> str:
    """Return the id that a name's link says, NOBODY for nonsense. OSError when there is no such name."""
    return container_directory.id_of_link(os.readlink(store.path("names", name)))


def name_of(store: Store, identifier: str) -> str:
    """Return a name that leads to a container; "" when there is none."""
    for name in os.listdir(store.path("names")):
        try:
            if target(store, name) == identifier:
                return name
        except OSError:
            continue
    return ""


def free_name(store: Store, name: str) -> bool:
    """Return whether a name that was taken is free now, because what held it turned out to be dead."""
    if not _is_disputed(store, name):
        return not os.path.lexists(store.path("names", name))
    with _renaming(store):
        _free_disputed(store, name)
    return not os.path.lexists(store.path("names", name))


def free_names(store: Store, found: Iterable[Record]) -> None:
    """Free the names of containers whose remover died between the two, or whose renaming was cut off."""
    identifiers = frozenset(os.listdir(store.path("containers")))
    known = {record.id: record.name for record in found}
    for name in os.listdir(store.path("names")):
        try:
            link = os.readlink(store.path("names", name))
        except FileNotFoundError:
            continue
        identifier = container_directory.id_of_link(link)
        if identifier not in identifiers:
            _free_name_of_nobody(store, name, link)
        elif known.get(identifier, name) != name:
            with _renaming(store):
                _free_disputed(store, name)


def rename(store: Store, record: Record, name: str) -> None:
    """Give a container another name, whether it runs or not. Conflict when the name is taken."""
    name = names.check(name)
    with _renaming(store):
        config = records.read(f"{record.directory}/config.json")
        if config is None:
            raise NotFound(f"container {record.name} was removed just now")
        old = str(config.get("Name", ""))
        if name == old:
            raise InvalidArgument(f"the container is called {name} already: choose another name")
        _claim(store, name, record.id)
        try:
            records.write(f"{record.directory}/config.json", {**config, "Name": name}, sync=False)
        except BaseException:
            os.unlink(store.path("names", name))
            raise
        _unlink_own(store, old, record.id)
    record.name = name
    events.of_container(store, "rename", record, oldName=f"/{old}")


def _renaming(store: Store) -> lock:
    """Hold the lock of renaming: one at a time, and nobody who mends takes a name in the middle for a wrong one."""
    return lock(store, "rename", "containers")


def _claim(store: Store, name: str, identifier: str) -> None:
    link = store.path("names", name)
    while True:
        try:
            os.symlink(container_directory.link_of_id(identifier), link)
            return
        except FileExistsError:
            if _is_disputed(store, name):
                _free_disputed(store, name)
        try:
            holder = target(store, name)
        except FileNotFoundError:
            continue
        raise Conflict(f"the container name {name} is in use by container {holder[:12]}: remove or rename that one")


def _is_disputed(store: Store, name: str) -> bool:
    """Free a name that leads to nobody; tell whether it leads to a container that is called otherwise."""
    from .container_list import settle

    try:
        link = os.readlink(store.path("names", name))
    except FileNotFoundError:
        return False
    record = settle(store, container_directory.id_of_link(link))
    if record is None:
        _free_name_of_nobody(store, name, link)
    return record is not None and record.name != name


def _free_disputed(store: Store, name: str) -> None:
    """Free a name whose container has another one by its record. The lock of renaming is held."""
    try:
        identifier = target(store, name)
    except FileNotFoundError:
        return
    config = records.read(store.path("containers", identifier, "config.json"))
    if config is not None and config.get("Name") != name:
        _unlink_own(store, name, identifier)


def _unlink_own(store: Store, name: str, identifier: str) -> None:
    try:
        if name and target(store, name) == identifier:
            os.unlink(store.path("names", name))
    except FileNotFoundError:
        pass


def _free_name_of_nobody(store: Store, name: str, link: str) -> None:
    with lock(store, "name", name):
        # Still the same link, and still nobody's: a claim is made with the container's directory there.
        path = store.path("names", name)
        try:
            if os.readlink(path) == link and not os.path.isdir(
                store.path("containers", container_directory.id_of_link(link))
            ):
                os.unlink(path)
        except FileNotFoundError:
            pass
