"""`logs`: records of a log become what the container wrote; tail, follow and rotation."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from hyrun import log_files, logs
from hyrun.errors import NotFound
from hyrun.store import Store
from support.handmade import PATIENCE, keep, lines, make, monitored, settle, shell

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND

OUT, ERR = "stdout", "stderr"


class Outputs:
    """Two files that the log is printed to."""

    def __init__(self, directory: Path) -> None:
        self.paths = directory / "out", directory / "err"
        self.descriptors = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for path in self.paths]

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)

    @property
    def out(self) -> bytes:
        return self.paths[0].read_bytes()

    @property
    def err(self) -> bytes:
        return self.paths[1].read_bytes()


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[Outputs]:
    found = Outputs(tmp_path)
    yield found
    found.close()


def printed(
    store: Store,
    outputs: Outputs,
    *,
    follow: bool = False,
    tail: int | None = None,
    timestamps: bool = False,
    since: int | None = None,
    until: int | None = None,
) -> tuple[bytes, bytes]:
    out, err = outputs.descriptors
    printer = logs.Printer(out, err, timestamps=timestamps, since=since, until=until)
    logs.show(store, settle(store), printer, output=out, follow=follow, tail=tail)
    return outputs.out, outputs.err


def test_streams_are_apart_and_partial_records_are_joined(store: Store, outputs: Outputs) -> None:
    records = lines((OUT, "P", "one "), (ERR, "F", "error"), (OUT, "F", "line"), (OUT, "F", ""), (OUT, "P", "no end"))
    (keep(store) / "container.log").write_bytes(records)
    assert printed(store, outputs) == (b"one line\n\nno end", b"error\n")


def test_bytes_are_kept(store: Store, outputs: Outputs) -> None:
    odd = bytes(set(range(256)) - {10})
    time = b"2026-01-01T00:00:00.000000000Z"
    (keep(store) / "container.log").write_bytes(time + b" stdout F " + odd + b"\n" + time + b" stdout F a\r\n")
    assert printed(store, outputs) == (odd + b"\na\r\n", b"")


def test_order_is_kept_when_both_go_to_one_place(store: Store, tmp_path: Path) -> None:
    (keep(store) / "container.log").write_bytes(lines((OUT, "F", "1"), (ERR, "F", "2"), (OUT, "F", "3")))
    reader, writer = os.pipe()
    try:
        logs.show(store, settle(store), logs.Printer(writer, writer), output=writer)
        assert os.read(reader, 100) == b"1\n2\n3\n"
    finally:
        os.close(reader)
        os.close(writer)


def test_timestamps_stand_once_before_each_line(store: Store, outputs: Outputs) -> None:
    records = lines((OUT, "P", "a"), (ERR, "F", "e"), (OUT, "F", "b"), (OUT, "F", "c"))
    (keep(store) / "container.log").write_bytes(records)
    assert printed(store, outputs, timestamps=True) == (
        b"2026-01-01T00:00:00.000000000Z ab\n2026-01-01T00:00:03.000000000Z c\n",
        b"2026-01-01T00:00:01.000000000Z e\n",
    )


def test_rotated_files_come_first_the_oldest_before_all(store: Store, outputs: Outputs) -> None:
    directory = keep(store)
    for number in range(12):
        name = f"container.log.{number}" if number else "container.log"
        (directory / name).write_bytes(lines((OUT, "F", str(11 - number))))
    for name in ("container.log.x", "container.log.0", "container.log.1.gz"):
        (directory / name).write_bytes(lines((OUT, "F", "strange")))
    assert printed(store, outputs)[0] == b"".join(b"%d\n" % number for number in range(12))


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (b"2026-01-01T00:00:01.000000000Z stdout F half", b"whole\nhalf"),
        (b"2026-01-01T00:00:01.000000000Z stdout F ", b"whole\n"),
        (b"2026-01-01T00:00:01.000000000Z stdou", b"whole\n"),
        (b"2026", b"whole\n"),
        (b"\0" * 100, b"whole\n"),
    ],
)
def test_torn_end_is_tolerated(store: Store, outputs: Outputs, end: bytes, expected: bytes) -> None:
    (keep(store) / "container.log").write_bytes(lines((OUT, "F", "whole")) + end)
    assert printed(store, outputs)[0] == expected


def test_record_behind_a_torn_header_is_found(store: Store, outputs: Outputs) -> None:
    torn = b"2026-01-01T00:00:00.00" + lines((OUT, "F", "next")) + b"\n\nnonsense\n" + lines((OUT, "F", "last"))
    (keep(store) / "container.log").write_bytes(torn)
    assert printed(store, outputs)[0] == b"next\nlast\n"


def test_since_and_until(store: Store, outputs: Outputs) -> None:
    (keep(store) / "container.log").write_bytes(lines(*[(OUT, "F", str(number)) for number in range(5)]))
    seen = printed(store, outputs, since=START + SECOND, until=START + 3 * SECOND)
    assert seen[0] == b"1\n2\n3\n"


def test_container_without_a_log_has_written_nothing(store: Store, outputs: Outputs) -> None:
    keep(store)
    assert printed(store, outputs) == (b"", b"")
    assert printed(store, outputs, follow=True, tail=5) == (b"", b"")


def test_foreground_container_is_told_to_have_none(store: Store, outputs: Outputs) -> None:
    make(store)
    with pytest.raises(NotFound, match=r"foreground with --rm.*its output goes to its caller"):
        printed(store, outputs)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 100])
def test_tail_across_files(store: Store, outputs: Outputs, count: int) -> None:
    directory = keep(store)
    (directory / "container.log.2").write_bytes(lines((OUT, "F", "0"), (OUT, "F", "1")))
    (directory / "container.log.1").write_bytes(lines((OUT, "F", "2"), start=2))
    (directory / "container.log").write_bytes(lines((OUT, "F", "3"), (OUT, "F", "4"), start=3))
    expected = [b"0\n", b"1\n", b"2\n", b"3\n", b"4\n"]
    assert printed(store, outputs, tail=count)[0] == b"".join(expected[len(expected) - min(count, 5) :])


def test_tail_takes_the_whole_of_a_line_and_nothing_between(store: Store, outputs: Outputs) -> None:
    records = lines((ERR, "F", "old"), (OUT, "P", "a"), (ERR, "F", "between"), (OUT, "P", "b"), (OUT, "F", "c"))
    (keep(store) / "container.log").write_bytes(records)
    assert printed(store, outputs, tail=1) == (b"abc\n", b"")


def test_tail_counts_an_unfinished_line_of_each_stream(store: Store, outputs: Outputs) -> None:
    records = lines((OUT, "F", "1"), (OUT, "P", "out"), (ERR, "P", "err"))
    (keep(store) / "container.log").write_bytes(records)
    assert printed(store, outputs, tail=2) == (b"out", b"err")


def test_tail_of_lines_until_a_moment(store: Store, outputs: Outputs) -> None:
    (keep(store) / "container.log").write_bytes(lines(*[(OUT, "F", str(number)) for number in range(9)]))
    assert printed(store, outputs, tail=2, until=START + 4 * SECOND)[0] == b"3\n4\n"


@pytest.mark.parametrize("seed", range(30))
def test_tail_is_the_end_of_everything(
    store: Store, outputs: Outputs, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    # Small pieces: what is found must not depend on where they are cut.
    monkeypatch.setattr(log_files, "_PIECE", chance.choice([50, 120, 1000, 1 << 20]))
    records = []
    texts: dict[str, list[str]] = {OUT: [""], ERR: [""]}
    for _ in range(chance.randrange(1, 60)):
        stream, tag, data = chance.choice((OUT, OUT, ERR)), chance.choice("FFFP"), "x" * chance.randrange(8)
        records.append((stream, tag, data))
        texts[stream][-1] += data
        if tag == "F":
            texts[stream][-1] += "\n"
            texts[stream].append("")
    whole = lines(*records)
    cuts = sorted(chance.sample(range(len(records) + 1), k=min(2, len(records))))
    directory = keep(store)
    parts = whole.splitlines(keepends=True)
    for number, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(parts)], strict=True)):
        rest = len(cuts) - number
        (directory / (f"container.log.{rest}" if rest else "container.log")).write_bytes(b"".join(parts[begin:end]))
    # A line counts where its last record stands.
    last: dict[tuple[str, int], int] = {}
    place = {OUT: 0, ERR: 0}
    for index, (stream, tag, _) in enumerate(records):
        last[stream, place[stream]] = index
        place[stream] += tag == "F"
    order = sorted(last, key=lambda line: last[line])
    count = chance.randrange(len(order) + 2)
    chosen = set(order[len(order) - min(count, len(order)) :])
    expected = {OUT: "", ERR: ""}
    for stream in (OUT, ERR):
        expected[stream] = "".join(text for number, text in enumerate(texts[stream]) if (stream, number) in chosen)
    assert printed(store, outputs, tail=count) == (expected[OUT].encode(), expected[ERR].encode())


def test_tail_of_a_large_log_reads_its_end_only(store: Store, outputs: Outputs) -> None:
    path = keep(store) / "container.log"
    piece = lines(*[(OUT, "F", "x" * 60) for _ in range(1000)])
    with open(path, "wb") as file:
        file.truncate(1 << 30)  # a hole: reading it all would find no record
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + piece)
    assert printed(store, outputs, tail=10)[0] == (b"x" * 60 + b"\n") * 10


def test_many_records_are_printed_as_they_are(store: Store, outputs: Outputs) -> None:
    expected = {OUT: b"", ERR: b""}
    records = []
    for number in range(40_000):
        stream = ERR if number % 7 == 0 else OUT
        records.append((stream, "F", f"line {number}"))
        expected[stream] += f"line {number}\n".encode()
    (keep(store) / "container.log").write_bytes(lines(*records))
    assert printed(store, outputs) == (expected[OUT], expected[ERR])


# --- follow


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
