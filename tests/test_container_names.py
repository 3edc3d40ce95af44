"""Names: given anew by `rename`, and put right after a rename that was cut off."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hyrun import container_directory, container_list, container_names, event_log, records
from hyrun.errors import Conflict, InvalidArgument
from hyrun.store import Store
from support.handmade import ONE, TWO, make, monitored, settle

_RENAMER = """
import sys
from hyrun import container_list, container_names
from hyrun.store import Store
store = Store()
sys.stdin.readline()
for number in range(20):
    container_names.rename(store, container_list.settle(store, sys.argv[1]), f"{sys.argv[2]}{number}")
    container_list.list_all(store)
"""


def names(store: Store) -> list[str]:
    return sorted(os.listdir(store.path("names")))


def test_rename_moves_the_name(store: Store) -> None:
    make(store, ONE, "one", Labels={"a": "1"})
    record = settle(store)
    container_names.rename(store, record, "two")
    assert record.name == "two"
    assert settle(store).name == "two"
    assert settle(store).labels == {"a": "1"}
    assert container_list.find(store, "two").id == ONE
    assert names(store) == ["two"]
    (event,) = next(event_log.stream(store, since=0))
    assert (event["Action"], event.attributes["oldName"], event.attributes["name"]) == ("rename", "/one", "two")


def test_name_that_is_taken_is_refused_and_nothing_changes(store: Store) -> None:
    make(store, ONE, "one")
    make(store, TWO, "two")
    with pytest.raises(Conflict, match=TWO[:12]):
        container_names.rename(store, settle(store), "two")
    assert names(store) == ["one", "two"]
    assert settle(store).name == "one"


@pytest.mark.parametrize("name", ["one", "", "a/b", "-x", "x", "a b", "é" * 3])
def test_bad_names_are_refused(store: Store, name: str) -> None:
    make(store, ONE, "one")
    with pytest.raises(InvalidArgument):
        container_names.rename(store, settle(store), name)
    assert names(store) == ["one"]


def test_name_of_a_dead_one_can_be_taken(store: Store) -> None:
    make(store, ONE, "one")
    make(store, TWO, "two", AutoRemove=True)
    container_names.rename(store, settle(store), "two")
    assert names(store) == ["two"]


def test_running_one_can_be_renamed_and_goes_with_its_new_name(store: Store) -> None:
    directory = make(store, ONE, "one")
    with monitored(store, directory, "sleep", "600"):
        container_names.rename(store, settle(store), "two")
        assert settle(store).status == "running"
    # Its owner knows the old name only.
    container_directory.discard(store, ONE, "one", [])
    assert names(store) == []


@pytest.mark.parametrize("written", [False, True])
def test_rename_that_was_cut_off_is_put_right(store: Store, written: bool) -> None:
    directory = make(store, ONE, "one")
    os.symlink(container_directory.link_of_id(ONE), store.path("names", "two"))
    if written:
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(config | {"Name": "two"}))
    right = "two" if written else "one"
    assert [record.name for record in container_list.list_all(store)] == [right]
    assert names(store) == [right]


def test_disputed_name_is_free_for_the_next_one(store: Store) -> None:
    make(store, ONE, "one")
    os.symlink(container_directory.link_of_id(ONE), store.path("names", "two"))
    assert container_names.free_name(store, "two")
    assert not container_names.free_name(store, "one")
    assert names(store) == ["one"]


def test_who_looks_in_the_middle_of_a_rename_takes_nothing_for_a_leftover(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store, ONE, "one")
    threads = []
    write = records.write

    def slowly(path: str, value: dict[str, Any], *, sync: bool) -> None:
        thread = threading.Thread(target=container_list.list_all, args=(store,))
        threads.append(thread)
        thread.start()
        thread.join(0.3)
        write(path, value, sync=sync)

    monkeypatch.setattr(records, "write", slowly)
    container_names.rename(store, settle(store), "two")
    threads[0].join()
    assert names(store) == ["two"]


def test_many_renames_at_once_leave_one_name(store: Store) -> None:
    make(store, ONE, "one")
    command = [sys.executable, "-c", _RENAMER, ONE]
    processes = [subprocess.Popen([*command, name], stdin=subprocess.PIPE) for name in ("aa", "bb")]
    for process in processes:
        process.communicate(b"go\n")
    assert [process.returncode for process in processes] == [0, 0]
    assert names(store) == [settle(store).name]


def test_names_that_lead_to_files_are_no_containers(store: Store) -> None:
    make(store, ONE, "one")
    Path(store.path("names", "odd")).symlink_to("/etc")
    assert [record.name for record in container_list.list_all(store)] == ["one"]
