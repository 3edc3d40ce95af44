"""`logs`: records of a log become what the container wrote; tail and rotation."""

import os
import random
from pathlib import Path

import pytest

from hyrun import log_files, logs
from hyrun.errors import NotFound
from hyrun.store import Store
from support.handmade import keep, lines, make, settle
from support.logs import ERR, OUT, SECOND, START, Outputs, outputs, printed

__all__ = ["outputs"]


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
