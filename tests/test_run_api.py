"""`hyrun.run`: containers from Python, in the shape of subprocess.run."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import hyrun
from hyrun.store import Store
from support.api import loaded, place

__all__ = ["loaded", "place"]

PATIENCE = 20


def sh(script: str, **options: Any) -> Any:
    options = {"capture_output": True, "text": True} | options
    return hyrun.run("busybox", ["sh", "-c", script], **options)


def pid_of(store: Store, name: str) -> int:
    """Return the pid of a container's pid 1, once it is recorded: its first output may come before."""
    from hyrun import container_list

    end = time.monotonic() + PATIENCE
    while not (pid := container_list.find(store, name).pid):
        assert time.monotonic() < end
        time.sleep(0.005)
    return pid


def test_result_has_the_fields_of_completed_process() -> None:
    result = hyrun.run("busybox", ["sh", "-c", "echo out; echo err >&2; exit 3"], capture_output=True)
    assert isinstance(result, hyrun.CompletedProcess)
    assert result.args == ["sh", "-c", "echo out; echo err >&2; exit 3"]
    assert (result.returncode, result.stdout, result.stderr) == (3, b"out\n", b"err\n")


def test_streams_are_none_unless_captured() -> None:
    result = hyrun.run("busybox", ["true"])
    assert (result.returncode, result.stdout, result.stderr) == (0, None, None)


def test_text_decodes_and_translates_newlines() -> None:
    assert sh(r"printf 'ü\r\nx'").stdout == "ü\nx"


def test_encoding_is_used() -> None:
    assert sh(r"printf '\374'", text=False, encoding="latin-1").stdout == "ü"


def test_only_stdout_can_be_captured() -> None:
    result = hyrun.run("busybox", ["echo", "x"], stdout=hyrun.PIPE)
    assert (result.stdout, result.stderr) == (b"x\n", None)


def test_stderr_can_go_into_stdout() -> None:
    result = hyrun.run("busybox", ["sh", "-c", "echo 1; echo 2 >&2; echo 3"], stdout=hyrun.PIPE, stderr=hyrun.STDOUT)
    assert (result.stdout, result.stderr) == (b"1\n2\n3\n", None)


def test_devnull_discards() -> None:
    result = hyrun.run("busybox", ["sh", "-c", "echo 1; echo 2 >&2"], stdout=hyrun.DEVNULL, stderr=hyrun.PIPE)
    assert (result.stdout, result.stderr) == (None, b"2\n")


def test_constants_are_those_of_subprocess() -> None:
    assert (hyrun.PIPE, hyrun.STDOUT, hyrun.DEVNULL) == (subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL)


def test_files_can_be_stdin_and_stdout(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("through")
    with (tmp_path / "in").open() as source, (tmp_path / "out").open("w") as target:
        hyrun.run("busybox", ["cat"], stdin=source, stdout=target, check=True)
    assert (tmp_path / "out").read_text() == "through"


def test_input_reaches_the_command() -> None:
    assert sh("cat", input="text").stdout == "text"
    assert hyrun.run("busybox", ["cat"], input=b"bytes", capture_output=True).stdout == b"bytes"
    assert sh("cat", input="").stdout == ""


def test_without_input_stdin_is_empty() -> None:
    assert sh("cat").stdout == ""


def test_large_output_on_both_streams_is_complete() -> None:
    script = "head -c 8388608 /dev/zero & head -c 8388608 /dev/zero >&2; wait"
    result = sh(script, text=False)
    assert (len(result.stdout), len(result.stderr)) == (8_388_608, 8_388_608)


def test_large_input_is_written_while_the_output_is_read() -> None:
    data = os.urandom(1 << 20)
    assert hyrun.run("busybox", ["cat"], input=data, capture_output=True).stdout == data


def test_input_that_nobody_reads_is_dropped() -> None:
    assert hyrun.run("busybox", ["true"], input=bytes(1 << 20), capture_output=True).returncode == 0


def test_death_by_signal_is_negative(place: Store) -> None:
    reader, writer = os.pipe()
    with ThreadPoolExecutor(1) as other, os.fdopen(reader) as output:
        ended = other.submit(hyrun.run, "busybox", ["sh", "-c", "echo ready; sleep 600"], name="victim", stdout=writer)
        assert output.readline() == "ready\n"
        os.close(writer)
        os.kill(pid_of(place, "victim"), signal.SIGKILL)
        assert ended.result(PATIENCE).returncode == -signal.SIGKILL


def test_timeout_kills_and_has_the_partial_output() -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        sh("echo begun; echo oops >&2; sleep 600", timeout=0.3)
    assert isinstance(caught.value, hyrun.TimeoutExpired)
    assert isinstance(caught.value, hyrun.HyrunError)
    assert (caught.value.stdout, caught.value.stderr, caught.value.timeout) == ("begun\n", "oops\n", 0.3)
    assert caught.value.cmd == ["sh", "-c", "echo begun; echo oops >&2; sleep 600"]


def test_timeout_without_capture_kills_as_well() -> None:
    with pytest.raises(hyrun.TimeoutExpired):
        hyrun.run("busybox", ["sleep", "600"], timeout=0.1)


def test_timeout_while_the_input_is_not_read() -> None:
    with pytest.raises(hyrun.TimeoutExpired):
        hyrun.run("busybox", ["sleep", "600"], input=bytes(1 << 20), timeout=0.1)


def test_timeout_that_is_not_reached_changes_nothing() -> None:
    assert sh("echo x", timeout=PATIENCE).stdout == "x\n"


def test_check_raises_with_the_output() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        sh("echo out; echo err >&2; exit 3", check=True)
    assert isinstance(caught.value, hyrun.CalledProcessError)
    assert (caught.value.returncode, caught.value.stdout, caught.value.stderr) == (3, "out\n", "err\n")
    assert sh("true", check=True).returncode == 0


def test_environment_user_and_directory_are_passed() -> None:
    script = "echo $A $(id -u) $PWD $(hostname)"
    assert sh(script, env={"A": "1=2"}, user=1000, cwd="/tmp", hostname="box").stdout == "1=2 1000 /tmp box\n"
    assert sh("whoami", user="app").stdout == "app\n"


def test_volumes_mounts_and_tmpfs_are_passed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    options = {
        "volumes": [f"{tmp_path}:/v:ro", "/anonymous"],
        "mounts": [f"type=bind,src={tmp_path},dst=/m"],
        "tmpfs": ["/t"],
        "read_only": True,
    }
    script = "cat /v/file && touch /m/made /t/x /anonymous/x && ! touch /v/x 2>/dev/null && ! touch /x 2>/dev/null"
    assert sh(script, **options).returncode == 0
    assert (tmp_path / "made").exists()


def test_entrypoint_replaces() -> None:
    assert hyrun.run("busybox", ["x"], entrypoint="echo", capture_output=True).stdout == b"x\n"


def test_rootfs_is_run_without_an_image(rootfs: Path) -> None:
    assert hyrun.run("", ["cat", "/etc/hello"], rootfs=str(rootfs), capture_output=True).stdout.startswith(b"hello")


def test_container_is_kept_on_request(place: Store) -> None:
    from hyrun import container_list

    sh("exit 3", remove=False, name="kept", labels={"a": "1"})
    record = container_list.find(place, "kept")
    assert (record.status, record.exit_code, record.config["Labels"]) == ("exited", 3, {"a": "1"})
    container_list.remove(place, record)


def test_another_store_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    other = Store(str(tmp_path / "root"), str(tmp_path / "other")).prepare()
    with pytest.raises(hyrun.NotFound):
        hyrun.run("busybox", ["true"], store=other)
    assert hyrun.run("host", ["true"], store=other).returncode == 0


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ("echo x", {}),
        (b"echo x", {}),
        (["true"], {"capture_output": True, "stdout": hyrun.PIPE}),
        (["true"], {"capture_output": True, "stderr": hyrun.PIPE}),
        (["true"], {"input": b"", "stdin": hyrun.DEVNULL}),
        (["true"], {"stdin": hyrun.PIPE}),
        (["true"], {"env": {"A=B": "x"}}),
        (["true"], {"env": {"": "x"}}),
        (["true"], {"env": {"A": "x\0y"}}),
        (["true\0x"], {}),
        (["true"], {"volumes": ["a:/t"]}),
        (["true"], {"volumes": ["named:/n", "/x:/"]}),
        (["true"], {"cwd": "relative"}),
        (["true"], {"user": "nosuch"}),
        (["true"], {"network": "nosuch"}),
        (["true"], {"name": "-"}),
        (["true"], {"hostname": "a b"}),
    ],
)
def test_mistakes_are_refused_before_anything_is_made(args: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        hyrun.run("busybox", args, **options)


def test_a_string_as_volumes_is_refused() -> None:
    # As a list of characters it would make volumes of the first of them.
    for option in ("volumes", "mounts", "tmpfs"):
        with pytest.raises(hyrun.InvalidArgument, match=f"{option} '/data': give a list"):
            hyrun.run("busybox", ["true"], **{option: "/data"})  # type: ignore[arg-type]


def test_command_that_is_not_there_is_a_spawn_error() -> None:
    with pytest.raises(hyrun.SpawnError) as caught:
        hyrun.run("busybox", ["/bin/nosuch"], volumes=["/data", "named:/n"])
    error = caught.value
    assert isinstance(error, OSError)
    assert (error.step, error.errno, error.filename, error.exit_code) == ("exec", 2, "/bin/nosuch", 127)
    assert "/bin/nosuch" in str(error)


def test_failing_step_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(hyrun.SpawnError) as caught:
        hyrun.run("busybox", ["true"], volumes=[f"{tmp_path}/file:/etc"])
    assert (caught.value.step, caught.value.exit_code) == ("bind", 125)


def test_unknown_image_is_not_found() -> None:
    with pytest.raises(LookupError) as caught:
        hyrun.run("nosuch", ["true"])
    assert isinstance(caught.value, hyrun.NotFound)


def test_name_that_is_taken_is_a_conflict(place: Store) -> None:
    from hyrun import container_list

    sh("true", remove=False, name="taken")
    with pytest.raises(hyrun.Conflict):
        sh("true", name="taken")
    container_list.remove(place, container_list.find(place, "taken"))


def test_another_thread_can_run_one() -> None:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(sh("echo x").stdout))
    thread.start()
    thread.join(PATIENCE)
    assert results == ["x\n"]


def test_a_container_outlives_the_thread_that_started_another() -> None:
    # The parent-death signal counts threads: one that ends must not take the containers of others along.
    with ThreadPoolExecutor(1) as other:
        slow = other.submit(sh, "sleep 0.3; echo slow")
        for _ in range(5):
            thread = threading.Thread(target=sh, args=("true",))
            thread.start()
            thread.join(PATIENCE)
        assert slow.result(PATIENCE).stdout == "slow\n"


def test_eight_threads_at_once_do_not_mix() -> None:
    def work(number: int) -> str:
        return sh(f"read x; echo $x {number}", input=f"{number * number}\n").stdout

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(64))) == [f"{number * number} {number}\n" for number in range(64)]


def test_generator_of_arguments_and_paths_are_taken() -> None:
    assert hyrun.run("busybox", (word for word in ("echo", Path("/x"))), capture_output=True).stdout == b"/x\n"


def _python(code: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, **options)


def test_keyboard_interrupt_ends_the_container(place: Store) -> None:
    code = "import hyrun; hyrun.run('busybox', ['sh', '-c', 'echo ready; exec sleep 600'], volumes=['/data'])"
    with _python(code, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert errors.endswith("KeyboardInterrupt\n")


def test_container_dies_with_a_process_that_is_killed(place: Store) -> None:
    from hyrun import container_list

    code = "import hyrun; hyrun.run('busybox', ['sh', '-c', 'echo ready; exec sleep 600'], name='victim')"
    with _python(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pid = pid_of(place, "victim")
        process.kill()
        process.wait(PATIENCE)
        end = time.monotonic() + PATIENCE
        while Path(f"/proc/{pid}/root/bin/sh").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
    assert container_list.list_all(place) == []


def test_import_alone_loads_next_to_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import hyrun; "
        "print(*sorted(name for name in set(sys.modules) - before if name != 'hyrun'))"
    )
    with _python(code) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    assert out == "\n"


def test_a_run_loads_no_large_module() -> None:
    code = (
        "import sys; before = set(sys.modules); import hyrun; hyrun.run('busybox', ['true'], volumes=['/v']); "
        "large = {'typing', 'json', 'subprocess', 're', 'dataclasses', 'inspect', 'typer', 'threading', 'selectors', "
        "'pathlib', 'tempfile', 'shutil', 'asyncio', 'enum', 'contextlib', 'functools', 'signal'}; "
        "print(*sorted((set(sys.modules) - before) & large))"
    )
    with _python(code) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    assert out == "\n"


def test_a_run_from_the_command_line_loads_only_what_it_needs() -> None:
    code = (
        "import sys; before = set(sys.modules); sys.argv = ['hyrun', 'run', '--rm', 'busybox', 'true']; "
        "from hyrun.__main__ import main; main(); new = set(sys.modules) - before; "
        "print(*sorted(name for name in new if not name.startswith('hyrun') or 'vol' in name or 'mount' in name))"
    )
    with _python(code) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    assert set(out.split()) <= {"__future__", "errno", "fcntl"}


def test_public_names_are_there_and_no_others() -> None:
    for name in hyrun.__all__:
        assert getattr(hyrun, name) is not None
    assert dir(hyrun) == hyrun.__all__
    with pytest.raises(AttributeError, match="nosuch"):
        _ = hyrun.nosuch
