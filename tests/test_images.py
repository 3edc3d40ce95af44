"""Images: what a name means, who keeps one alive, and what scripts written for docker read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyrun import image_store
from hyrun.archives.loading import load
from hyrun.errors import Conflict, InUse, InvalidArgument, NotFound, StorageError
from hyrun.image_inspect import view
from hyrun.image_store import remove, tag_image
from hyrun.images import lookup
from hyrun.store import Store
from support.images import oci_layout, sha256
from support.loaded import BASE, OTHER, TOP, container, layers, loaded, run_command

__all__ = ["loaded"]


def test_an_image_is_found_by_reference_id_and_beginning_of_an_id(store: Store, loaded: dict[str, str]) -> None:
    image_id = loaded["two:latest"]
    for text in (
        "two",
        "two:latest",
        "docker.io/library/two",
        image_id,
        image_id[7:],
        image_id[7:19],
        image_id[:20],
    ):
        assert lookup(store, text).id == image_id


def test_layers_are_absolute_and_topmost_first(store: Store, loaded: dict[str, str]) -> None:
    lower = lookup(store, "one:1").own_layers(store)
    assert lower == [store.path("layers", sha256(layer)[7:], "diff") for layer in (TOP, BASE)]


def test_host_is_the_root_of_this_machine(store: Store) -> None:
    image = lookup(store, "host")
    assert image.own_layers(store) == ["/"]
    assert image.config["Env"][0].startswith("PATH=")
    assert image.present(store)
    assert view(store, "host")["Id"] == "host"


def test_a_tag_wins_over_the_beginning_of_an_id(store: Store, loaded: dict[str, str]) -> None:
    beginning = loaded["one:1"][7:13]
    tag_image(store, "two", beginning)
    assert lookup(store, beginning).id == loaded["two:latest"]


def test_an_ambiguous_beginning_lists_what_it_could_be(store: Store, loaded: dict[str, str]) -> None:
    for digit in "01":
        Path(store.path("images", f"abc{digit * 61}.json")).write_text("{}")
    with pytest.raises(InvalidArgument, match=r"ambiguous: sha256:abc0+, sha256:abc1+:"):
        lookup(store, "abc")


@pytest.mark.parametrize("text", ["busybox", "library/busybox:latest", "docker.io/library/busybox"])
def test_an_image_that_is_not_there(store: Store, text: str) -> None:
    with pytest.raises(NotFound, match="no image busybox:latest here: hyrun pull, load or import it first"):
        lookup(store, text)


def test_a_store_that_was_never_used_has_no_images(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "new"))
    with pytest.raises(NotFound):
        lookup(store, "abc")
    assert not os.path.exists(store.root)


@pytest.mark.parametrize("content", ["", "sha256:../../x", "sha256:" + "A" * 64, "é"])
def test_a_damaged_tag_is_an_error_of_its_own(store: Store, loaded: dict[str, str], content: str) -> None:
    Path(store.path("tags", "docker.io%2Flibrary%2Ftwo:latest")).write_text(content)
    with pytest.raises(StorageError, match="damaged"):
        lookup(store, "two")
    assert remove(store, "two") == ["Untagged: two:latest"]
    assert remove(store, loaded["two:latest"])[0] == f"Deleted: {loaded['two:latest']}"


@pytest.mark.parametrize("content", ["", "{", "{}", "[]"])
@pytest.mark.parametrize("cure", ["load", "rmi"])
def test_a_damaged_record_keeps_all_layers_until_it_is_cured(
    store: Store, loaded: dict[str, str], tmp_path: Path, content: str, cure: str
) -> None:
    Path(store.path("images", f"{loaded['two:latest'][7:]}.json")).write_text(content)
    with pytest.raises(StorageError, match="damaged"):
        lookup(store, "two")
    remove(store, "one:1")
    assert sha256(OTHER) in layers(store)
    if cure == "load":
        load(store, str(tmp_path / "2.tar"))
        assert lookup(store, "two").id == loaded["two:latest"]
    remove(store, "two")
    assert layers(store) == set()


def test_what_a_killed_removal_left_can_be_removed(store: Store, loaded: dict[str, str]) -> None:
    os.unlink(store.path("images", f"{loaded['two:latest'][7:]}.json"))
    with pytest.raises(NotFound):
        lookup(store, "two")
    remove(store, "two")
    assert loaded["two:latest"] not in image_store.tags(store)
    assert layers(store) == {sha256(BASE), sha256(TOP)}


def test_finding_an_image_imports_next_to_nothing(store: Store, loaded: dict[str, str]) -> None:
    import hyrun

    # json needs re: what lookup imports besides it is what counts.
    program = (
        "import json, os, sys; before = set(sys.modules); import hyrun.images, hyrun.store\n"
        "assert hyrun.images.lookup(hyrun.store.Store(), 'two').config['Cmd'] == ['ls']\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    path = os.path.dirname(os.path.dirname(hyrun.__file__))
    environment = {**os.environ, "PYTHONPATH": path}
    output = subprocess.run([sys.executable, "-S", "-c", program], env=environment, stdout=subprocess.PIPE, check=True)
    new = output.stdout.decode().split()
    assert [name for name in new if not name.startswith("hyrun")] in (["__future__"], ["__future__", "errno"])
    assert {name for name in new if name.startswith("hyrun.")} <= {
        "hyrun.errors",
        "hyrun.images",
        "hyrun.references",
        "hyrun.store",
        "hyrun._core",
    }


@pytest.mark.parametrize(
    "target",
    ["host", "host:latest", "docker.io/library/host", "0" * 64, "sha256:abc", "Bad", "a@" + sha256(b"")],
)
def test_names_that_no_image_may_have(store: Store, loaded: dict[str, str], target: str) -> None:
    with pytest.raises(InvalidArgument):
        tag_image(store, "two", target)


def test_host_with_another_tag_is_an_ordinary_name(store: Store, loaded: dict[str, str]) -> None:
    tag_image(store, "two", "host:1")
    assert lookup(store, "host:1").id == loaded["two:latest"]


def test_host_cannot_be_tagged_or_removed(store: Store) -> None:
    with pytest.raises(InvalidArgument):
        tag_image(store, "host", "mine")
    with pytest.raises(InvalidArgument):
        remove(store, "host")


def test_a_name_too_long_for_a_file_is_refused_in_words(store: Store, loaded: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="too long"):
        tag_image(store, "two", "a/" * 80 + "b")


def test_tagging_moves_a_name_from_one_image_to_another(store: Store, loaded: dict[str, str]) -> None:
    tag_image(store, "one:1", "two")
    assert lookup(store, "two").id == loaded["one:1"]
    assert image_store.tags(store)[loaded["one:1"]][1].familiar() == "two:latest"


def test_removing_one_of_two_names_only_untags(store: Store, loaded: dict[str, str]) -> None:
    tag_image(store, "two", "three:3")
    assert remove(store, "three:3") == ["Untagged: three:3"]
    assert lookup(store, "two").id == loaded["two:latest"]


def test_removing_the_last_name_deletes_image_and_layers_of_nobody_else(store: Store, loaded: dict[str, str]) -> None:
    image_id = loaded["two:latest"]
    assert remove(store, "two") == [
        "Untagged: two:latest",
        f"Deleted: {image_id}",
        f"Deleted: {sha256(OTHER)}",
    ]
    assert layers(store) == {sha256(BASE), sha256(TOP)}
    assert not Path(store.path("blobs/sha256", image_id[7:])).exists()
    with pytest.raises(NotFound):
        lookup(store, image_id)
    remove(store, "one:1")
    assert layers(store) == set()


def test_removing_by_id_with_one_name_removes_it(store: Store, loaded: dict[str, str]) -> None:
    lines = remove(store, loaded["two:latest"][7:19])
    assert lines[:2] == ["Untagged: two:latest", f"Deleted: {loaded['two:latest']}"]


def test_removing_by_id_with_several_names_needs_force(store: Store, loaded: dict[str, str]) -> None:
    tag_image(store, "two", "three")
    with pytest.raises(Conflict, match="three:latest, two:latest"):
        remove(store, loaded["two:latest"])
    assert lookup(store, "three").id == loaded["two:latest"]
    remove(store, loaded["two:latest"], force=True)
    assert image_store.tags(store).keys() == {loaded["one:1"]}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("by", ["name", "id"])
def test_an_image_in_use_is_not_removed(store: Store, loaded: dict[str, str], force: bool, by: str) -> None:
    container(store, loaded["two:latest"])
    with pytest.raises(InUse, match="container web"):
        remove(store, "two" if by == "name" else loaded["two:latest"], force=force)
    assert lookup(store, "two").id == loaded["two:latest"]
    assert all(map(os.path.isdir, lookup(store, "two").own_layers(store)))


def test_an_image_in_use_can_lose_all_names_but_the_last(store: Store, loaded: dict[str, str]) -> None:
    container(store, loaded["two:latest"])
    tag_image(store, "two", "three")
    assert remove(store, "two") == ["Untagged: two:latest"]
    with pytest.raises(InUse):
        remove(store, "three")


def test_a_container_that_says_nothing_stops_removal_but_not_the_list(store: Store, loaded: dict[str, str]) -> None:
    directory = Path(store.path("containers", "c" * 64))
    directory.mkdir()
    (directory / "config.json").write_text("")
    with pytest.raises(StorageError, match="hyrun rm c"):
        remove(store, "two")
    assert len(run_command("images").stdout.splitlines()) == 3


def test_a_container_that_is_being_made_does_not_stop_removal(store: Store, loaded: dict[str, str]) -> None:
    os.mkdir(store.path("containers", "d" * 64))
    remove(store, "two")


def test_layers_that_nobody_lists_go_with_the_next_removal(store: Store, loaded: dict[str, str]) -> None:
    os.makedirs(store.path("layers", "e" * 64, "diff"))
    Path(store.path("images", ".half")).write_text("{")
    assert f"Deleted: sha256:{'e' * 64}" in remove(store, "two")
    assert not os.path.exists(store.path("images", ".half"))


def test_present_sees_the_removal(store: Store, loaded: dict[str, str]) -> None:
    image = lookup(store, "two")
    assert image.present(store)
    remove(store, "two")
    assert not image.present(store)


def test_inspect_has_the_names_and_shapes_of_docker(store: Store, tmp_path: Path) -> None:
    image_id = oci_layout(tmp_path / "l", [BASE, TOP], {"Cmd": ["sh"], "User": "app"}, ["example.com:5000/a/b:1"])
    load(store, str(tmp_path / "l"))
    shown = view(store, "example.com:5000/a/b:1")
    digest = json.loads((tmp_path / "l/index.json").read_text())["manifests"][0]["digest"]
    assert shown["Id"] == image_id
    assert shown["RepoTags"] == ["example.com:5000/a/b:1"]
    assert shown["RepoDigests"] == [f"example.com:5000/a/b@{digest}"]
    assert shown["Config"]["User"] == "app"
    assert shown["Config"]["Entrypoint"] is None
    assert shown["RootFS"] == {"Type": "layers", "Layers": [sha256(BASE), sha256(TOP)]}
    assert shown["GraphDriver"]["Name"] == "overlay2"
    assert shown["GraphDriver"]["Data"]["UpperDir"] == store.path("layers", sha256(TOP)[7:], "diff")
    assert shown["Size"] == len(BASE) + len(TOP)
