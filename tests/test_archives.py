"""Archives: every form in which people have images goes in, whole."""

import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hyrun import image_store
from hyrun.archives.loading import load
from hyrun.images import lookup
from hyrun.store import Store
from support.archives import CONFIG, INDEX, LOWER, MANIFEST, UPPER, check
from support.images import (
    ARCHITECTURE,
    compress,
    docker_archive,
    image_config,
    oci_layout,
    put_blob,
    sha256,
    tar_bytes,
    tar_of,
)


def test_docker_save_archive(store: Store, tmp_path: Path) -> None:
    image_id = docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["busybox:latest", "a.example/b:2"])
    lines = load(store, str(tmp_path / "a.tar"))
    assert lines == ["Loaded image: busybox:latest", "Loaded image: a.example/b:2"]
    check(store, "busybox", image_id)
    check(store, "a.example/b:2", image_id)


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, bz2.compress, lzma.compress, lambda data: compress(data, "zstd")],
    ids=["gz", "bz2", "xz", "zstd"],
)
def test_compressed_archive(store: Store, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    image_id = docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"])
    (tmp_path / "a.tar.z").write_bytes(pack((tmp_path / "a.tar").read_bytes()))
    load(store, str(tmp_path / "a.tar.z"))
    check(store, "x:1", image_id)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("form", ["directory", "tar"])
def test_oci_layout(store: Store, tmp_path: Path, compression: str, form: str) -> None:
    layout = tmp_path / "layout"
    image_id = oci_layout(layout, [LOWER, UPPER], CONFIG, ["docker.io/library/x:1"], compression=compression)
    source = layout if form == "directory" else tar_of(layout, tmp_path / "layout.tar")
    assert load(store, str(source)) == ["Loaded image: x:1"]
    check(store, "x:1", image_id)


def test_archive_of_docker_25_with_both_documents_uses_all_names(store: Store, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    image_id = oci_layout(layout, [LOWER, UPPER], CONFIG, ["x:1"], compression="none")
    blobs = [f"blobs/sha256/{sha256(layer)[7:]}" for layer in (LOWER, UPPER)]
    entry = {"Config": f"blobs/sha256/{image_id[7:]}", "RepoTags": ["x:1", "y:2"], "Layers": blobs}
    (layout / "manifest.json").write_text(json.dumps([entry]))
    assert load(store, str(tar_of(layout, tmp_path / "a.tar"))) == ["Loaded image: x:1", "Loaded image: y:2"]
    check(store, "y:2", image_id)


def test_symlinked_layers_of_old_archives_are_followed(store: Store, tmp_path: Path) -> None:
    import tarfile

    image_id = docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"])
    old = f"{sha256(LOWER)[7:]}/layer.tar"
    with tarfile.open(tmp_path / "a.tar") as source, tarfile.open(tmp_path / "b.tar", "w") as target:
        for member in source:
            content = source.extractfile(member)
            if member.name == old:
                link = tarfile.TarInfo(old)
                link.type, link.linkname = tarfile.SYMTYPE, "../real/layer.tar"
                target.addfile(link)
                member.name = "real/layer.tar"
            target.addfile(member, content)
    load(store, str(tmp_path / "b.tar"))
    check(store, "x:1", image_id)


def test_an_index_of_indexes_leads_to_the_image_for_this_machine(store: Store, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    other = image_config([UPPER], architecture="s390x")
    oci_layout(layout, [UPPER], config_bytes=other, platform={"os": "linux", "architecture": "s390x"})
    image_id = oci_layout(layout, [LOWER, UPPER], CONFIG, platform={"os": "linux", "architecture": ARCHITECTURE})
    attestation = {
        "mediaType": MANIFEST,
        "digest": sha256(b"absent"),
        "size": 6,
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    entries = [attestation, *json.loads((layout / "index.json").read_text())["manifests"]]
    for _ in range(2):
        entries = [put_blob(layout, json.dumps({"schemaVersion": 2, "manifests": entries}).encode(), INDEX)]
    entries[0]["annotations"] = {"io.containerd.image.name": "docker.io/library/x:1"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    assert load(store, str(layout)) == ["Loaded image: x:1"]
    check(store, "x:1", image_id)


def test_an_image_without_a_name_is_loaded_by_its_id(store: Store, tmp_path: Path) -> None:
    image_id = oci_layout(tmp_path / "layout", [LOWER, UPPER], CONFIG, ["latest"])
    assert load(store, str(tmp_path / "layout")) == [f"Loaded image ID: {image_id}"]
    check(store, image_id[7:19], image_id)


def test_several_images_of_one_archive(store: Store, tmp_path: Path) -> None:
    first = oci_layout(tmp_path / "layout", [LOWER], CONFIG, ["a:1", "a:2"])
    second = oci_layout(tmp_path / "layout", [LOWER, UPPER], CONFIG, ["b:1"])
    load(store, str(tmp_path / "layout"))
    assert [lookup(store, name).id for name in ("a:1", "a:2", "b:1")] == [first, first, second]
    assert len(os.listdir(store.path("layers"))) == 2


def test_the_manifest_digest_is_kept_and_found(store: Store, tmp_path: Path) -> None:
    image_id = oci_layout(tmp_path / "layout", [LOWER], CONFIG, ["a:1"])
    load(store, str(tmp_path / "layout"))
    digest = json.loads((tmp_path / "layout/index.json").read_text())["manifests"][0]["digest"]
    assert lookup(store, f"a@{digest}").id == image_id
    assert Path(store.path("blobs/sha256", digest[7:])).exists()


@pytest.mark.parametrize("pipe", [True, False])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_standard_input(store: Store, tmp_path: Path, pipe: bool, compression: str) -> None:
    image_id = docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"])
    (tmp_path / "a.tar").write_bytes(compress((tmp_path / "a.tar").read_bytes(), compression))
    program = "from hyrun.archives.loading import load; from hyrun.store import Store; print(*load(Store(), '-'))"
    with open(tmp_path / "a.tar", "rb") as file:
        given: dict[str, Any] = {"input": file.read()} if pipe else {"stdin": file}
        output = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, **given).stdout
    assert output == b"Loaded image: x:1\n"
    check(store, "x:1", image_id)


def test_an_archive_may_have_more_files_than_a_process(store: Store, tmp_path: Path) -> None:
    layers = [tar_bytes([(f"{number}", b"x")]) for number in range(100)]
    oci_layout(tmp_path / "layout", layers, CONFIG, ["docker.io/library/x:1"])
    program = "from hyrun.archives.loading import load; from hyrun.store import Store; load(Store(), 'layout')"
    command = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", sys.executable, "-c", program]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert len(lookup(store, "x:1").layers) == 100


def test_a_layer_that_occurs_twice_is_mounted_once(store: Store, tmp_path: Path) -> None:
    docker_archive(tmp_path / "a.tar", [UPPER, LOWER, UPPER], CONFIG, ["x:1"], manifest=_repeated())
    load(store, str(tmp_path / "a.tar"))
    assert [path[-69:-5] for path in lookup(store, "x:1").own_layers(store)] == [
        sha256(UPPER)[7:],
        sha256(LOWER)[7:],
    ]


@pytest.mark.parametrize("tool", ["skopeo docker-archive", "skopeo oci", "skopeo oci-archive", "umoci"])
def test_archives_of_other_tools(store: Store, tmp_path: Path, tool: str) -> None:
    program, _, transport = tool.partition(" ")
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    layout, target = tmp_path / "layout", tmp_path / "target"
    image_id = oci_layout(layout, [LOWER, UPPER], CONFIG, ["v1"])
    if program == "umoci":
        command = ["umoci", "config", "--image", f"{layout}:v1", "--tag", "v2", "--config.cmd", "ls"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        assert len(load(store, str(layout))) == 2
        changed = next(record for record in image_store.records(store) if record["config"].get("Cmd") == ["ls"])
        top = lookup(store, changed["id"]).own_layers(store)[0]
        assert Path(top, "etc/motd").read_bytes() == b"upper\n"
        return
    command = [
        "skopeo",
        "copy",
        "--insecure-policy",
        "-q",
        f"oci:{layout}:v1",
        f"{transport}:{target}:docker.io/library/x:1",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert load(store, str(target)) == ["Loaded image: x:1"]
    image = lookup(store, "x:1")
    assert [Path(path, "etc/motd").read_bytes() for path in image.own_layers(store)] == [
        b"upper\n",
        b"lower\n",
    ]
    assert image.config["Cmd"] == ["sh"]
    if transport != "docker-archive":
        assert image.id == image_id


def _repeated() -> Any:
    data = image_config([UPPER, LOWER, UPPER], CONFIG)
    names = [f"{sha256(layer)[7:]}/layer.tar" for layer in (UPPER, LOWER, UPPER)]
    return [{"Config": f"{sha256(data)[7:]}.json", "RepoTags": ["x:1"], "Layers": names}]
