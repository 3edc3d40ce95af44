"""`load`, `import`, `images`, `tag`, `rmi` and `image`."""

import json

import pytest

from e2e.command import Hyrun, Template


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
