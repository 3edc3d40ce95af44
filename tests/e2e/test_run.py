"""`hyrun run`: what the caller gets back."""

import json
import os
from pathlib import Path

import pytest

from e2e.command import Hyrun, Template


def test_stdout_of_the_command_is_stdout(hyrun: Hyrun) -> None:
    result = hyrun("run", "--rm", "busybox", "echo", "hello")
    assert (result.stdout, result.stderr) == ("hello\n", "")


def test_stderr_of_the_command_is_stderr(hyrun: Hyrun) -> None:
    result = hyrun("run", "--rm", "busybox", "sh", "-c", "echo oops >&2")
    assert (result.stdout, result.stderr) == ("", "oops\n")


@pytest.mark.parametrize("code", [1, 42, 125, 255])
def test_exit_status_is_the_commands(hyrun: Hyrun, code: int) -> None:
    hyrun("run", "--rm", "busybox", "sh", "-c", f"exit {code}", code=code)


def test_unknown_image_is_125(hyrun: Hyrun) -> None:
    assert "nosuch" in hyrun.refused("run", "--rm", "nosuch", "true")


def test_no_image_is_125(hyrun: Hyrun) -> None:
    assert "no image" in hyrun.refused("run", "--rm")


def test_command_not_found_is_127(hyrun: Hyrun) -> None:
    assert "nosuch" in hyrun.refused("run", "--rm", "busybox", "nosuch", code=127)


def test_missing_absolute_command_is_127(hyrun: Hyrun) -> None:
    assert "/bin/nosuch" in hyrun.refused("run", "--rm", "busybox", "/bin/nosuch", code=127)


def test_directory_as_command_is_126(hyrun: Hyrun) -> None:
    assert "/etc" in hyrun.refused("run", "--rm", "busybox", "/etc", code=126)


def test_file_without_x_bit_is_126(hyrun: Hyrun) -> None:
    assert "/etc/passwd" in hyrun.refused("run", "--rm", "busybox", "/etc/passwd", code=126)


def test_missing_interpreter_of_a_script_is_126(hyrun: Hyrun) -> None:
    script = hyrun.cwd / "script"
    script.write_text("#!/nosuch\n")
    script.chmod(0o755)
    hyrun.refused("run", "--rm", "-v", "./script:/script", "busybox", "/script", code=126)


def test_text_without_interpreter_line_is_126(hyrun: Hyrun) -> None:
    script = hyrun.cwd / "script"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    hyrun.refused("run", "--rm", "-v", "./script:/script", "busybox", "/script", code=126)


def test_death_by_signal_is_128_and_its_number(hyrun: Hyrun) -> None:
    # Pid 1 cannot send itself a signal: it gets one from the outside.
    process = hyrun.sleeper("--name", "victim")
    pid = hyrun.record("victim")["State"]["Pid"]
    assert pid > 1
    os.kill(pid, 9)
    assert process.wait() == 137


def test_signal_in_a_child_of_the_shell_is_the_shells_status(hyrun: Hyrun) -> None:
    hyrun("run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -TERM $$'; exit $?", code=143)


def test_timeout_is_124_and_keeps_the_output(hyrun: Hyrun) -> None:
    result = hyrun("run", "--rm", "--timeout", "0.3", "busybox", "sh", "-c", "echo begun; sleep 600", code=124)
    assert result.stdout == "begun\n"
    assert hyrun.left("containers") == set()


def test_timeout_that_is_not_reached_changes_nothing(hyrun: Hyrun) -> None:
    hyrun("run", "--rm", "--timeout", "50", "busybox", "sh", "-c", "exit 3", code=3)


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf", ""])
def test_timeout_must_be_a_positive_number(hyrun: Hyrun, text: str) -> None:
    assert "--timeout" in hyrun.refused("run", "--timeout", text, "busybox", "true")


def test_options_stop_at_the_image(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "busybox", "echo", "--rm", "-v", "--", "x") == "--rm -v -- x"


def test_double_dash_ends_the_options(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "--", "busybox", "echo", "x") == "x"


def test_image_without_command_is_refused(hyrun: Hyrun, template: Template) -> None:
    hyrun("import", template.rootfs, "bare")
    assert "no command" in hyrun.refused("run", "--rm", "bare")


def test_image_command_is_used_without_one(hyrun: Hyrun) -> None:
    assert hyrun.out("run", "--rm", "-i", "busybox", input="echo from sh") == "from sh"


def test_arguments_arrive_byte_for_byte(hyrun: Hyrun) -> None:
    words = ["a b", "", "$HOME", "ü", "-n", "*", "new\nline", "\udcff"]
    result = hyrun.out("run", "--rm", "busybox", "sh", "-c", 'for w; do printf "%s|" "$w"; done', "sh", *words[:-1])
    assert result == "|".join(words[:-1]) + "|"
    raw = hyrun("run", "--rm", "busybox", "printf", "%s", words[-1], errors="surrogateescape")
    assert raw.stdout == words[-1]


def test_rm_leaves_nothing(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    hyrun("run", "--rm", "-v", "/data", "busybox", "touch", "/data/x", "/y")
    assert hyrun.tree() == before


def test_without_rm_the_container_stays_with_its_layer(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "kept", "busybox", "touch", "/made")
    upper = Path(hyrun.record("kept")["GraphDriver"]["Data"]["UpperDir"])
    assert (upper / "made").exists()


def test_name_conflict_is_refused_and_names_the_holder(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "taken", "busybox", "true")
    identifier = hyrun.record("taken")["Id"]
    before = hyrun.tree()
    assert identifier[:12] in hyrun.refused("run", "--name", "taken", "busybox", "true")
    assert hyrun.tree() == before


@pytest.mark.parametrize("name", ["", "a", "/x", "a b", "-x", "ü1", ".x", "x" * 300, "../x"])
def test_bad_name_is_refused(hyrun: Hyrun, name: str) -> None:
    before = hyrun.tree()
    hyrun.refused("run", f"--name={name}", "busybox", "true")
    assert hyrun.tree() == before


def test_name_of_a_removed_container_is_free(hyrun: Hyrun) -> None:
    for _ in range(2):
        hyrun("run", "--rm", "--name", "again", "busybox", "true")


def test_failure_to_exec_leaves_nothing(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    hyrun.refused("run", "-v", "/data", "-v", "named:/n", "--name", "x1", "busybox", "nosuch", code=127)
    assert hyrun.tree() == before


def test_cidfile_holds_the_full_id(hyrun: Hyrun) -> None:
    hyrun("run", "--cidfile", "id", "--name", "with", "busybox", "true")
    assert (hyrun.cwd / "id").read_text() == hyrun.record("with")["Id"]


def test_cidfile_that_exists_is_refused(hyrun: Hyrun) -> None:
    (hyrun.cwd / "id").write_text("old")
    before = hyrun.tree()
    assert "id exists" in hyrun.refused("run", "--cidfile", "id", "busybox", "true")
    assert (hyrun.cwd / "id").read_text() == "old"
    assert hyrun.tree() == before


def test_cidfile_is_removed_on_failure(hyrun: Hyrun) -> None:
    hyrun.refused("run", "--cidfile", "id", "busybox", "nosuch", code=127)
    hyrun.refused("run", "--cidfile", "id", "nosuch")
    assert not (hyrun.cwd / "id").exists()


def test_cidfile_in_a_missing_directory_is_refused(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    hyrun.refused("run", "--cidfile", "no/id", "busybox", "true")
    assert hyrun.tree() == before


def test_dry_run_prints_the_spec_and_makes_nothing(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    arguments = ["-v", "./new:/a", "-v", "named:/b", "-v", "/c", "--name", "planned", "-e", "A=1"]
    spec = json.loads(hyrun.out("run", "--dry-run", *arguments, "busybox", "true"))
    assert spec["argv"] == ["true"]
    assert "A=1" in spec["env"]
    assert [mount["target"] for mount in spec["mounts"]] == ["/a", "/b", "/c"]
    assert hyrun.tree() == before
    assert list(hyrun.cwd.iterdir()) == []


def test_dry_run_makes_no_store_either(hyrun: Hyrun) -> None:
    root = hyrun.cwd / "other"
    hyrun("run", "--dry-run", "host", "true", env={"HYRUN_ROOT": str(root)})
    assert not root.exists()


def test_dry_run_refuses_what_run_refuses(hyrun: Hyrun) -> None:
    hyrun.refused("run", "--dry-run", "nosuch", "true")


def test_root_before_the_command_chooses_the_store(hyrun: Hyrun) -> None:
    elsewhere = {"HYRUN_ROOT": str(hyrun.cwd / "elsewhere")}
    assert hyrun.out("--root", hyrun.root, "run", "--rm", "busybox", "echo", "x", env=elsewhere) == "x"
    assert not (hyrun.cwd / "elsewhere").exists()


def test_exit_statuses_are_the_same_with_options_before_the_command(hyrun: Hyrun) -> None:
    root = ("--root", hyrun.root)
    hyrun(*root, "run", "--rm", "busybox", "sh", "-c", "exit 3", code=3)
    hyrun.refused(*root, "run", "--rm", "busybox", "nosuch", code=127)
    hyrun.refused(*root, "run", "--rm", "busybox", "/etc", code=126)
    hyrun.refused(*root, "run", "--rm", "nosuch", "true")


def test_the_installed_script_runs(hyrun: Hyrun) -> None:
    import sys

    script = Path(sys.executable).with_name("hyrun")
    assert hyrun.out("run", "--rm", "busybox", "echo", "x", command=(str(script),)) == "x"
