"""`logs --follow`: what is being written, while the log is rotated and the container ends."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from hyrun import log_files, logs
from hyrun.store import Store
from support.handmade import PATIENCE, keep, lines, monitored, settle, shell
from support.logs import ERR, OUT, SECOND, Outputs, outputs, printed

__all__ = ["outputs"]


class Writer:
    """The monitor's side of a log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.number = 0

    def write(self, data: bytes) -> None:
        with open(self.directory / "container.log", "ab", buffering=0) as file:
            file.write(data)

    def line(self, *, stream: str = OUT, tag: str = "F") -> None:
        self.write(lines((stream, tag, f"line {self.number}"), start=self.number))
        self.number += 1

    def rotate(self, keep: int = 1000) -> None:
        for number in range(keep, 0, -1):
            path = self.directory / f"container.log.{number}"
            if path.exists():
                path.rename(self.directory / f"container.log.{number + 1}")
        (self.directory / "container.log").rename(self.directory / "container.log.1")
        (self.directory / "container.log").touch()


@contextmanager
def owned_for(store: Store, work: Callable[[Writer], None], *, first: Sequence[str] = ()) -> Iterator[None]:
    """A container that runs while ``work`` writes its log in a thread."""
    directory = keep(store)
    gate = directory.parent.parent / "gate"
    os.mkfifo(gate)
    with monitored(store, directory, *shell(f"read line < {gate}")):
        writer = Writer(directory)
        for text in first:
            writer.write(lines((OUT, "F", text)))

        def run() -> None:
            try:
                work(writer)
            finally:
                gate.write_text("end\n")

        thread = threading.Thread(target=run)
        thread.start()
        yield
        thread.join(PATIENCE)
    gate.unlink()


def test_follow_prints_what_comes_and_ends_with_the_container(store: Store, outputs: Outputs) -> None:
    def work(writer: Writer) -> None:
        for number in range(20):
            writer.line(stream=ERR if number % 5 == 4 else OUT)
            time.sleep(0.01)
        writer.write(lines((OUT, "P", "the end")))

    with owned_for(store, work, first=["before"]):
        out, err = printed(store, outputs, follow=True)
    expected = [f"line {number}\n".encode() for number in range(20)]
    assert out == b"before\n" + b"".join(line for number, line in enumerate(expected) if number % 5 != 4) + b"the end"
    assert err == b"".join(line for number, line in enumerate(expected) if number % 5 == 4)


def test_follow_loses_nothing_when_the_log_is_rotated(store: Store, outputs: Outputs) -> None:
    count = 3000

    def work(writer: Writer) -> None:
        for number in range(count):
            writer.line()
            if number % 50 == 49:
                writer.rotate()

    with owned_for(store, work):
        out, _ = printed(store, outputs, follow=True)
    assert out == b"".join(f"line {number}\n".encode() for number in range(count))


def test_what_is_written_just_before_a_rotation_is_printed(
    store: Store, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = keep(store)
    writer = Writer(directory)
    writer.line()
    newer = log_files.newer

    def rotated(directory: str, last: log_files.LogFile) -> list[log_files.LogFile]:
        if writer.number < 3:
            writer.line()
            writer.rotate()
        return newer(directory, last)

    monkeypatch.setattr(log_files, "newer", rotated)
    assert printed(store, outputs)[0] == b"line 0\nline 1\nline 2\n"


def test_follow_waits_for_the_rest_of_a_record(store: Store, outputs: Outputs) -> None:
    def work(writer: Writer) -> None:
        for byte in lines((OUT, "F", "slow")):
            writer.write(bytes([byte]))
            time.sleep(0.002)

    with owned_for(store, work):
        assert printed(store, outputs, follow=True)[0] == b"slow\n"


def test_follow_with_tail_0_prints_only_what_comes(store: Store, outputs: Outputs) -> None:
    def work(writer: Writer) -> None:
        time.sleep(0.3)
        writer.line()

    with owned_for(store, work, first=["before"]):
        assert printed(store, outputs, follow=True, tail=0)[0] == b"line 0\n"


def test_follow_ends_at_until(store: Store, outputs: Outputs) -> None:
    finish = threading.Event()
    with owned_for(store, lambda writer: assert_set(finish), first=["before"]):
        printed(store, outputs, follow=True, until=time.time_ns() + SECOND // 5)
        assert settle(store).status == "running"
        finish.set()
    assert outputs.out == b"before\n"


def assert_set(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


def test_follow_goes_on_when_the_container_is_started_again(store: Store, outputs: Outputs) -> None:
    directory = keep(store, RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 0})
    record = "'2026-01-01T00:00:00.000000000Z stdout F round\\n'"
    script = f"printf {record} >> {directory}/container.log; test $(wc -l < {directory}/container.log) -ge 3"
    with monitored(store, directory, *shell(f"sleep 0.3; {script}"), policy="on-failure", delay=0.1):
        assert printed(store, outputs, follow=True)[0] == b"round\n" * 3


def test_follow_of_a_container_that_is_removed_meanwhile_ends(store: Store, outputs: Outputs) -> None:
    from hyrun import container_list

    def work(writer: Writer) -> None:
        writer.line()
        time.sleep(0.2)

    directory = keep(store)
    with monitored(store, directory, "sleep", "600"):
        Writer(directory).line()
        timer = threading.Timer(0.3, lambda: container_list.remove(store, settle(store), force=True))
        timer.start()
        assert printed(store, outputs, follow=True)[0] == b"line 0\n"
        timer.join()


def test_follow_ends_when_its_reader_has_gone(store: Store) -> None:
    directory = keep(store)
    with monitored(store, directory, "sleep", "600"):
        reader, writer = os.pipe()
        os.close(reader)
        try:
            with pytest.raises(BrokenPipeError):
                logs.show(store, settle(store), logs.Printer(writer, writer), output=writer, follow=True)
        finally:
            os.close(writer)


def test_reading_while_the_log_is_rotated_finds_every_file_once(store: Store, outputs: Outputs) -> None:
    directory = keep(store)
    writer = Writer(directory)
    for _ in range(5):
        writer.line()
        writer.rotate()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            writer.line()
            writer.rotate()
            time.sleep(0.001)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(30):
            files = log_files.open_files(str(directory))
            text = b"".join(os.read(file.descriptor, 1 << 20) for file in files)
            for file in files:
                file.close()
            seen = [int(line.rpartition(b" ")[2]) for line in text.splitlines()]
            assert seen == list(range(len(seen)))
    finally:
        stop.set()
        thread.join()
