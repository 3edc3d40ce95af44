"""`container_list.settle`: the true state of a container, from hand-made stores."""

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyrun import container_directory, container_list, container_names, container_state, stopping, volumes
from hyrun.errors import InUse, InvalidArgument, NotFound
from hyrun.store import Store
from support.handmade import ONE, TWO, keep, make, settle


def state(store: Store, pid: int, others: dict[str, Any] | None = None) -> None:
    """Write the run-time state of a process that really is there."""
    found = {"pid": pid, "start": container_state.start_time(pid), "boot": container_state.boot_id(), "started": 5}
    found |= others or {}
    Path(container_state.state_path(store, ONE)).write_text(json.dumps(found))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a container's pid 1."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def owned(store: Store) -> Iterator[Path]:
    """A container whose owner lives: somebody holds its lock."""
    directory = make(store)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield directory
    os.close(descriptor)


def test_nothing_is_none(store: Store) -> None:
    assert container_list.settle(store, ONE) is None


def test_ended_container_has_its_exit_status(store: Store) -> None:
    directory = make(store)
    container_state.write_exit(str(directory), -9, 5)
    record = settle(store)
    assert (record.status, record.exit_status, record.exit_code, record.started) == ("exited", -9, 137, 5)


def test_container_without_owner_and_exit_status_is_exited_with_an_unknown_one(store: Store) -> None:
    directory = make(store)
    for _ in range(2):
        record = settle(store)
        assert (record.status, record.exit_status, record.exit_code) == ("exited", None, 255)
        assert record.finished
    assert (directory / "exit.json").exists()


def test_container_without_owner_with_rm_goes_with_its_anonymous_volumes(store: Store) -> None:
    anonymous = volumes.create(store).name
    volumes.create(store, "named")
    mounts = [{"Type": "volume", "Name": name} for name in (anonymous, "named")]
    make(store, AutoRemove=True, Anonymous=[anonymous], Mounts=mounts)
    state(store, 999_999_999)
    assert container_list.settle(store, ONE) is None
    assert os.listdir(store.path("containers")) == os.listdir(store.path("names")) == []
    assert os.listdir(store.run) == ["events.log"]
    assert os.listdir(store.path("volumes")) == ["named"]


def test_process_of_a_dead_owner_is_killed(store: Store, sleeper: subprocess.Popen[bytes]) -> None:
    make(store)
    state(store, sleeper.pid)
    assert settle(store).status == "exited"
    assert sleeper.wait(20) == -signal.SIGKILL


@pytest.mark.parametrize("others", [{"start": 1}, {"boot": "another"}, {"pid": None}, {"pid": "1"}, {"pid": -1}])
def test_process_that_is_another_one_is_not_touched(
    store: Store, sleeper: subprocess.Popen[bytes], others: dict[str, Any]
) -> None:
    make(store)
    state(store, sleeper.pid, others)
    record = settle(store)
    assert record.status == "exited"
    assert not stopping.send(store, record, 9)
    container_list.remove(store, record, force=True)
    assert sleeper.poll() is None


def test_owned_container_with_a_process_runs(store: Store, owned: Path, sleeper: subprocess.Popen[bytes]) -> None:
    state(store, sleeper.pid)
    record = settle(store)
    assert (record.status, record.pid, record.exit_code, record.started) == ("running", sleeper.pid, 0, 5)
    assert not (owned / "exit.json").exists()


def test_owned_container_without_a_state_is_created(store: Store, owned: Path) -> None:
    assert settle(store).status == "created"


def test_owned_container_runs_until_its_owner_says_how_it_ended(store: Store, owned: Path) -> None:
    state(store, 999_999_999)
    record = settle(store)
    assert (record.status, record.pid) == ("running", 0)
    assert not (owned / "exit.json").exists()


def test_owned_container_with_the_state_of_another_boot_does_not_run(
    store: Store, owned: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    state(store, sleeper.pid, {"boot": "another"})
    assert settle(store).status != "running"


@pytest.mark.parametrize("content", ["", "{", '{"Id": 5}', "[]", "null"])
def test_half_made_container_without_owner_goes(store: Store, content: str) -> None:
    directory = make(store)
    (directory / "config.json").write_text(content)
    assert container_list.settle(store, ONE) is None
    assert not directory.exists()
    assert os.listdir(store.path("names")) == []


def test_half_made_container_with_an_owner_is_left_alone(store: Store, owned: Path) -> None:
    (owned / "config.json").unlink()
    assert container_list.settle(store, ONE) is None
    assert owned.exists()
    assert os.listdir(store.path("names")) == ["one"]


def test_damaged_exit_status_counts_as_unknown(store: Store) -> None:
    directory = make(store)
    (directory / "exit.json").write_text("{half")
    assert settle(store).exit_code == 255


def test_strange_files_among_the_containers_are_no_containers(store: Store) -> None:
    Path(store.path("containers", "file")).write_text("")
    assert container_list.list_all(store) == []


def test_all_are_listed_newest_first(store: Store) -> None:
    make(store, ONE, "one", Created=1)
    make(store, TWO, "two", Created=2)
    assert [record.name for record in container_list.list_all(store)] == ["two", "one"]


def test_container_is_found_by_id_name_and_beginning(store: Store) -> None:
    make(store, ONE, "one")
    make(store, TWO, "two")
    for word, expected in ((ONE, ONE), ("one", ONE), ("111", ONE), (TWO, TWO), ("two", TWO), ("121", TWO)):
        assert container_list.find(store, word).id == expected


def test_several_matches_are_ambiguous_and_named(store: Store) -> None:
    make(store, ONE, "one")
    make(store, TWO, "two")
    with pytest.raises(InvalidArgument, match=r"ambiguous: 111111111111, 121212121212"):
        container_list.find(store, "1")


def test_name_wins_over_the_beginning_of_an_id(store: Store) -> None:
    make(store, ONE, "12")
    make(store, TWO, "two")
    assert container_list.find(store, "12").id == ONE


@pytest.mark.parametrize("word", ["", ".", "..", "/", "../names", "nosuch", "a\0b", "x" * 300, "3" * 64])
def test_other_words_find_nothing(store: Store, word: str) -> None:
    make(store)
    with pytest.raises(NotFound):
        container_list.find(store, word)


def test_name_of_nobody_is_free(store: Store) -> None:
    os.symlink(container_directory.link_of_id(ONE), store.path("names", "one"))
    assert container_list.free_name(store, "one")
    assert os.listdir(store.path("names")) == []


def test_name_of_a_killed_container_with_rm_is_free(store: Store) -> None:
    make(store, AutoRemove=True)
    assert container_list.free_name(store, "one")
    assert os.listdir(store.path("containers")) == []


def test_name_of_a_killed_container_without_rm_is_taken(store: Store) -> None:
    make(store)
    assert not container_list.free_name(store, "one")


@pytest.mark.parametrize("link", ["nonsense!", "zz" * 25, "DOI1bA==", "1" * 64, "../containers", "-1"])
def test_a_name_that_leads_to_nothing_costs_no_container(store: Store, link: str) -> None:
    directory = make(store)
    container_state.write_exit(str(directory), 0, 5)
    os.symlink(link, store.path("names", "web"))
    for word in ("web", "", ".", "-"):
        with pytest.raises(NotFound):
            container_list.find(store, word)
    container_names.free_name(store, "web")
    assert not os.path.lexists(store.path("names", "web"))
    for nonsense in (container_directory.id_of_link(link), "", "."):
        with pytest.raises(ValueError, match="no id"):
            container_directory.discard(store, nonsense, "", [])
    assert [record.id for record in container_list.list_all(store)] == [ONE]


def test_container_whose_removal_was_interrupted_goes_with_its_name(store: Store) -> None:
    directory = make(store)
    os.rename(directory, store.path("tmp", ONE))
    assert container_list.list_all(store) == []
    assert os.listdir(store.path("tmp")) == os.listdir(store.path("names")) == []


def test_interrupted_removal_does_not_take_volumes_that_were_to_stay(store: Store) -> None:
    anonymous = volumes.create(store).name
    directory = make(store, Anonymous=[anonymous], Mounts=[{"Type": "volume", "Name": anonymous}])
    os.rename(directory, store.path("tmp", ONE))
    assert container_list.list_all(store) == []
    assert os.listdir(store.path("volumes")) == [anonymous]


def test_interrupted_removal_does_not_disturb_the_next_of_that_name(store: Store) -> None:
    os.rename(make(store), store.path("tmp", ONE))
    os.unlink(store.path("names", "one"))
    make(store, TWO, "one")
    assert [record.id for record in container_list.list_all(store)] == [TWO]
    assert container_list.find(store, "one").id == TWO


@pytest.mark.parametrize("status", ["running", "paused"])
def test_removal_of_an_active_one_needs_force(
    store: Store, owned: Path, sleeper: subprocess.Popen[bytes], status: str
) -> None:
    state(store, sleeper.pid)
    if status == "paused":
        Path(store.run, f"{ONE}.paused").write_text("{}")
    with pytest.raises(InUse, match=rf"is {status}: .*rm -f one"):
        container_list.remove(store, settle(store))
    assert sleeper.poll() is None


def test_kept_container_that_was_never_started_is_created(store: Store) -> None:
    keep(store, AutoRemove=True)
    for _ in range(2):
        record = settle(store)
        assert (record.status, record.exit_code, record.kept) == ("created", 0, True)


def test_error_of_the_last_start_is_told(store: Store) -> None:
    (keep(store) / "error").write_text("exec nosuch: not found\n")
    assert settle(store).error == "exec nosuch: not found"


def test_pause_of_one_that_has_ended_is_forgotten(store: Store) -> None:
    directory = make(store)
    container_state.write_exit(str(directory), -9, 5)
    Path(store.run, f"{ONE}.paused").write_text("{}")
    assert settle(store).status == "exited"
    assert os.listdir(store.run) == []


def test_kept_container_that_ended_is_exited(store: Store) -> None:
    directory = keep(store, RestartPolicy={"Name": "always", "MaximumRetryCount": 0})
    container_state.write_exit(str(directory), 3, 5)
    (directory / "restarts.json").write_text('{"count": 4, "delay": 100}')
    record = settle(store)
    assert (record.status, record.exit_code, record.started, record.restart_count) == ("exited", 3, 5, 4)


def test_container_whose_monitor_died_is_exited_with_an_unknown_status(
    store: Store, sleeper: subprocess.Popen[bytes]
) -> None:
    directory = keep(store)
    (directory / "exit.json").write_text('{"status": null, "started": 5, "finished": 0}')
    state(store, sleeper.pid)
    record = settle(store)
    assert (record.status, record.exit_status, record.exit_code, record.started) == ("exited", None, 255, 5)
    assert record.finished
    assert sleeper.wait(20) == -signal.SIGKILL
    assert settle(store).finished


@pytest.mark.parametrize("finished", [0, 7])
def test_container_with_rm_that_was_started_goes_when_nobody_owns_it(store: Store, finished: int) -> None:
    directory = keep(store, AutoRemove=True)
    (directory / "exit.json").write_text(json.dumps({"status": 0, "started": 5, "finished": finished}))
    assert container_list.settle(store, ONE) is None
    assert not directory.exists()


def test_owned_container_is_paused_when_the_run_directory_says_so(
    store: Store, owned: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    state(store, sleeper.pid)
    Path(store.run, f"{ONE}.paused").write_text("{}")
    record = settle(store)
    assert (record.status, record.paused, record.active, record.pid) == ("paused", True, True, sleeper.pid)


@pytest.mark.parametrize(
    ("policy", "status", "stopped", "expected"),
    [
        ("always", 0, False, "restarting"),
        ("unless-stopped", 1, False, "restarting"),
        ("on-failure", 1, False, "restarting"),
        ("on-failure", 0, False, "exited"),
        ("always", 1, True, "exited"),
        ("no", 1, False, "exited"),
    ],
)
def test_owned_container_without_a_process_waits_to_be_started_again(
    store: Store, owned: Path, policy: str, status: int, stopped: bool, expected: str
) -> None:
    config = json.loads((owned / "config.json").read_text())
    config |= {"Start": {}, "RestartPolicy": {"Name": policy, "MaximumRetryCount": 0}}
    (owned / "config.json").write_text(json.dumps(config))
    container_state.write_exit(str(owned), status, 5)
    if stopped:
        (owned / "stopped").touch()
    state(store, 999_999_999, {"monitor": os.getpid(), "monitor_start": container_state.start_time(os.getpid())})
    record = settle(store)
    assert (record.status, record.exit_code, record.pid, record.monitor) == (expected, status, 0, os.getpid())
    assert record.active == (expected == "restarting")


def test_container_whose_policy_is_just_starting_it_is_restarting(store: Store, owned: Path) -> None:
    config = json.loads((owned / "config.json").read_text())
    (owned / "config.json").write_text(json.dumps(config | {"Start": {}, "RestartPolicy": {"Name": "always"}}))
    (owned / "exit.json").write_text('{"status": null, "started": 5, "finished": 0}')
    assert settle(store).status == "created"
    (owned / "restarts.json").write_text('{"count": 1, "delay": 100}')
    Path(container_state.state_path(store, ONE)).write_text("")  # being written
    assert settle(store).status == "restarting"


def test_container_that_is_being_started_once_more_is_what_it_was(store: Store, owned: Path) -> None:
    container_state.write_exit(str(owned), 3, 5)
    assert (settle(store).status, settle(store).exit_code) == ("exited", 3)


def test_two_who_look_at_once_do_not_take_each_other_for_owners(store: Store) -> None:
    directory = make(store)
    container_state.write_exit(str(directory), 3, 5)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        assert settle(store).status == "exited"
    finally:
        os.close(descriptor)


def test_removal_leaves_nothing(store: Store) -> None:
    make(store)
    for suffix in ("sock", "paused", "json.new"):
        Path(store.run, f"{ONE}.{suffix}").touch()
    container_list.remove(store, settle(store))
    assert os.listdir(store.path("containers")) == os.listdir(store.path("names")) == []
    assert os.listdir(store.run) == ["events.log"]


def test_removal_of_a_running_one_needs_force(store: Store, owned: Path, sleeper: subprocess.Popen[bytes]) -> None:
    state(store, sleeper.pid)
    with pytest.raises(InUse, match="rm -f one"):
        container_list.remove(store, settle(store))
    assert sleeper.poll() is None


def test_removal_does_not_take_a_name_that_belongs_to_another(store: Store) -> None:
    make(store, ONE, "one")
    os.unlink(store.path("names", "one"))
    os.symlink(container_directory.link_of_id(TWO), store.path("names", "one"))
    container_directory.discard(store, ONE, "one", [])
    assert os.listdir(store.path("names")) == ["one"]


def test_removal_keeps_a_volume_that_another_container_uses(store: Store) -> None:
    anonymous = volumes.create(store).name
    mounts = [{"Type": "volume", "Name": anonymous}]
    make(store, ONE, "one", Anonymous=[anonymous], Mounts=mounts)
    make(store, TWO, "two", Mounts=mounts)
    container_list.remove(store, settle(store), volumes=True)
    assert os.listdir(store.path("volumes")) == [anonymous]
