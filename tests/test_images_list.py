"""`images`, `rmi`, `import` and the group `image`, in this process."""

import json
from pathlib import Path

import pytest

from hyrun.errors import InvalidArgument, NotFound
from hyrun.images import lookup
from hyrun.store import Store
from support.images import docker_archive
from support.loaded import BASE, loaded, run_command

__all__ = ["loaded"]


def test_the_list_has_the_columns_of_docker(store: Store, loaded: dict[str, str]) -> None:
    lines = run_command("images").stdout.splitlines()
    assert lines[0].split("  ")[0] == "REPOSITORY"
    assert lines[0].replace("IMAGE ID", "ID").split() == ["REPOSITORY", "TAG", "ID", "CREATED", "SIZE"]
    assert sorted(line.split()[:3] for line in lines[1:]) == [
        ["one", "1", loaded["one:1"][7:19]],
        ["two", "latest", loaded["two:latest"][7:19]],
    ]
    assert all("years ago" in line and "kB" in line for line in lines[1:])


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["one:1", "two:latest"]),
        (["two"], ["two:latest"]),
        (["two:2"], []),
        (["-f", "label=a"], ["one:1"]),
        (["-f", "label=a=c"], []),
        (["-f", "reference=t*"], ["two:latest"]),
        (["-f", "reference=t*", "-f", "reference=*:1"], ["one:1", "two:latest"]),
        (["-f", "dangling=true"], []),
        (["-f", "dangling=false"], ["one:1", "two:latest"]),
        (["-f", "until=24h"], ["one:1", "two:latest"]),
        (["-f", "until=2000-01-01"], []),
        (["-f", "before=one:1"], []),
    ],
)
def test_the_list_is_filtered(store: Store, loaded: dict[str, str], arguments: list[str], names: list[str]) -> None:
    result = run_command("images", "--format", "{{.Repository}}:{{.Tag}}", *arguments)
    assert sorted(result.stdout.splitlines()) == names


@pytest.mark.parametrize(
    "filter_",
    [
        "nonsense=1",
        "label",
        "dangling=maybe",
        "until=tomorrow",
        "until=\N{ARABIC-INDIC DIGIT THREE}",
        "until=99999999999999999999",
        "until=999999999999h",
        "before=none",
    ],
)
def test_filters_that_mean_nothing_are_errors(store: Store, loaded: dict[str, str], filter_: str) -> None:
    assert isinstance(run_command("images", "-f", filter_).exception, (InvalidArgument, NotFound))


def test_quiet_prints_ids(store: Store, loaded: dict[str, str]) -> None:
    assert run_command("images", "-q", "--no-trunc", "one").stdout == loaded["one:1"] + "\n"
    assert run_command("image", "ls", "-q", "one").stdout == loaded["one:1"][7:19] + "\n"


def test_an_image_without_names_is_listed_as_none(store: Store, tmp_path: Path) -> None:
    image_id = docker_archive(tmp_path / "a.tar", [BASE])
    assert run_command("load", "-i", str(tmp_path / "a.tar")).stdout == f"Loaded image ID: {image_id}\n"
    assert run_command("images", "--digests").stdout.splitlines()[1].split()[:4] == [
        "<none>",
        "<none>",
        "<none>",
        image_id[7:19],
    ]
    assert run_command("images", "-q", "-f", "dangling=true").stdout == image_id[7:19] + "\n"


def test_inspect_prints_what_it_found_and_fails_for_the_rest(store: Store, loaded: dict[str, str]) -> None:
    result = run_command("image", "inspect", "two", "three")
    assert [item["Id"] for item in json.loads(result.stdout)] == [loaded["two:latest"]]
    assert "no image three:latest here" in result.stderr
    assert result.exit_code == 1
    assert run_command("image", "inspect", "-f", "{{json .Config.Cmd}}", "two").stdout == '["ls"]\n'


def test_rmi_with_force_of_what_is_not_there_is_no_failure(store: Store, loaded: dict[str, str]) -> None:
    result = run_command("rmi", "-f", "three", "two")
    assert result.exit_code == 0
    assert "three" in result.stderr
    assert "Untagged: two:latest" in result.stdout


def test_rmi_goes_on_after_a_name_that_is_not_there(store: Store, loaded: dict[str, str]) -> None:
    result = run_command("rmi", "three", "two")
    assert result.exit_code == 1
    assert "no image three:latest" in result.stderr
    assert result.stdout.startswith("Untagged: two:latest\n")


def test_import_and_tag(store: Store, tmp_path: Path) -> None:
    (tmp_path / "rootfs.tar").write_bytes(BASE)
    image_id = run_command(
        "import", "-c", 'ENTRYPOINT ["sh"]', "-m", "why", str(tmp_path / "rootfs.tar"), "mine"
    ).stdout.strip()
    assert run_command("tag", "mine", "yours:1").exit_code == 0
    assert lookup(store, "yours:1").id == image_id
    assert lookup(store, "mine").config == {"Entrypoint": ["sh"]}


@pytest.mark.parametrize("command", ["load", "import", "images", "tag", "rmi", "image", "image inspect", "image ls"])
def test_help_has_an_example(command: str) -> None:
    assert "Example: " in run_command(*command.split(), "--help").stdout
