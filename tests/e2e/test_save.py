"""`save` and `history`: images leave the store as they came, and other engines read them."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from e2e.command import Hyrun
from support import images
from support.nodes import listing

FORMATS = ("docker-archive", "oci")


def second_store(hyrun: Hyrun, tmp_path: Path) -> dict[str, str]:
    """Return the environment of another store."""
    return {"HYRUN_ROOT": str(tmp_path / "second")}


def document(archive: Path, name: str) -> Any:
    result = subprocess.run(["tar", "-xOf", archive, name], capture_output=True, check=True)
    return json.loads(result.stdout)


def members(archive: Path) -> list[str]:
    return subprocess.run(["tar", "-tf", archive], capture_output=True, check=True, text=True).stdout.split()


def foreign_archive(path: Path) -> str:
    """Write an image whose layer no program but its own would write: order, owners' names, padding, repetition."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in (
            ("z", b"first"),
            ("bin/tool", b"#!"),
            ("a" * 150, b"long"),
            ("z", b"second"),
            ("d/x", b""),
        ):
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.uname, member.gname, member.mtime = len(content), "maker", "makers", 7
            archive.addfile(member, io.BytesIO(content))
    layer = buffer.getvalue() + bytes(3 * 512)
    return images.docker_archive(path, [layer, layer, images.tar_bytes([("etc", None)])], {"Cmd": ["x"]}, ["foreign:1"])


@pytest.mark.parametrize("format_", FORMATS)
def test_a_loaded_image_keeps_its_id(hyrun: Hyrun, tmp_path: Path, format_: str) -> None:
    image = foreign_archive(hyrun.cwd / "in.tar")
    hyrun("load", "-i", "in.tar")
    hyrun("save", "--format", format_, "-o", "out.tar", "foreign:1")
    other = second_store(hyrun, tmp_path)
    assert hyrun.out("load", "-i", "out.tar", env=other) == "Loaded image: foreign:1"
    assert hyrun.out("images", "-q", "--no-trunc", env=other) == image
    hyrun("save", "--format", format_, "-o", "again.tar", "foreign:1", env=other)
    assert (hyrun.cwd / "again.tar").read_bytes() == (hyrun.cwd / "out.tar").read_bytes()


@pytest.mark.parametrize("format_", FORMATS)
def test_every_blob_has_the_digest_that_is_its_name(hyrun: Hyrun, format_: str) -> None:
    hyrun("save", "--format", format_, "-o", "out.tar", "filled", "entry")
    with tarfile.open(hyrun.cwd / "out.tar") as archive:
        for member in archive:
            if member.name.startswith("blobs/"):
                content = archive.extractfile(member)
                assert content is not None
                assert member.name == f"blobs/sha256/{hashlib.sha256(content.read()).hexdigest()}"
    names = members(hyrun.cwd / "out.tar")
    assert len(names) == len(set(names))


def test_a_docker_archive_names_everything(hyrun: Hyrun) -> None:
    hyrun("tag", "busybox", "registry.example.org/tools/busybox:9")
    hyrun("save", "-o", "out.tar", "busybox", "registry.example.org/tools/busybox:9", "filled")
    box, filled = document(hyrun.cwd / "out.tar", "manifest.json")
    assert box["RepoTags"] == ["busybox:latest", "registry.example.org/tools/busybox:9"]
    assert filled["RepoTags"] == ["filled:latest"]
    assert len(filled["Layers"]) == 2
    assert {*box["Layers"], *filled["Layers"], box["Config"], filled["Config"]} <= set(members(hyrun.cwd / "out.tar"))
    index = document(hyrun.cwd / "out.tar", "index.json")
    assert [item["annotations"]["io.containerd.image.name"] for item in index["manifests"]] == [
        *("docker.io/library/busybox:latest", "registry.example.org/tools/busybox:9"),
        "docker.io/library/filled:latest",
    ]


def test_a_repository_is_all_of_its_tags_and_an_id_has_none(hyrun: Hyrun) -> None:
    hyrun("tag", "filled", "busybox:second")
    hyrun("save", "-o", "out.tar", "busybox")
    assert [entry["RepoTags"] for entry in document(hyrun.cwd / "out.tar", "manifest.json")] == [
        ["busybox:latest"],
        ["busybox:second"],
    ]
    identifier = hyrun.out("image", "inspect", "-f", "{{.Id}}", "entry")
    hyrun("image", "save", "-o", "out.tar", identifier[7:19])
    assert [entry["RepoTags"] for entry in document(hyrun.cwd / "out.tar", "manifest.json")] == [None]


def test_what_is_saved_to_a_pipe_is_loaded_from_it(hyrun: Hyrun, tmp_path: Path) -> None:
    saved = hyrun.start("save", "filled")
    assert saved.stdout is not None
    loaded = hyrun.start("load", stdin=saved.stdout, env=os.environ | second_store(hyrun, tmp_path))
    saved.stdout.close()
    out, errors = loaded.communicate(timeout=30)
    assert out == "Loaded image: filled:latest\n"
    assert all(line.endswith(": Layer loaded") for line in errors.splitlines())
    assert saved.wait(30) == 0


@pytest.mark.parametrize("arguments", [("nosuch",), ("busybox", "nosuch"), ("--format", "zip", "busybox")])
def test_what_cannot_be_saved_leaves_no_file(hyrun: Hyrun, arguments: tuple[str, ...]) -> None:
    (hyrun.cwd / "out.tar").write_text("what was there")
    hyrun.refused("save", "-o", "out.tar", *arguments, code=1)
    assert [path.name for path in hyrun.cwd.iterdir()] == ["out.tar"]
    assert (hyrun.cwd / "out.tar").read_text() == "what was there"


def test_a_layer_that_was_changed_on_disk_is_not_saved(hyrun: Hyrun) -> None:
    layer = Path(hyrun.inspect("busybox", "--type", "image")["GraphDriver"]["Data"]["UpperDir"])
    (layer / "etc/hello").write_bytes((layer / "etc/hello").read_bytes().upper())
    assert "layer sha256:" in hyrun.refused("save", "-o", "out.tar", "busybox", code=1)
    (layer / "etc/hello").unlink()
    assert "layer sha256:" in hyrun.refused("save", "-o", "out.tar", "busybox", code=1)
    assert not (hyrun.cwd / "out.tar").exists()


def test_a_layer_without_a_recipe_is_saved_if_it_can_be_packed_again(hyrun: Hyrun, tmp_path: Path) -> None:
    hyrun("run", "--name", "box", "busybox", "touch", "/made")
    hyrun("commit", "box", "mine")
    new = Path(hyrun.inspect("mine", "--type", "image")["GraphDriver"]["Data"]["UpperDir"]).parent
    hyrun("save", "-o", "one.tar", "mine")
    (new / "recipe").unlink()
    hyrun("save", "-o", "two.tar", "mine")
    assert (hyrun.cwd / "one.tar").read_bytes() == (hyrun.cwd / "two.tar").read_bytes()
    for recipe in (hyrun.root / "layers").glob("*/recipe"):
        recipe.unlink()
    assert "load its image again" in hyrun.refused("save", "-o", "two.tar", "mine", code=1)


# Other engines


def skopeo(*arguments: str) -> str:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo")
    return subprocess.run(["skopeo", *arguments], capture_output=True, check=True, text=True).stdout


def test_skopeo_copies_every_form(hyrun: Hyrun) -> None:
    image = foreign_archive(hyrun.cwd / "in.tar")
    hyrun("load", "-i", "in.tar")
    for form, source, *options in (
        ("docker-archive", "docker-archive:docker-archive.tar:foreign:1"),
        ("oci", "oci-archive:oci.tar"),
        ("oci", "oci-archive:oci.tar", "--compression-format", "zstd"),
    ):
        hyrun("save", "--format", form, *options, "-o", f"{form}.tar", "foreign:1")
        path, name = source.split(":", 1)[1], f"copy-{form}"
        shutil.rmtree(hyrun.cwd / name, ignore_errors=True)
        skopeo("copy", f"{source.split(':')[0]}:{hyrun.cwd}/{path}", f"dir:{hyrun.cwd}/{name}")
        manifest = json.loads((hyrun.cwd / name / "manifest.json").read_text())
        assert manifest["config"]["digest"] == image
        assert len(manifest["layers"]) == 3


def test_umoci_unpacks_the_same_tree(hyrun: Hyrun, tmp_path: Path) -> None:
    if shutil.which("umoci") is None:
        pytest.skip("needs umoci")
    script = (
        "rm -r /data/sub; mkdir /data/new; echo x > /data/new/y; chown 5:6 /data/new/y; rm /etc/hello; ln -s a /soft"
    )
    hyrun(
        "run",
        "--name",
        "box",
        "filled",
        "sh",
        "-c",
        script.replace("/data", "/empty").replace("rm -r /empty/sub; ", ""),
    )
    hyrun("commit", "box", "mine")
    hyrun("save", "--format", "oci", "-o", "out.tar", "mine")
    skopeo("copy", f"oci-archive:{hyrun.cwd}/out.tar", f"oci:{tmp_path}/layout:mine")
    bundle = tmp_path / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{tmp_path}/layout:mine", bundle], check=True, capture_output=True)
    hyrun("export", "-o", "box.tar", "box")
    (tmp_path / "exported").mkdir()
    command = ["tar", "--xattrs", "--xattrs-include=*", "-C", tmp_path / "exported", "-xpf", hyrun.cwd / "box.tar"]
    subprocess.run(command, check=True)
    ours, theirs = listing(tmp_path / "exported"), listing(bundle / "rootfs", ignore="user.rootlesscontainers")
    # The engine's own mount points are in no layer.
    for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf"):
        assert name not in theirs
        del ours[name]
    assert ours.keys() == theirs.keys()
    assert {name: line for name, line in ours.items() if line != theirs[name]} == {}


# history


def test_history_has_docker_s_columns_the_newest_step_first(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "box", "filled", "sh", "-c", "echo a rather long command, longer than the column > /made")
    image = hyrun.out("commit", "-m", "the message", "box", "mine")
    header, first, *others = hyrun.lines("history", "mine")
    assert header.split("  ")[0] == "IMAGE"
    assert " ".join(header.split()) == "IMAGE CREATED CREATED BY SIZE COMMENT"
    assert first.startswith(image[7:19])
    assert first.endswith("the message")
    assert "…" in first
    assert [line.split()[0] for line in others] == ["<missing>"] * 2
    assert hyrun.lines("history", "-q", "--no-trunc", "mine") == [image, "<missing>", "<missing>"]
    assert hyrun.lines("image", "history", "--format", "{{.Comment}}", "mine")[0] == "the message"


def test_history_for_programs_has_bytes_and_moments(hyrun: Hyrun) -> None:
    rows = hyrun.lines("history", "--human=false", "--format", "{{.Size}} {{.CreatedAt}} {{.CreatedBy}}", "busybox")
    (size, created, made_by), *rest = (row.split() for row in rows)
    assert rest == []
    assert int(size) > 500_000
    assert (created, made_by) == ("2024-01-02T03:04:05Z", "test")


def test_steps_without_a_layer_have_no_size(hyrun: Hyrun) -> None:
    layer = images.tar_bytes([("file", b"x" * 5000)])
    history = [{"created_by": "COPY"}, {"created_by": "ENV", "empty_layer": True}]
    config = images.image_config([layer], history=history)
    images.docker_archive(hyrun.cwd / "in.tar", [layer], tags=["steps:1"], config_bytes=config)
    hyrun("load", "-i", "in.tar")
    assert hyrun.lines("history", "--format", "{{.CreatedBy}} {{.Size}}", "-H", "steps:1") == ["ENV 0B", "COPY 10.2kB"]


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_layers_of_an_oci_archive_are_those_of_the_configuration(hyrun: Hyrun, compression: str | None) -> None:
    chosen = () if compression is None else ("--compression-format", compression)
    hyrun("save", "--format", "oci", *chosen, "-o", "out.tar", "filled")
    compression = compression or "gzip"
    index = document(hyrun.cwd / "out.tar", "index.json")
    manifest = document(hyrun.cwd / "out.tar", f"blobs/sha256/{index['manifests'][0]['digest'][7:]}")
    config = document(hyrun.cwd / "out.tar", f"blobs/sha256/{manifest['config']['digest'][7:]}")
    with tarfile.open(hyrun.cwd / "out.tar") as archive:
        for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            assert layer["mediaType"] == f"application/vnd.oci.image.layer.v1.tar+{compression}"
            content = archive.extractfile(f"blobs/sha256/{layer['digest'][7:]}")
            assert content is not None
            plain = subprocess.run([compression, "-dc"], input=content.read(), capture_output=True, check=True).stdout
            assert images.sha256(plain) == diff_id


def test_an_archive_with_zstd_layers_is_the_same_each_time_and_the_image_keeps_its_id(
    hyrun: Hyrun, tmp_path: Path
) -> None:
    image = foreign_archive(hyrun.cwd / "in.tar")
    hyrun("load", "-i", "in.tar")
    for name in ("one.tar", "two.tar"):
        hyrun("save", "--format", "oci", "--compression-format", "zstd", "-o", name, "foreign:1")
    assert (hyrun.cwd / "one.tar").read_bytes() == (hyrun.cwd / "two.tar").read_bytes()
    other = second_store(hyrun, tmp_path)
    assert hyrun.out("load", "-i", "one.tar", env=other) == "Loaded image: foreign:1"
    assert hyrun.out("images", "-q", "--no-trunc", env=other) == image


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--format", "oci", "--compression-format", "zstd:chunked"), "'zstd:chunked': there are gzip and zstd"),
        (("--format", "oci", "--compression-format", ""), "'': there are gzip and zstd"),
        (("--compression-format", "xz"), "'xz': there are gzip and zstd"),
        (("--compression-format", "zstd"), "layers of a docker-archive are plain: --format oci"),
    ],
)
def test_a_compression_that_is_not_there_is_refused(hyrun: Hyrun, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in hyrun.refused("save", *arguments, "-o", "out.tar", "busybox", code=1)
    assert not (hyrun.cwd / "out.tar").exists()
