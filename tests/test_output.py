"""What commands print, seen as a script and as a terminal see it."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from hyrun.cli import output
from hyrun.errors import InvalidArgument
from hyrun.units import ago

ITEMS: list[dict[str, Any]] = [
    {"ID": "abc", "Names": "web", "Mounts": "v1", "Label": {"a": "1"}.get},
    {"ID": "0123456789ab", "Names": "a_rather_long_name", "Mounts": "", "Label": {}.get},
]


def emit(fmt: str | None, *, items: list[dict[str, Any]] = ITEMS, quiet_key: str | None = None) -> None:
    output.emit(fmt, headers=["container id", "names"], columns=["ID", "Names"], items=items, quiet_key=quiet_key)


def on_a_terminal(code: str, **environment: str) -> str:
    """Run Python code with stdout and stderr on a terminal of its own; return what it shows."""
    master, slave = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    env |= {"TERM": "xterm", **environment}
    with os.fdopen(master, "rb", buffering=0) as screen:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=slave, stderr=slave, env=env)
        os.close(slave)
        shown = b""
        try:
            while piece := screen.read(65536):
                shown += piece
        except OSError:
            # EIO: the last writer is gone.
            pass
        assert child.wait() == 0, shown
    return shown.decode().replace("\r\n", "\n")


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_table_is_aligned_as_dockers(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["id", "tag", "size"], [["abc", "latest", "1MB"], ["0123456789ab", "x", "22.5MB"]])
    assert capsys.readouterr().out == (
        "ID             TAG       SIZE\n"
        "abc            latest    1MB\n"
        "0123456789ab   x         22.5MB\n"
    )  # fmt: skip


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["id", "tag"], [])
    assert capsys.readouterr().out == "ID        TAG\n"


def test_a_cell_cannot_drive_the_terminal_or_break_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["id", "label"], [["a", "\x1b[31mred\nb\u202e"]])
    assert capsys.readouterr().out == "ID        LABEL\na         \\x1b[31mred\\nb\\u202e\n"


@pytest.mark.parametrize("fmt", [None, "table", "", " table "])
def test_the_default_is_the_table_of_the_command(fmt: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    emit(fmt)
    assert capsys.readouterr().out == (
        "CONTAINER ID   NAMES\n"
        "abc            web\n"
        "0123456789ab   a_rather_long_name\n"
    )  # fmt: skip


def test_json_is_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    emit("json")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["ID"] for line in lines] == ["abc", "0123456789ab"]
    assert lines[0] == '{"ID":"abc","Names":"web","Mounts":"v1"}'


def test_a_table_of_chosen_fields_has_their_headers(capsys: pytest.CaptureFixture[str]) -> None:
    emit(r"table {{.ID}}\t{{json .Names}}\t{{.Mounts}}")
    assert capsys.readouterr().out == (
        "CONTAINER ID   NAMES                  MOUNTS\n"
        'abc            "web"                  v1\n'
        '0123456789ab   "a_rather_long_name"   \n'
    )


def test_a_header_of_several_words_is_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    emit(r"table {{.RunningFor}}\t{{.ImageID}}\t{{.CPUPerc}}", items=[])
    assert capsys.readouterr().out == "RUNNING FOR   IMAGE ID   CPU PERC\n"


def test_a_template_gives_one_line_per_item(capsys: pytest.CaptureFixture[str]) -> None:
    emit(r'{{.ID}}\t{{.Names}}:{{.Label "a"}}')
    assert capsys.readouterr().out == "abc\tweb:1\n0123456789ab\ta_rather_long_name:<no value>\n"


def test_a_bad_template_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidArgument, match='map has no entry for key "Nope"'):
        emit("table {{.ID}}\t{{.Nope}}")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("fmt", ["json", "{{.ID}}", None])
def test_no_items_are_no_lines_but_a_header(fmt: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    emit(fmt, items=[])
    assert capsys.readouterr().out == ("" if fmt else "CONTAINER ID   NAMES\n")


def test_quiet_prints_the_key_alone_unless_a_format_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    emit(None, quiet_key="ID")
    emit("table", quiet_key="ID")
    assert capsys.readouterr().out == "abc\n0123456789ab\n" * 2
    emit("{{.Names}}", quiet_key="ID")
    assert capsys.readouterr().out == "web\na_rather_long_name\n"


def test_json_for_people_is_indented_and_for_lines_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json([{"ä": 1}])
    output.print_json({"b": [1, 2]}, indent=None)
    assert capsys.readouterr().out == '[\n    {\n        "ä": 1\n    }\n]\n{"b":[1,2]}\n'


def test_messages_go_to_stderr_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    output.message("user \x1b[2J: not found\n\tsecond line")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "user \\x1b[2J: not found\n\tsecond line\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0B"), (1, "1B"), (999, "999B"), (1000, "1kB"), (1024, "1.02kB"), (1_234_567, "1.23MB"),
        (12_345_678, "12.3MB"), (123_456_789, "123MB"), (999_400, "999kB"), (999_900, "1MB"),
        (10**12, "1TB"), (2**70, "1.18ZB"),
    ],
)  # fmt: skip
def test_sizes_have_three_digits_and_decimal_units(number: int, text: str) -> None:
    assert output.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"), (0.9, "Less than a second"), (1, "1 second"), (59.9, "59 seconds"),
        (60, "About a minute"), (119, "About a minute"), (120, "2 minutes"), (3599, "59 minutes"),
        (3600, "About an hour"), (5399, "About an hour"), (5400, "2 hours"), (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"), (13 * 86400, "13 days"), (14 * 86400, "2 weeks"), (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"), (729 * 86400, "24 months"), (730 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_durations_are_in_dockers_words(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (1000.0, "5 minutes ago"),
        ("1970-01-01T00:16:40Z", "5 minutes ago"),
        ("1970-01-01T00:15:40.123456789Z", "6 minutes ago"),
        ("1970-01-01T02:15:40.5+02:00", "6 minutes ago"),
        ("1970-01-01T00:16:40", "5 minutes ago"),
        ("0001-01-01T00:00:00Z", "N/A"),
        ("9999-12-31T23:59:59-23:59", "Less than a second ago"),
        ("yesterday", "N/A"),
        ("", "N/A"),
        (None, "N/A"),
        (float("nan"), "N/A"),
        (1e300, "N/A"),
    ],
)
def test_moments_of_any_origin_are_told_as_ago(timestamp: float | str | None, text: str) -> None:
    assert ago(timestamp, now=1300.0) == text


def test_a_short_id_has_twelve_digits() -> None:
    assert output.short_id("sha256:" + "ab" * 32) == "ab" * 6
    assert output.short_id("cd" * 32) == "cd" * 6


TABLE = "from hyrun.cli import output; output.table(['id'], [['a']])"


def test_a_terminal_gets_a_bold_header() -> None:
    assert on_a_terminal(TABLE) == "\x1b[1mID\x1b[0m\na\n"


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colour_gets_plain_text(environment: dict[str, str]) -> None:
    assert on_a_terminal(TABLE, **environment) == "ID\na\n"


def test_json_on_a_terminal_is_json_and_drives_nothing() -> None:
    code = r"from hyrun.cli import output; output.print_json({'v\x9b5m\u202e\x7f\U000e0001': ['\x1b', 'ä']})"
    shown = on_a_terminal(code)
    assert json.loads(shown) == {"v\x9b5m\u202e\x7f\U000e0001": ["\x1b", "ä"]}
    assert shown.replace("\n", "").isprintable()
    assert "ä" in shown


def test_a_pipe_gets_plain_text_and_no_import_of_rich() -> None:
    done = run(TABLE + "; import sys; print('rich' in sys.modules)")
    assert done.stdout == "ID\na\nFalse\n"


@pytest.mark.parametrize(
    "call",
    [
        "output.table(['id'], [['a']])",
        "output.print_json({})",
        "output.emit('{{.A}}', headers=[], columns=[], items=[{'A': 'x' * 9}])",
    ],
)
def test_a_reader_that_went_away_ends_the_program_quietly(call: str) -> None:
    code = (
        "import sys\nfrom hyrun.cli import output\nsys.stdin.read()\n"
        f"try:\n    {call}\nexcept BrokenPipeError:\n    sys.exit(output.pipe_closed())\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    # Buffered, as for everybody: what the first flush could not write is tried again at exit.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=b"", stdout=writer, stderr=subprocess.PIPE, check=False, env=env)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_messages_nobody_reads_are_dropped() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from hyrun.cli import output; output.message('x'); output.message('y'); print('z')"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, b"z\n")


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_descriptor_is_no_error(closed: int) -> None:
    code = "from hyrun.cli import output; output.message('x'); output.table(['id'], [])"
    preexec: Callable[[], None] = lambda: os.close(closed)  # noqa: E731
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, preexec_fn=preexec)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"x\n" if closed == 1 else b"ID\n")


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"\\xe4\\udcff\n"), ("utf-8", b"\xc3\xa4\\udcff\n")])
def test_text_the_stream_cannot_hold_is_escaped(encoding: str, shown: bytes) -> None:
    code = "from hyrun.cli import output; output.print_json('\\xe4\\udcff', indent=None)"
    env = os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=env)
    assert (done.returncode, done.stdout) == (0, b'"' + shown[:-1] + b'"\n'), done.stderr
