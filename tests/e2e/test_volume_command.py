"""`hyrun volume`."""

import json

import pytest

from e2e.command import Hyrun


def test_create_prints_the_name(hyrun: Hyrun) -> None:
    assert hyrun.out("volume", "create", "data") == "data"
    assert hyrun.left("volumes") == {"data"}


def test_create_without_a_name_makes_an_anonymous_one(hyrun: Hyrun) -> None:
    name = hyrun.out("volume", "create")
    assert len(name) == 64
    hyrun("volume", "prune", "-f")
    assert hyrun.left("volumes") == set()


def test_create_twice_is_fine(hyrun: Hyrun) -> None:
    for _ in range(2):
        hyrun("volume", "create", "data")


@pytest.mark.parametrize("name", ["a", "a/b", "../x", ".x", "ü1", "x" * 300])
def test_create_refuses_a_bad_name(hyrun: Hyrun, name: str) -> None:
    before = hyrun.tree()
    hyrun.refused("volume", "create", "--", name, code=1)
    assert hyrun.tree() == before


@pytest.mark.parametrize("flags", [("--driver", "nfs"), ("--opt", "type=tmpfs")])
def test_create_refuses_other_drivers_by_name(hyrun: Hyrun, flags: tuple[str, str]) -> None:
    assert flags[0] in hyrun.refused("volume", "create", *flags, "data")


def test_ls_has_dockers_columns_in_natural_order(hyrun: Hyrun) -> None:
    for name in ("v10", "v9", "other"):
        hyrun("volume", "create", name)
    assert [line.split() for line in hyrun.lines("volume", "ls")] == [
        ["DRIVER", "VOLUME", "NAME"],
        ["local", "other"],
        ["local", "v9"],
        ["local", "v10"],
    ]


def test_ls_quiet_prints_names(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "data")
    assert hyrun.lines("volume", "ls", "-q") == ["data"]
    assert hyrun.lines("volume", "list", "--quiet") == ["data"]


def test_ls_formats(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "--label", "b=2", "--label", "a=1", "data")
    assert hyrun.lines("volume", "ls", "--format", '{{.Name}} {{.Labels}} {{.Label "b"}}') == ["data a=1,b=2 2"]
    assert json.loads(hyrun.out("volume", "ls", "--format", "json"))["Mountpoint"].endswith("/volumes/data/_data")


def test_ls_filters(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "--label", "kind=web", "web")
    hyrun("run", "--name", "user", "-v", "used:/u", "busybox", "true")

    def names(*filters: str) -> list[str]:
        return hyrun.lines("volume", "ls", "-q", *(word for text in filters for word in ("--filter", text)))

    assert names("dangling=true") == ["web"]
    assert names("dangling=false") == ["used"]
    assert names("label=kind") == ["web"]
    assert names("label=kind=db") == []
    assert names("name=se") == ["used"]
    assert names("driver=local", "name=web") == ["web"]
    assert names("driver=nfs") == []


@pytest.mark.parametrize("text", ["foo=x", "dangling=maybe", "dangling"])
def test_ls_refuses_a_bad_filter(hyrun: Hyrun, text: str) -> None:
    hyrun.refused("volume", "ls", "--filter", text, code=1)


def test_inspect_prints_an_array(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "--label", "a=1", "data")
    (found,) = json.loads(hyrun.out("volume", "inspect", "data"))
    assert found["Name"] == "data"
    assert found["Labels"] == {"a": "1"}
    assert found["Mountpoint"] == str(hyrun.root / "volumes/data/_data")
    assert hyrun.out("volume", "inspect", "-f", "{{.Scope}}", "data") == "local"


def test_inspect_prints_what_it_found_and_fails(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "data")
    result = hyrun("volume", "inspect", "nosuch", "data", code=1)
    assert [found["Name"] for found in json.loads(result.stdout)] == ["data"]
    assert result.stderr == "hyrun: no such volume: nosuch\n"


def test_rm_removes(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "data")
    assert hyrun.out("volume", "rm", "data") == "data"
    assert hyrun.left("volumes") == set()


def test_rm_of_a_missing_volume_fails_but_with_force(hyrun: Hyrun) -> None:
    assert "nosuch" in hyrun.refused("volume", "rm", "nosuch", code=1)
    hyrun("volume", "rm", "-f", "nosuch")


@pytest.mark.parametrize("flags", [(), ("-f",)])
def test_rm_of_a_used_volume_is_refused_naming_the_container(hyrun: Hyrun, flags: tuple[str, ...]) -> None:
    hyrun("run", "--name", "user", "-v", "data:/d", "busybox", "true")
    message = hyrun.refused("volume", "rm", *flags, "data", code=1)
    assert "user" in message
    assert hyrun.record("user")["Id"][:12] in message
    assert hyrun.left("volumes") == {"data"}
    hyrun("rm", "user")
    hyrun("volume", "rm", "data")


def test_rm_of_a_volume_of_a_running_container_is_refused(hyrun: Hyrun) -> None:
    hyrun.sleeper("--rm", "--name", "user", "-v", "data:/d")
    assert "user" in hyrun.refused("volume", "rm", "data", code=1)


def test_rm_of_a_volume_whose_container_was_killed_with_rm_succeeds_after_ps(hyrun: Hyrun) -> None:
    process = hyrun.sleeper("--rm", "--name", "user", "-v", "data:/d")
    process.kill()
    process.wait()
    hyrun("ps")
    hyrun("volume", "rm", "data")


def test_prune_removes_anonymous_volumes_that_are_unused(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "named")
    anonymous = hyrun.out("volume", "create")
    hyrun("run", "--name", "user", "-v", "/used", "busybox", "true")
    result = hyrun.out("volume", "prune", "--force")
    assert result.splitlines()[:2] == ["Deleted Volumes:", anonymous]
    assert "Total reclaimed space: " in result
    assert len(hyrun.left("volumes")) == 2


def test_prune_all_removes_named_ones(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "--label", "keep", "kept")
    hyrun("volume", "create", "gone")
    hyrun("volume", "prune", "-af", "--filter", "label!=keep")
    assert hyrun.left("volumes") == {"kept"}


def test_prune_does_not_remove_without_being_asked(hyrun: Hyrun) -> None:
    hyrun("volume", "create")
    assert "--force" in hyrun("volume", "prune").stderr
    assert len(hyrun.left("volumes")) == 1


def test_volumes_survive_the_loss_of_their_record(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "data")
    (hyrun.root / "volumes/data/volume.json").write_text("{half")
    assert hyrun.lines("volume", "ls", "-q") == ["data"]
    assert hyrun.sh("touch /d/x && ls /d", "-v", "data:/d") == "x"
    hyrun("volume", "rm", "data")
