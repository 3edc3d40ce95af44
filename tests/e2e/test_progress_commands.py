"""What `load`, `save`, `import`, `commit`, `export` and `system check` say while they work."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.command import COMMAND, Hyrun, Template
from e2e.terminal import at_terminal


def objects(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def slowly(path: Path, data: bytes) -> Callable[[], None]:
    """Write half of the data to a fifo in a thread, and the rest when the function that this returns is called."""
    go_on = threading.Event()

    def write() -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            go_on.wait()
            file.write(data[len(data) // 2 :])

    thread = threading.Thread(target=write, daemon=True)
    thread.start()

    def finish() -> None:
        go_on.set()
        thread.join()

    return finish


def test_load_says_a_line_for_each_layer_in_a_pipe(hyrun: Hyrun, template: Template, tmp_path: Path) -> None:
    other = {"HYRUN_ROOT": str(tmp_path / "second")}
    first = hyrun("load", "-i", template.archive, env=other)
    assert all(re.fullmatch(r"[0-9a-f]{12}: Layer loaded", line) for line in first.stderr.splitlines())
    assert first.stderr
    again = hyrun("load", "-i", template.archive, env=other)
    assert again.stderr == first.stderr.replace("Layer loaded", "Already exists")
    assert again.stdout == first.stdout
    assert all(line.startswith("Loaded image: ") for line in first.stdout.splitlines())
    assert hyrun("load", "-q", "-i", template.archive, env=other).stderr == ""


def test_load_has_a_bar_on_a_terminal(hyrun: Hyrun, template: Template) -> None:
    fifo = hyrun.cwd / "fifo"
    os.mkfifo(fifo)
    finish = slowly(fifo, template.archive.read_bytes())
    with at_terminal("load", "-i", fifo, columns=120) as terminal:
        terminal.expect(r"archive.* Reading .*/\? ")
        finish()
        terminal.expect("Loaded image: busybox:latest\r\n")
        assert terminal.wait() == 0


def test_import_has_a_bar_on_a_terminal_and_prints_the_id(hyrun: Hyrun, template: Template) -> None:
    plain = template.rootfs.read_bytes()
    fifo = hyrun.cwd / "fifo"
    os.mkfifo(fifo)
    finish = slowly(fifo, plain)
    with at_terminal("import", fifo, "mine", columns=120) as terminal:
        terminal.expect("fifo Importing")
        finish()
        terminal.expect("sha256:[0-9a-f]{64}\r\n")
        assert terminal.wait() == 0


@pytest.mark.parametrize("command", ["save", "export"])
def test_writing_has_a_bar_on_a_terminal(hyrun: Hyrun, command: str) -> None:
    script = "dd if=/dev/zero of=/large bs=1M count=4 2>/dev/null"
    hyrun("run", "--name", "one", "busybox", "sh", "-c", script)
    hyrun("commit", "one", "large")
    fifo = hyrun.cwd / "fifo"
    os.mkfifo(fifo)
    # Into a pipe only when it is asked for: who reads that has bars of its own.
    with at_terminal(
        command, "--progress", "tty", "-o", fifo, "large" if command == "save" else "one", columns=120
    ) as terminal, fifo.open("rb") as file:  # fmt: skip
        terminal.expect("Saving layer" if command == "save" else "one Exporting")
        if command == "save":
            terminal.expect("Total")
        while file.read(1 << 16):
            pass
        assert terminal.wait() == 0


def test_save_and_export_are_silent_into_a_pipe_and_write_the_archive_only(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    for command in (("save", "busybox"), ("export", "one")):
        done = subprocess.run([*COMMAND, *command], capture_output=True, check=True, cwd=hyrun.cwd)
        assert done.stderr == b""
        hyrun(*command, "-o", "out.tar")
        assert (hyrun.cwd / "out.tar").read_bytes() == done.stdout
    lines = hyrun("save", "-o", "out.tar", "busybox").stderr.splitlines()
    assert lines
    assert all(re.fullmatch(r"[0-9a-f]{12}: Layer saved", line) for line in lines)
    with (hyrun.cwd / "again.tar").open("wb") as file:
        done = subprocess.run(
            [*COMMAND, "save", "--progress", "json", "busybox"], stdout=file, stderr=subprocess.PIPE, check=True
        )
    assert (hyrun.cwd / "again.tar").read_bytes() == (hyrun.cwd / "out.tar").read_bytes()
    assert objects(done.stderr.decode())[-1]["status"] == "Layer saved"


def test_commit_import_and_check_tell_programs(hyrun: Hyrun, template: Template) -> None:
    hyrun("run", "--name", "one", "busybox", "touch", "/file")
    done = hyrun("commit", "--progress", "json", "one", "two")
    assert {"status": "Committing", "progressDetail": {}, "id": "one"} in objects(done.stderr)
    assert re.fullmatch("sha256:[0-9a-f]{64}\n", done.stdout)
    assert hyrun("commit", "one", "two").stderr == ""
    hyrun("export", "-o", "root.tar", "one")
    done = hyrun("import", "--progress", "json", "root.tar", "three")
    assert {"status": "Importing", "progressDetail": {}, "id": "root.tar"} in objects(done.stderr)
    assert hyrun("import", "root.tar", "three").stderr == ""
    done = hyrun("system", "check", "--progress", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {item["status"] for item in lines} == {"Waiting", "Checking", "Checked"}
    assert hyrun("system", "check").stderr == "No damage was found.\n"


@pytest.mark.parametrize(
    "command",
    [
        ("load", "-i", "x"),
        ("save", "-o", "x", "busybox"),
        ("import", "x"),
        ("commit", "one"),
        ("export", "-o", "x", "one"),
        ("system", "check"),
    ],
)
def test_another_way_is_refused(hyrun: Hyrun, command: tuple[str, ...]) -> None:
    hyrun("create", "--name", "one", "busybox")
    assert "one of auto, tty, plain, json" in hyrun.refused(*command, "--progress", "loud", code=1)
    assert not (hyrun.cwd / "x").exists()
