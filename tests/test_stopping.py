"""Ending containers: real processes below an owner that behaves as the monitor."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from hyrun import container_list, event_log, pause, stopping
from hyrun.container_record import Record
from hyrun.errors import InUse
from hyrun.store import Store
from support.handmade import ONE, PATIENCE, THREE, TWO, keep, make, monitored, settle, shell, until

#: Ready when its file is there: the traps are set then.
OBEDIENT = 'trap "exit 7" TERM; trap "exit 8" INT; touch {ready}; while :; do sleep 0.02; done'
STUBBORN = 'trap "" TERM INT HUP; touch {ready}; while :; do sleep 0.02; done'


def script(directory: Path, text: str) -> tuple[str, ...]:
    return tuple(shell(text.format(ready=directory / "ready")))


def ready(directory: Path) -> None:
    until(lambda: (directory / "ready").exists(), "the traps are set")


def one(store: Store, **options: int) -> Record:
    """Stop the container and return its state."""
    assert stopping.stop(store, [settle(store)], **options) == [None]
    return settle(store)


def actions(store: Store) -> list[tuple[str, str]]:
    """Return what was done, with the signal of `kill`."""
    found = [event for batch in event_log.stream(store, since=0, until=time.time_ns()) for event in batch]
    return [(event["Action"], event.attributes.get("signal", "")) for event in found]


def test_stop_asks_and_the_exit_is_recorded_when_it_returns(store: Store) -> None:
    directory = keep(store)
    with monitored(store, directory, *script(directory, OBEDIENT)):
        ready(directory)
        record = one(store)
        assert (record.status, record.exit_code) == ("exited", 7)
        assert (directory / "stopped").exists()
    assert actions(store) == [("kill", "15"), ("stop", "")]


def test_stop_kills_what_does_not_end_in_time(store: Store) -> None:
    directory = keep(store)
    with monitored(store, directory, *script(directory, STUBBORN)):
        ready(directory)
        before = time.monotonic()
        assert one(store, timeout=1).exit_code == 137
        assert time.monotonic() - before >= 1
    assert actions(store) == [("kill", "15"), ("kill", "9"), ("stop", "")]


@pytest.mark.parametrize(
    ("config", "options", "code"),
    [
        ({}, {}, 7),
        ({"StopSignal": "SIGINT"}, {}, 8),
        ({"StopSignal": "2"}, {}, 8),
        ({"StopSignal": "SIGINT"}, {"signal": signal.SIGTERM}, 7),
        ({"StopSignal": "nonsense"}, {}, 7),
        ({"StopSignal": None}, {"timeout": -1}, 7),
        ({"StopSignal": "WINCH", "StopTimeout": 0}, {}, 137),
        ({"StopSignal": "WINCH"}, {"timeout": 0}, 137),
    ],
)
def test_signal_and_timeout_of_the_container_and_of_the_caller(
    store: Store, config: dict[str, object], options: dict[str, int], code: int
) -> None:
    directory = keep(store, **config)
    with monitored(store, directory, *script(directory, OBEDIENT)):
        ready(directory)
        assert one(store, **options).exit_code == code


def test_negative_timeout_waits_for_ever(store: Store) -> None:
    directory = keep(store, StopTimeout=0)
    with monitored(store, directory, *script(directory, STUBBORN)):
        ready(directory)
        thread = threading.Thread(target=one, args=(store,), kwargs={"timeout": -1})
        thread.start()
        time.sleep(0.5)
        assert settle(store).status == "running"
        stopping.kill(store, settle(store), 9)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_times_of_grace_pass_at_the_same_time(store: Store) -> None:
    directories = [keep(store, identifier, identifier[:2]) for identifier in (ONE, TWO, THREE)]
    owners = [monitored(store, directory, *script(directory, STUBBORN)) for directory in directories]
    sent: list[float] = []
    for owner in owners:
        owner.__enter__()
    try:
        for directory in directories:
            ready(directory)
        found = [settle(store, directory.name) for directory in directories]
        assert stopping.stop(store, found, timeout=1) == [None] * 3
        events = [event for batch in event_log.stream(store, since=0, until=time.time_ns()) for event in batch]
        sent = [event.moment / 1e9 for event in events if event.attributes.get("signal") == "9"]
    finally:
        for owner in owners:
            owner.__exit__(None, None, None)
    # Not one after the other, a second apart.
    assert len(sent) == 3
    assert sent[-1] - sent[0] < 1


def test_stop_of_what_does_not_run_is_no_error_and_changes_nothing(store: Store) -> None:
    directory = keep(store)
    assert one(store).status == "created"
    assert not (directory / "stopped").exists()
    assert actions(store) == []


def test_second_stop_and_a_kill_meanwhile_are_safe(store: Store) -> None:
    directory = keep(store)
    with monitored(store, directory, *script(directory, STUBBORN)):
        ready(directory)
        results: list[object] = []
        record = settle(store)
        threads = [
            threading.Thread(target=lambda: results.append(stopping.stop(store, [record], timeout=60)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        until(lambda: actions(store) == [("kill", "15")] * 2, "both have asked")
        stopping.kill(store, record, 9)
        for thread in threads:
            thread.join(PATIENCE)
        assert results == [[None], [None]]
        assert settle(store).exit_code == 137


def test_stop_ends_the_owner_that_waits_to_start_again(store: Store) -> None:
    directory = keep(store, RestartPolicy={"Name": "always", "MaximumRetryCount": 0})
    with monitored(store, directory, *shell("sleep 0.2; exit 3"), policy="always") as monitor:
        until(lambda: settle(store).status == "restarting", "it waits to be started again")
        record = one(store)
        assert (record.status, record.exit_code) == ("exited", 3)
        assert monitor.wait(PATIENCE) == -signal.SIGKILL


def test_owner_that_is_another_process_now_is_not_touched(store: Store) -> None:
    directory = keep(store, RestartPolicy={"Name": "always", "MaximumRetryCount": 0})
    with monitored(store, directory, *shell("sleep 0.2; exit 3"), policy="always") as monitor:
        until(lambda: settle(store).status == "restarting", "it waits to be started again")
        path = Path(store.run, f"{ONE}.json")
        state = json.loads(path.read_text())
        path.write_text(json.dumps(state | {"monitor_start": 1}))
        stopping.kill(store, settle(store), 9)
        assert monitor.poll() is None
        path.write_text(json.dumps(state))
        (directory / "stopped").unlink()
        stopping.kill(store, settle(store), 9)
        assert monitor.wait(PATIENCE) == -signal.SIGKILL


def test_policy_does_not_start_it_again_after_stop(store: Store) -> None:
    directory = keep(store, RestartPolicy={"Name": "always", "MaximumRetryCount": 0})
    with monitored(store, directory, *script(directory, OBEDIENT), policy="always", delay=0) as monitor:
        ready(directory)
        assert one(store).status == "exited"
        assert monitor.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("config", "number", "marked"),
    [
        ({}, signal.SIGKILL, True),
        ({}, signal.SIGTERM, True),
        ({}, signal.SIGHUP, False),
        ({"StopSignal": "SIGQUIT"}, signal.SIGQUIT, True),
        ({"StopSignal": "SIGQUIT"}, signal.SIGTERM, False),
    ],
)
def test_kill_is_a_wish_to_end_with_some_signals_only(
    store: Store, config: dict[str, object], number: int, marked: bool
) -> None:
    directory = keep(store, **config)
    with monitored(store, directory, "sleep", "600"):
        stopping.kill(store, settle(store), number)
        assert (directory / "stopped").exists() == marked
        assert actions(store) == [("kill", str(int(number)))]


def test_kill_sends_the_signal_to_pid_1(store: Store) -> None:
    directory = keep(store)
    with monitored(store, directory, *script(directory, OBEDIENT)):
        ready(directory)
        stopping.kill(store, settle(store), signal.SIGINT)
        until(lambda: settle(store).status == "exited", "it has ended")
        assert settle(store).exit_code == 8


def test_kill_of_what_does_not_run_is_an_error(store: Store) -> None:
    directory = keep(store)
    with pytest.raises(InUse, match="not running"):
        stopping.kill(store, settle(store), 9)
    assert not (directory / "stopped").exists()


def test_removal_by_force_ends_what_runs(store: Store) -> None:
    directory = keep(store)
    with monitored(store, directory, *script(directory, STUBBORN)):
        ready(directory)
        pid = settle(store).pid
        container_list.remove(store, settle(store), force=True)
        assert container_list.settle(store, ONE) is None
        assert not os.path.exists(f"/proc/{pid}")
    assert actions(store) == [("kill", "9"), ("destroy", "")]


def test_removal_by_force_ends_what_waits_to_be_started_again(store: Store) -> None:
    directory = keep(store, RestartPolicy={"Name": "always", "MaximumRetryCount": 0})
    with monitored(store, directory, *shell("sleep 0.2"), policy="always"):
        until(lambda: settle(store).status == "restarting", "it waits to be started again")
        with pytest.raises(InUse, match="is restarting"):
            container_list.remove(store, settle(store))
        container_list.remove(store, settle(store), force=True)
        assert container_list.settle(store, ONE) is None


@pytest.mark.parametrize("how", ["stop", "kill", "rm"])
def test_paused_one_is_thawed_so_that_it_takes_the_signal(
    store: Store, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    thawed: list[tuple[str, list[tuple[str, str]]]] = []

    def forget(store: Store, identifier: str) -> None:
        thawed.append((identifier, actions(store)))
        os.unlink(Path(store.run, f"{identifier}.paused"))

    monkeypatch.setattr(pause, "forget", forget)
    directory = keep(store)
    with monitored(store, directory, *script(directory, OBEDIENT)):
        ready(directory)
        Path(store.run, f"{ONE}.paused").write_text("{}")
        record = settle(store)
        assert record.status == "paused"
        if how == "stop":
            assert stopping.stop(store, [record]) == [None]
        elif how == "kill":
            stopping.kill(store, record, signal.SIGWINCH)
            assert thawed == []
            stopping.kill(store, record, signal.SIGTERM)
        else:
            container_list.remove(store, record, force=True)
    # The signal first: it is there when the processes go on.
    assert [identifier for identifier, _ in thawed] == [ONE]
    assert ("kill", "9" if how == "rm" else "15") in thawed[0][1]


def test_removal_by_force_of_an_ended_one_kills_nobody(store: Store) -> None:
    make(store)
    container_list.remove(store, settle(store), force=True)
    assert actions(store) == [("destroy", "")]
