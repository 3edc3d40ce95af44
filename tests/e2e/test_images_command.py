"""`load`, `import`, `images`, `tag`, `rmi` and `image`."""

import json
from pathlib import Path

import pytest

from e2e.command import Hyrun, Template
from hyrun.image_config import MAX_LAYERS
from support.images import docker_archive, image_config, tar_bytes

LAYER = tar_bytes([("file", b"x")])


@pytest.fixture
def bare(hyrun: Hyrun) -> Hyrun:
    """A store without the images of the template."""
    hyrun("rmi", "busybox", "entry", "filled")
    return hyrun


def test_load_from_a_file(bare: Hyrun, template: Template) -> None:
    assert bare.out("load", "-i", template.archive) == "Loaded image: busybox:latest"
    assert bare.out("run", "--rm", "busybox", "echo", "x") == "x"


def test_load_from_stdin(bare: Hyrun, template: Template) -> None:
    with template.archive.open("rb") as file:
        assert bare.out("load", stdin=file) == "Loaded image: busybox:latest"


def test_load_of_an_oci_layout_from_a_file_and_stdin(bare: Hyrun, template: Template) -> None:
    assert bare.out("load", "--input", template.layout) == "Loaded image: filled:latest"
    bare("rmi", "filled")
    with template.layout.open("rb") as file:
        bare("load", "-q", stdin=file)
    assert bare.out("run", "--rm", "filled", "cat", "/data/file") == "from the image"


def test_load_of_nothing_is_one_line(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    hyrun.refused("load", code=1)
    hyrun.refused("load", "-i", "nosuch", code=1)
    hyrun.refused("load", code=1, input="no archive")
    assert hyrun.tree() == before


def test_import_prints_the_id_and_takes_changes(bare: Hyrun, template: Template) -> None:
    identifier = bare.out("import", "-c", 'CMD ["echo", "changed"]', "-c", "USER app", template.rootfs, "mine:1")
    assert identifier.startswith("sha256:")
    assert bare.out("run", "--rm", "mine:1") == "changed"
    assert bare.out("run", "--rm", "mine:1", "whoami") == "app"


def test_import_from_stdin(bare: Hyrun, template: Template) -> None:
    with template.rootfs.open("rb") as file:
        bare("import", "-", "mine", stdin=file)
    assert bare.out("run", "--rm", "mine", "cat", "/etc/hello") == "hello from the image"


def test_images_has_dockers_columns(hyrun: Hyrun) -> None:
    header, *rows = hyrun.lines("images")
    assert header.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert {row.split()[0] for row in rows} >= {"busybox", "entry", "filled"}


def test_images_quiet_filter_and_format(hyrun: Hyrun) -> None:
    (identifier,) = hyrun.lines("images", "-q", "busybox")
    assert len(identifier) == 12
    assert hyrun.lines("images", "--filter", "label=kind=entry", "--format", "{{.Repository}}:{{.Tag}}") == (
        ["entry:latest"]
    )
    assert json.loads(hyrun.out("images", "--format", "json", "busybox"))["ID"] == identifier


def test_image_can_be_run_by_id_and_its_beginning(hyrun: Hyrun) -> None:
    (identifier,) = hyrun.lines("images", "-q", "--no-trunc", "busybox")
    for word in (identifier, identifier[7:], identifier[7:19]):
        assert hyrun.out("run", "--rm", word, "echo", "x") == "x"


def test_tag_gives_one_more_name(hyrun: Hyrun) -> None:
    hyrun("tag", "busybox", "registry.example.com/tools/box:1")
    assert hyrun.out("run", "--rm", "registry.example.com/tools/box:1", "echo", "x") == "x"
    assert hyrun.out("rmi", "registry.example.com/tools/box:1").startswith("Untagged: ")
    assert hyrun.out("run", "--rm", "busybox", "echo", "x") == "x"


def test_tag_of_a_missing_image_is_refused(hyrun: Hyrun) -> None:
    hyrun.refused("tag", "nosuch", "other", code=1)


def test_rmi_removes_the_image(hyrun: Hyrun) -> None:
    hyrun("rmi", "entry")
    hyrun.refused("run", "--rm", "entry")
    assert "entry" not in hyrun.out("images")


def test_rmi_of_a_missing_image_goes_on_with_the_next_and_fails(hyrun: Hyrun) -> None:
    result = hyrun("rmi", "nosuch", "entry", code=1)
    assert "nosuch" in result.stderr
    assert "entry" not in hyrun.out("images")


@pytest.mark.parametrize("flags", [(), ("-f",)])
def test_rmi_of_an_image_of_an_exited_container_is_refused(hyrun: Hyrun, flags: tuple[str, ...]) -> None:
    hyrun("run", "--name", "user", "entry")
    message = hyrun.refused("rmi", *flags, "entry", code=1)
    assert "user" in message or hyrun.record("user")["Id"][:12] in message
    hyrun("rm", "user")
    hyrun("rmi", "entry")


def test_rmi_of_an_image_of_a_running_container_is_refused(hyrun: Hyrun) -> None:
    hyrun.sleeper("--rm", "--name", "user")
    hyrun.refused("rmi", "busybox", code=1)
    assert hyrun.out("run", "--rm", "busybox", "echo", "x") == "x"


def test_image_inspect_and_formats(hyrun: Hyrun) -> None:
    (found,) = json.loads(hyrun.out("image", "inspect", "entry"))
    assert found["RepoTags"] == ["entry:latest"]
    assert found["Config"]["User"] == "app"
    assert hyrun.out("image", "inspect", "-f", "{{json .Config.Cmd}}", "entry") == '["command"]'


def test_image_inspect_prints_what_it_found_and_fails(hyrun: Hyrun) -> None:
    result = hyrun("image", "inspect", "nosuch", "entry", code=1)
    assert len(json.loads(result.stdout)) == 1
    assert "nosuch" in result.stderr


def test_image_group_has_the_same_commands(hyrun: Hyrun) -> None:
    assert hyrun.out("image", "ls", "-q") == hyrun.out("images", "-q")
    hyrun("image", "rm", "entry")
    assert "entry" not in hyrun.out("image", "ls")


def deep_archive(path: Path, layers: int) -> str:
    docker_archive(path, [tar_bytes([(f"{number}", b"")]) for number in range(layers)], tags=["deep:1"])
    return "deep:1"


def test_as_many_layers_as_load_takes_run_but_cannot_be_committed(bare: Hyrun) -> None:
    deep_archive(bare.cwd / "deep.tar", MAX_LAYERS)
    bare("load", "-i", "deep.tar")
    assert "not found" in bare.refused("run", "--rm", "deep:1", "nosuch", code=127)
    bare("create", "--name", "box", "deep:1", "nosuch")
    before = bare.tree()
    assert "hyrun export box | hyrun import -" in bare.refused("commit", "box", "new", code=1)
    assert bare.tree() == before


def test_an_image_for_another_machine_is_loaded_when_it_is_asked_for(bare: Hyrun) -> None:
    config = image_config([LAYER], {"Cmd": ["sh"]}, architecture="s390x")
    docker_archive(bare.cwd / "other.tar", [LAYER], tags=["other:1"], config_bytes=config)
    assert "is for linux/s390x" in bare.refused("load", "-i", "other.tar", code=1)
    assert "not for linux/arm64" in bare.refused("load", "-i", "other.tar", "--platform", "linux/arm64", code=1)
    for form in ("docker-archive", "oci"):
        assert bare.out("load", "-i", "other.tar", "--platform", "linux/s390x") == "Loaded image: other:1"
        bare("save", "--format", form, "-o", "other.tar", "other:1")
        bare("rmi", "other:1")


def test_history_without_words_for_people(hyrun: Hyrun) -> None:
    assert hyrun.lines("history", "-H=false", "busybox") == hyrun.lines("history", "--human=false", "busybox")
    assert hyrun.lines("history", "-H=true", "busybox") == hyrun.lines("history", "busybox")
