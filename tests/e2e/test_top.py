"""`top` and `stats`: the processes of a container and what they use, without running anything of its image."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from e2e.command import COMMAND, Hyrun, until
from hyrun import container_list, processes, stats
from hyrun.store import Store

HEAD = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]


def rows(text: str) -> list[list[str]]:
    return [line.split(None, 7) for line in text.splitlines()]


def test_dockers_columns_with_the_hosts_pids_and_users(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "box", "-u", "1:1")
    pid = hyrun.record("box")["State"]["Pid"]
    head, row = rows(hyrun.out("top", "box"))
    assert head == HEAD
    owner = subprocess.run(["id", "-un", "1"], capture_output=True, text=True, check=True).stdout.strip()
    assert row[:2] == [owner, str(pid)]
    assert row[2] == Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert re.fullmatch(r"\d\d:\d\d", row[4])
    assert row[5:] == ["?", "00:00:00", "sleep 600"]


def test_all_processes_and_nobody_elses(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "other")
    hyrun.ready("run", "--name", "box", "busybox", "sh", "-c", "sleep 601 & sleep 602 & echo ready; wait")
    until(lambda: len(rows(hyrun.out("container", "top", "box"))) == 4, "both have started")
    commands = {row[7] for row in rows(hyrun.out("top", "box"))[1:]}
    assert {"sleep 601", "sleep 602"} < commands
    assert "sleep 600" not in commands


def test_options_go_to_the_hosts_ps(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "box")
    pid = hyrun.record("box")["State"]["Pid"]
    assert rows(hyrun.out("top", "box", "-o", "pid,comm")) == [["PID", "COMMAND"], [str(pid), "sleep"]]
    assert rows(hyrun.out("top", "box", "-e", "-o", "comm,pid")) == [["COMMAND", "PID"], ["sleep", str(pid)]]
    assert "has no column PID" in hyrun.refused("top", "box", "-o", "comm", code=1)
    assert "ps --nosuch" in hyrun.refused("top", "box", "--nosuch", code=1)


def test_the_images_ps_is_not_run(hyrun: Hyrun) -> None:
    script = "printf '#!/bin/sh\\ntouch /ran\\n' > /bin/ps; chmod +x /bin/ps; echo ready; exec sleep 600"
    hyrun.ready("run", "--name", "box", "-e", "PATH=/bin", "busybox", "sh", "-c", script)
    hyrun("top", "box")
    hyrun("top", "box", "-o", "pid")
    assert not (Path(hyrun.record("box")["GraphDriver"]["Data"]["UpperDir"]) / "ran").exists()


def test_a_command_line_cannot_drive_the_terminal(hyrun: Hyrun) -> None:
    hyrun.ready("run", "--name", "box", "busybox", "sh", "-c", "echo ready; sleep 600; : '\033[2J\007'")
    for options in ((), ("-o", "pid,args")):
        text = hyrun.out("top", "box", *options)
        assert "\033" not in text
        assert "\007" not in text
    assert r"\x1b[2J" in hyrun.out("top", "box")


@pytest.mark.parametrize("command", ["top", "stats"])
def test_what_does_not_run_or_exist(hyrun: Hyrun, command: str) -> None:
    hyrun("run", "--name", "ended", "busybox", "true")
    assert "no such container" in hyrun.refused(command, "nosuch", code=1)
    if command == "top":
        assert "is not running" in hyrun.refused("top", "ended", code=1)


def test_the_processes_are_those_of_the_pid_namespace(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "box")
    record = container_list.find(Store(), "box")
    with processes.of(Store(), record) as found:
        assert found.pids() == [record.pid]
        assert not found.holds(os.getpid())
        assert not found.holds(1)
        os.kill(record.pid, 9)
        hyrun.started[0].wait(20)
        assert found.pids() == []
        assert not found.alive()
        assert found.open("root", os.O_PATH) is None
    assert processes.find(Store(), record.id) is None


def test_a_pid_that_belongs_to_another_process_by_now_is_not_the_container(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "box")
    identifier = container_list.find(Store(), "box").id
    path = hyrun.run / f"{identifier}.json"
    state = json.loads(path.read_text())
    for change in ({"pid": os.getpid()}, {"start": state["start"] + 1}, {"boot": "another"}, {"pid": 0}):
        path.write_text(json.dumps(state | change))
        assert processes.find(Store(), identifier) is None
    path.write_text(json.dumps(state))


def test_a_pid_namespace_in_the_container_belongs_to_it(hyrun: Hyrun) -> None:
    # What a container with more rights could do: a namespace below its own, made from outside here.
    hyrun.sleeper("--name", "box")
    record = container_list.find(Store(), "box")
    command = ["nsenter", "-t", str(record.pid), "-p", "unshare", "-f", "-p", "sleep", "603"]
    inner = subprocess.Popen(command)
    try:
        with processes.of(Store(), record) as found:
            until(lambda: any(is_sleep(pid) for pid in found.pids()), "the inner one is found")
    finally:
        subprocess.run(["pkill", "-KILL", "-P", str(inner.pid)], check=False)
        with processes.of(Store(), record) as found:
            for pid in found.pids():
                if pid != record.pid:
                    os.kill(pid, 9)
        inner.wait(20)


def is_sleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00603\x00"


# stats


def test_one_line_for_each_that_runs(hyrun: Hyrun) -> None:
    hyrun.ready("run", "--name", "busy", "busybox", "sh", "-c", "echo ready; while :; do :; done")
    hyrun("run", "--name", "ended", "busybox", "true")
    head, line = hyrun.lines("stats", "--no-stream")
    assert re.split(r" {2,}", head) == [
        "CONTAINER ID",
        "NAME",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "NET I/O",
        "BLOCK I/O",
        "PIDS",
    ]
    fields = re.split(r" {2,}", line)
    assert fields[0] == container_list.find(Store(), "busy").id[:12]
    assert fields[1] == "busy"
    assert float(fields[2].removesuffix("%")) > 5
    assert re.fullmatch(r"[\d.]+[KM]iB / [\d.]+GiB", fields[3])
    assert fields[5] == "0B / 0B"
    assert fields[7] == "1"


def test_formats_and_those_that_do_not_run(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "box")
    hyrun("run", "--name", "ended", "busybox", "true")
    found = [json.loads(line) for line in hyrun.lines("stats", "-a", "--no-stream", "--no-trunc", "--format", "json")]
    assert {row["Name"]: row["PIDs"] for row in found} == {"box": "1", "ended": "0"}
    assert set(found[0]) == {
        "BlockIO",
        "CPUPerc",
        "Container",
        "ID",
        "MemPerc",
        "MemUsage",
        "Name",
        "NetIO",
        "PIDs",
    }
    assert {len(row["ID"]) for row in found} == {64}
    ended = next(row for row in found if row["Name"] == "ended")
    assert (ended["CPUPerc"], ended["MemUsage"], ended["MemPerc"]) == ("0.00%", "0B / 0B", "0.00%")
    template = "{{.Container}} {{.Name}}"
    assert hyrun.lines("container", "stats", "--no-stream", "--format", template, "ended", "box") == [
        "ended ended",
        "box box",
    ]


def test_it_counts_what_the_processes_do(hyrun: Hyrun) -> None:
    script = "dd if=/dev/zero of=/f bs=1M count=8 conv=fsync 2>/dev/null; sleep 600 & sleep 600 & echo ready; wait"
    hyrun.ready("run", "--name", "box", "busybox", "sh", "-c", script)
    record = container_list.find(Store(), "box")
    until(lambda: stats.sample(Store(), record).pids == 3, "all have started")
    found = stats.sample(Store(), record)
    # dd has ended: its parent has waited for it, and so what it wrote and used is not lost.
    assert found.written >= 8 << 20
    assert found.cpu >= 0
    assert 0 < found.memory < 64 << 20


def test_a_table_that_is_drawn_anew_on_a_terminal(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "box")
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, "stats"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    seen = b""
    while seen.count(b"box") < 2:
        seen += os.read(ours, 65536)
    process.send_signal(2)
    assert process.wait(20) in (0, 130)
    assert process.stderr is not None
    process.stderr.close()
    os.close(ours)


def test_binary_sizes_are_dockers() -> None:
    sizes = (0, 1023, 1024, 1.5 * 1024**2, 1.9384765625 * 1024**3)
    assert [stats.binary_size(n) for n in sizes] == ["0B", "1023B", "1KiB", "1.5MiB", "1.938GiB"]
