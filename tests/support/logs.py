"""A container's log, printed into two files."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyrun import logs
from hyrun.store import Store
from support.handmade import settle

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
