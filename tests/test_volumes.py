"""Volumes on disk: names, records, references, removal; with processes in parallel and killed ones."""

import json
import os
import re
import stat
import time
from pathlib import Path

import pytest

from hyrun import tree_size, volumes
from hyrun.errors import InUse, InvalidArgument, NotFound, StorageError
from hyrun.staging import sweep
from hyrun.store import Store, new_id
from support.processes import forked, killed_at, status_of


def container(store: Store, *names: str, name: str = "web") -> str:
    """Write the record of a container with these volumes; return its id."""
    identifier = new_id()
    directory = Path(store.path("containers", identifier))
    directory.mkdir()
    mounts = [{"Type": "volume", "Name": volume, "Destination": "/t"} for volume in names]
    record = {"Name": name, "Mounts": [*mounts, {"Type": "bind", "Source": "/a", "Destination": "/b"}]}
    (directory / "config.json.new").write_text(json.dumps(record))
    (directory / "config.json.new").rename(directory / "config.json")
    return identifier


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_a_new_volume_has_dockers_modes_whatever_the_umask(store: Store) -> None:
    before = os.umask(0o077)
    try:
        volume = volumes.create(store, "data", labels={"a": "b"})
    finally:
        os.umask(before)
    assert volume.path == store.path("volumes", "data", "_data") == volumes.data_path(store, "data")
    assert mode(os.path.dirname(volume.path)) == 0o711
    assert mode(volume.path) == 0o755
    assert os.stat(volume.path).st_uid == os.geteuid()
    assert json.loads(Path(store.path("volumes", "data", "volume.json")).read_text()) == {
        "name": "data",
        "created": volume.created,
        "driver": "local",
        "labels": {"a": "b"},
        "options": {},
        "anonymous": False,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", volume.created)


def test_a_volume_without_a_name_is_anonymous(store: Store) -> None:
    volume = volumes.create(store, labels={"x": "1"})
    assert re.fullmatch("[0-9a-f]{64}", volume.name)
    assert volume.anonymous
    assert volume.labels == {volumes.ANONYMOUS_LABEL: "", "x": "1"}
    assert volumes.get(store, volumes.create(store).name).labels == {volumes.ANONYMOUS_LABEL: ""}


def test_creating_a_volume_again_returns_the_one_that_is_there(store: Store) -> None:
    first = volumes.create(store, "data", labels={"a": "b"})
    Path(first.path, "file").write_text("x")
    again = volumes.create(store, "data", labels={"c": "d"})
    assert again.inspect() == first.inspect()
    assert again.labels == {"a": "b"}
    assert Path(first.path, "file").read_text() == "x"


@pytest.mark.parametrize("name", ["a", "", "..", "../x", "a/b", ".ab", "ä1"])
def test_no_function_takes_a_name_that_leaves_the_directory(store: Store, name: str) -> None:
    for function in (volumes.create, volumes.get, volumes.exists, volumes.data_path, volumes.remove):
        with pytest.raises(InvalidArgument):
            function(store, name)


def test_inspect_has_dockers_fields(store: Store) -> None:
    volume = volumes.create(store, "data")
    assert volume.inspect() == {
        "CreatedAt": volume.created[:19] + "Z",
        "Driver": "local",
        "Labels": None,
        "Mountpoint": volume.path,
        "Name": "data",
        "Options": None,
        "Scope": "local",
    }


def test_what_is_not_there(store: Store) -> None:
    assert not volumes.exists(store, "data")
    assert volumes.list_all(store) == []
    for function in (volumes.get, volumes.remove):
        with pytest.raises(NotFound, match="no such volume: data"):
            function(store, "data")


def test_volumes_are_listed_in_natural_order(store: Store) -> None:
    for name in ("v10", "v2", "bb", "10", "09", "v02", "a1b"):
        volumes.create(store, name)
    assert [volume.name for volume in volumes.list_all(store)] == [
        "09",
        "10",
        "a1b",
        "bb",
        "v02",
        "v2",
        "v10",
    ]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"labels": 3, "created": 4, "options": []}', None])
def test_a_damaged_record_costs_the_labels_and_never_the_data(store: Store, damage: bytes | None) -> None:
    volume = volumes.create(store, "data", labels={"a": "b"})
    Path(volume.path, "file").write_text("x")
    record = Path(store.path("volumes", "data", "volume.json"))
    record.unlink()
    if damage is not None:
        record.write_bytes(damage)
    (found,) = volumes.list_all(store)
    assert (found.name, found.labels, found.anonymous) == ("data", {}, False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", found.created)
    assert volumes.create(store, "data").path == volume.path
    assert volumes.prune(store) == []
    assert Path(volume.path, "file").exists()


def test_a_volume_without_its_data_directory_is_reported_and_can_be_removed(store: Store) -> None:
    os.rmdir(volumes.create(store, "data").path)
    with pytest.raises(StorageError, match="has no data directory"):
        volumes.create(store, "data")
    volumes.remove(store, "data")
    assert volumes.create(store, "data")


def test_users_are_all_containers_whose_record_can_be_read(store: Store) -> None:
    first = container(store, "data", "data", "logs")
    second = container(store, "data")
    for text in (
        "",
        "{",
        "[]",
        '{"Mounts": 3}',
        '{"Mounts": [3, {"Type": "volume"}, {"Type": "volume", "Name": 1}]}',
    ):
        broken = container(store, "data")
        Path(store.path("containers", broken, "config.json")).write_text(text)
    os.mkdir(store.path("containers", new_id()))
    assert volumes.users(store) == {"data": sorted([first, second]), "logs": [first]}
    assert volumes.users(store, ignore=first) == {"data": [second]}


def test_undoing_a_container_does_not_take_what_another_one_has_written(store: Store) -> None:
    volumes.create(store, "shared")
    path = Path(volumes.data_path(store, "shared"), "file")
    path.write_text("of another container, which is gone by now")
    with pytest.raises(InUse, match="has content"):
        volumes.remove(store, "shared", only_empty=True)
    path.unlink()
    volumes.remove(store, "shared", only_empty=True)
    assert not volumes.exists(store, "shared")


def test_a_volume_in_use_is_not_removed_and_the_error_names_the_containers(store: Store) -> None:
    volumes.create(store, "data")
    identifier = container(store, "data", name="web")
    container(store, "database")
    with pytest.raises(InUse) as caught:
        volumes.remove(store, "data")
    assert f"volume data is in use by container web ({identifier[:12]})" in str(caught.value)
    assert "database" not in str(caught.value)
    assert volumes.exists(store, "data")
    volumes.remove(store, "data", ignore=identifier)
    assert not volumes.exists(store, "data")


def test_the_users_can_be_given(store: Store) -> None:
    volumes.create(store, "data")
    with pytest.raises(InUse, match="by container abc"):
        volumes.remove(store, "data", users=lambda store: {"data": ["abc"]})
    container(store, "data")
    volumes.remove(store, "data", users=lambda store: {})
    assert not volumes.exists(store, "data")


def test_removing_leaves_nothing_and_follows_nothing(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    volume = volumes.create(store, "data")
    os.symlink(outside, f"{volume.path}/link")
    volumes.remove(store, "data")
    assert (outside / "file").exists()
    assert os.listdir(store.path("volumes")) == []
    assert os.listdir(store.path("locks")) == []


def test_prune_takes_unused_anonymous_volumes_only(store: Store) -> None:
    anonymous, used = volumes.create(store), volumes.create(store)
    volumes.create(store, "named")
    container(store, used.name)
    Path(anonymous.path, "file").write_bytes(b"x" * 10_000)
    ((name, size),) = volumes.prune(store)
    assert name == anonymous.name
    assert size >= 10_000
    assert {volume.name for volume in volumes.list_all(store)} == {used.name, "named"}


def test_prune_of_everything_with_a_condition(store: Store) -> None:
    volumes.create(store, "keep")
    volumes.create(store, "gone", labels={"a": "1"})
    volumes.create(store, "used", labels={"a": "1"})
    container(store, "used")
    removed = volumes.prune(store, everything=True, wanted=lambda volume: volume.labels.get("a") == "1")
    assert [name for name, _ in removed] == ["gone"]
    assert [volume.name for volume in volumes.list_all(store)] == ["keep", "used"]


def test_disk_usage_counts_a_hard_link_once_and_holes_never(tmp_path: Path) -> None:
    before = tree_size.disk_usage(str(tmp_path))
    (tmp_path / "a").write_bytes(b"x" * 8192)
    os.link(tmp_path / "a", tmp_path / "b")
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(1 << 30)
    os.symlink("/", tmp_path / "link")
    assert 8192 <= tree_size.disk_usage(str(tmp_path)) - before < 20_000
    assert tree_size.disk_usage(str(tmp_path / "missing")) == 0


def test_a_reference_makes_the_volume_or_finds_it(store: Store) -> None:
    path = volumes.reference(store, "data", labels={"a": "b"})
    assert os.path.isdir(path)
    assert volumes.reference(store, "data") == path
    assert volumes.get(store, "data").labels == {"a": "b"}
    name = new_id()
    volumes.reference(store, name, anonymous=True)
    assert volumes.get(store, name).anonymous


def test_a_volume_removed_just_before_it_is_locked_is_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = volumes._lock

    def late(store: Store, name: str, operation: int) -> int | None:
        monkeypatch.setattr(volumes, "_lock", real)
        volumes.remove(store, name)
        return real(store, name, operation)

    monkeypatch.setattr(volumes, "_lock", late)
    assert os.path.isdir(volumes.reference(store, "data"))


def test_processes_that_create_one_volume_at_once_all_succeed_with_the_same(store: Store, tmp_path: Path) -> None:
    for attempt in range(10):
        start = time.monotonic() + 0.02

        def create(attempt: int = attempt, start: float = start) -> None:
            while time.monotonic() < start:
                pass
            volume = volumes.create(store, f"data{attempt}", labels={"pid": str(os.getpid())})
            (tmp_path / f"{attempt}.{os.getpid()}").write_text(f"{volume.created} {volume.labels}")

        assert [status_of(pid) for pid in [forked(create) for _ in range(8)]] == [0] * 8
        assert len({path.read_text() for path in tmp_path.glob(f"{attempt}.*")}) == 1


def test_a_referenced_volume_is_never_removed_under_its_container(store: Store) -> None:
    until = time.monotonic() + 1.5

    def remover() -> None:
        while time.monotonic() < until:
            try:
                volumes.remove(store, "data")
            except (InUse, NotFound):
                pass

    def pruner() -> None:
        while time.monotonic() < until:
            volumes.prune(store, everything=True)

    def starter() -> None:
        while time.monotonic() < until:
            anonymous = new_id()
            identifier = container(store, "data", anonymous)
            for name in ("data", anonymous):
                path = volumes.reference(store, name, anonymous=name == anonymous)
                Path(path, identifier).touch()
            for name in ("data", anonymous):
                assert Path(volumes.data_path(store, name), identifier).exists()
            directory = store.path("containers", identifier)
            os.unlink(f"{directory}/config.json")
            os.rmdir(directory)

    workers = [forked(work) for work in (remover, pruner, starter, starter, starter)]
    assert [status_of(pid) for pid in workers] == [0] * 5


def test_a_creation_killed_anywhere_leaves_a_whole_volume_or_none(store: Store) -> None:
    step = 0
    while True:
        name = f"data{step}"

        def create(name: str = name) -> None:
            volumes.ensure(store, name, labels={"a": "b"})

        killed = killed_at(step, create)
        if volumes.exists(store, name):
            assert volumes.get(store, name).labels == {"a": "b"}
            assert mode(volumes.data_path(store, name)) == 0o755
        if not killed:
            break
        assert os.path.isdir(volumes.create(store, name).path)
        step += 1
    assert step > 8
    sweep(store)


def test_a_removal_killed_anywhere_leaves_a_whole_volume_or_none(store: Store) -> None:
    step = 0
    while True:
        name = f"data{step}"
        path = Path(volumes.create(store, name, labels={"a": "b"}).path)
        for file in ("one", "two"):
            (path / file).touch()

        def remove(name: str = name) -> None:
            volumes.remove(store, name)

        if not killed_at(step, remove):
            break
        if volumes.exists(store, name):
            assert volumes.get(store, name).labels == {"a": "b"}
            assert sorted(os.listdir(path)) == ["one", "two"]
            volumes.remove(store, name)
        step += 1
    assert step > 3
    assert not volumes.exists(store, name)
    sweep(store)
