"""Events: written by many at once, rotated without a line lost, read as they come."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyrun import event_log, events
from hyrun.event_log import Event
from hyrun.store import Store
from support.handmade import ONE, PATIENCE


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """No descriptor of the test before."""
    events._log = None
    yield
    events._log = None


def emit(store: Store, action: str = "start", **attributes: str) -> None:
    events.emit(store, action, ONE, "one", "busybox", {"kind": "x"}, **attributes)


def read(store: Store, **limits: int) -> list[Event]:
    """Return the events that are there."""
    limits = limits or {"since": 0}
    limits.setdefault("until", time.time_ns())
    return [event for found in event_log.stream(store, **limits) for event in found]


def test_event_has_dockers_members(store: Store) -> None:
    before = time.time_ns()
    emit(store, "die", exitCode="3")
    (line,) = Path(events.path(store)).read_text().splitlines()
    event = json.loads(line)
    assert before <= event.pop("timeNano") <= time.time_ns()
    assert event.pop("time") in (before // 1_000_000_000, before // 1_000_000_000 + 1)
    assert event == {
        "status": "die",
        "id": ONE,
        "from": "busybox",
        "Type": "container",
        "Action": "die",
        "Actor": {"ID": ONE, "Attributes": {"kind": "x", "image": "busybox", "name": "one", "exitCode": "3"}},
        "scope": "local",
    }


def test_events_of_volumes_and_images(store: Store) -> None:
    events.of_volume(store, "mount", "data", container=ONE, destination="/data")
    events.of_image(store, "tag", "sha256:12", "busybox:latest")
    events.of_prune(store, "container", 5)
    volume, image, prune = read(store)
    assert (volume["Type"], volume["Action"], volume.id) == ("volume", "mount", "data")
    assert volume.attributes == {"driver": "local", "container": ONE, "destination": "/data"}
    assert "status" not in volume
    assert (image["Type"], image["status"], image.id) == ("image", "tag", "sha256:12")
    assert image.attributes == {"name": "busybox:latest"}
    assert prune.attributes == {"reclaimed": "5"}


@pytest.mark.parametrize("run", ["/proc/nosuch", "/dev/null/x"])
def test_emit_never_fails(store: Store, run: str) -> None:
    other = Store(store.root, run)
    emit(other)
    events.emit(store, "start", ONE, "one", "busybox", {"odd": 5, "\udcff": "\udcff"}, bad=object())  # type: ignore[dict-item, arg-type]
    events.emit(store, "start", ONE, "one", "busybox", {"\udcff": "\udcff"})
    assert len(read(store)) == 1


def test_emit_does_not_fail_on_a_full_disk(store: Store) -> None:
    os.symlink("/dev/full", events.path(store))
    emit(store)


def test_one_descriptor_is_kept_and_a_new_store_gets_its_own(store: Store, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Store(store.root, str(tmp_path / "other"))
    emit(store)
    assert events._log is not None
    descriptor = events._log.descriptor
    emit(store)
    assert events._log.descriptor == descriptor
    emit(other)
    emit(store)
    assert (len(read(store)), len(read(other))) == (3, 1)


def test_log_that_was_removed_is_made_again(store: Store) -> None:
    emit(store, "start")
    os.unlink(events.path(store))
    emit(store, "die")
    assert [event["Action"] for event in read(store)] == ["die"]


def test_full_log_is_rotated(store: Store) -> None:
    padding = "x" * 10_000
    for number in range(300):
        emit(store, "start", number=str(number), padding=padding)
    sizes = [os.path.getsize(events.path(store) + suffix) for suffix in ("", ".1")]
    assert sizes[0] < events.LIMIT <= sizes[1] < events.LIMIT + 20_000
    found = [int(event.attributes["number"]) for event in read(store)]
    assert found == list(range(found[0], 300))
    assert len(found) > 100


_WRITER = """
import sys, time
from hyrun import events
from hyrun.store import Store
store, (name, count, size, pause) = Store(), sys.argv[1:]
sys.stdin.readline()
for number in range(int(count)):
    events.emit(store, "start", name, "one", "busybox", None, number=str(number), padding="x" * int(size))
    time.sleep(float(pause))
"""


def write_at_once(count: int, *, size: int, pause: float) -> list[subprocess.Popen[bytes]]:
    """Start two processes that write events at the same moment."""
    arguments = [str(count), str(size), str(pause)]
    code = [sys.executable, "-c", _WRITER]
    processes = [subprocess.Popen([*code, str(n), *arguments], stdin=subprocess.PIPE) for n in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    return processes


def numbers(found: list[Event], writer: int) -> list[int]:
    return sorted(int(event.attributes["number"]) for event in found if event.id == str(writer))


@pytest.mark.parametrize("_again", range(5))
def test_no_line_is_lost_when_many_find_the_file_full(store: Store, _again: int) -> None:
    # Enough for one rotation and not for two.
    processes = write_at_once(750, size=1000, pause=0)
    assert [process.wait(PATIENCE) for process in processes] == [0, 0]
    assert os.path.getsize(events.path(store) + ".1") >= events.LIMIT
    found = read(store)
    assert [numbers(found, writer) for writer in range(2)] == [list(range(750))] * 2


def test_no_line_is_lost_by_a_reader_across_rotations(store: Store) -> None:
    processes = write_at_once(300, size=10_000, pause=0.003)
    found: list[Event] = []
    for batch in event_log.stream(store, since=0, until=time.time_ns() + PATIENCE * 1_000_000_000):
        found += batch
        if len(found) >= 600:
            break
    assert [process.wait(PATIENCE) for process in processes] == [0, 0]
    assert [numbers(found, writer) for writer in range(2)] == [list(range(300))] * 2
    assert len(read(store)) < 600


def test_threads_write_whole_lines(store: Store) -> None:
    def work() -> None:
        for _ in range(300):
            emit(store, padding="x" * 1000)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [
        line
        for suffix in (".1", "")
        if os.path.exists(events.path(store) + suffix)
        for line in Path(events.path(store) + suffix).read_bytes().splitlines()
    ]
    assert all(event_log.parse(line) is not None for line in lines)


def test_writer_whose_file_was_rotated_twice_writes_again(store: Store) -> None:
    emit(store)
    kept = events._log
    path = Path(events.path(store))
    for _ in range(2):
        os.rename(path, f"{path}.1")
        path.touch()
    events._log = kept
    emit(store, "die")
    assert [event["Action"] for event in read(store)] == ["die"]


@pytest.mark.parametrize(
    "text", [b"", b"{half", b"[]", b"null", b'{"timeNano": 1}', b"\xff", b'{"timeNano":1,"Type":"x"}']
)
def test_torn_and_strange_lines_are_left_out(store: Store, text: bytes) -> None:
    Path(events.path(store)).write_bytes(text + b"\n")
    emit(store)
    assert len(read(store)) == 1


def test_limits_of_time(store: Store) -> None:
    emit(store, "create")
    middle = time.time_ns()
    emit(store, "start")
    assert [event["Action"] for event in read(store, since=middle)] == ["start"]
    assert [event["Action"] for event in read(store, until=middle)] == ["create"]


def test_without_limits_only_what_comes_is_told(store: Store) -> None:
    emit(store, "create")
    stream = event_log.stream(store)
    timer = threading.Timer(0.2, emit, (store, "start"))
    timer.start()
    try:
        assert [event["Action"] for event in next(stream)] == ["start"]
    finally:
        stream.close()  # type: ignore[attr-defined]
        timer.join()


def test_stream_ends_at_until(store: Store) -> None:
    start = time.time_ns()
    assert read(store, since=0, until=start + 300_000_000) == []
    assert time.time_ns() >= start + 300_000_000


def test_event_has_the_names_of_dockers_templates(store: Store) -> None:
    emit(store)
    (event,) = read(store)
    assert (event["Status"], event["ID"], event["From"], event["Scope"]) == ("start", ONE, "busybox", "local")
    assert event["TimeNano"] == event.moment
    with pytest.raises(KeyError):
        event["Nosuch"]


def test_stream_tells_when_its_reader_has_gone(store: Store) -> None:
    reader, writer = os.pipe()
    try:
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            next(event_log.stream(store, output=writer))
    finally:
        os.close(writer)


def test_the_hot_path_imports_no_json() -> None:
    code = "import sys; from hyrun import events; print('json' in sys.modules, 'threading' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_late_writer_into_the_rotated_file_is_read(store: Store) -> None:
    emit(store, "create")
    kept: Any = events._log
    stream = event_log.stream(store, since=0)
    assert [event["Action"] for event in next(stream)] == ["create"]
    path = Path(events.path(store))
    os.rename(path, f"{path}.1")
    events._log = None
    emit(store, "start")
    assert [event["Action"] for event in next(stream)] == ["start"]
    events._log = kept
    emit(store, "die")
    assert [event["Action"] for event in next(stream)] == ["die"]
    stream.close()  # type: ignore[attr-defined]
