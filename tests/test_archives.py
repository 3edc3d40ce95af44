"""Archives: every form in which people have images goes in, whole; nothing else does."""

import bz2
import gzip
import json
import lzma
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hyrun import image_store
from hyrun.archives.loading import load
from hyrun.archives.rootfs import import_rootfs
from hyrun.errors import HyrunError, InvalidArgument, NotFound, NotSupported, StorageError
from hyrun.images import lookup
from hyrun.locks import lock
from hyrun.store import Store
from support.images import (
    ARCHITECTURE,
    busybox_rootfs_tar,
    compress,
    docker_archive,
    image_config,
    oci_layout,
    put_blob,
    sha256,
    tar_bytes,
    tar_of,
)

LOWER = tar_bytes([("etc", None), ("etc/motd", b"lower\n"), ("lower", b"")])
UPPER = tar_bytes([("etc/motd", b"upper\n")])
CONFIG = {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"a": "b"}}
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def snapshot(store: Store) -> list[str]:
    """Return the names of everything in the store but locks."""
    return sorted(
        str(path.relative_to(store.root))
        for path in Path(store.root).rglob("*")
        if not {"locks", "skeleton"} & set(path.parts) and path.is_file()
    )


def check(store: Store, name: str, image_id: str) -> None:
    """Check that the image has both layers, in overlayfs's order, and its configuration."""
    image = lookup(store, name)
    assert image.id == image_id
    top, low = image.own_layers(store)
    assert Path(top, "etc/motd").read_bytes() == b"upper\n"
    assert Path(low, "etc/motd").read_bytes() == b"lower\n"
    assert image.config == CONFIG


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
def test_standard_input(store: Store, tmp_path: Path, pipe: bool) -> None:
    image_id = docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"])
    program = "from hyrun.archives.loading import load; from hyrun.store import Store; print(*load(Store(), '-'))"
    with open(tmp_path / "a.tar", "rb") as file:
        given: dict[str, Any] = {"input": file.read()} if pipe else {"stdin": file}
        output = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, **given).stdout
    assert output == b"Loaded image: x:1\n"
    check(store, "x:1", image_id)


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


# What is refused: (name, how the archive is made, words of the error).


def _docker(**changes: Any) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        docker_archive(directory / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"], **changes)
        return directory / "a.tar"

    return make


def _layout(**changes: Any) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        oci_layout(directory / "layout", [LOWER, UPPER], CONFIG, ["x:1"], **changes)
        return directory / "layout"

    return make


def _edited_index(**changes: Any) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        path = _layout()(directory)
        index = json.loads((path / "index.json").read_text())
        index["manifests"][0].update(changes.pop("entry", {}))
        (path / "index.json").write_text(json.dumps({**index, **changes}))
        return path

    return make


def _raw(data: bytes) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        (directory / "a.tar").write_bytes(data)
        return directory / "a.tar"

    return make


def _truncated(directory: Path) -> Path:
    path = _docker()(directory)
    path.write_bytes(path.read_bytes()[:3000])
    return path


def _truncated_gzip(directory: Path) -> Path:
    path = _docker()(directory)
    path.write_bytes(gzip.compress(path.read_bytes())[:-20])
    return path


def _flipped_blob(directory: Path) -> Path:
    path = _layout(compression="none")(directory)
    blob = path / "blobs/sha256" / sha256(UPPER)[7:]
    blob.write_bytes(UPPER.replace(b"upper", b"UPPER"))
    return path


def _flipped_manifest(directory: Path) -> Path:
    path = _layout()(directory)
    digest = json.loads((path / "index.json").read_text())["manifests"][0]["digest"]
    blob = path / "blobs/sha256" / digest[7:]
    blob.write_bytes(blob.read_bytes().replace(b'"schemaVersion": 2', b'"schemaVersion": 3'))
    return path


def _short_blob(directory: Path) -> Path:
    path = _layout(compression="none")(directory)
    (path / "blobs/sha256" / sha256(UPPER)[7:]).write_bytes(UPPER[:-1])
    return path


def _missing_blob(directory: Path) -> Path:
    path = _layout(compression="none")(directory)
    (path / "blobs/sha256" / sha256(UPPER)[7:]).unlink()
    return path


def _link_out_of_the_layout(directory: Path) -> Path:
    path = _layout(compression="none")(directory)
    blob = path / "blobs/sha256" / sha256(UPPER)[7:]
    outside = directory / "outside"
    blob.rename(outside)
    blob.symlink_to(outside)
    return path


def _fifo(directory: Path) -> Path:
    path = _layout(compression="none")(directory)
    blob = path / "blobs/sha256" / sha256(UPPER)[7:]
    blob.unlink()
    os.mkfifo(blob)
    return path


def _deep_index(directory: Path) -> Path:
    path = _layout()(directory)
    entries = json.loads((path / "index.json").read_text())["manifests"]
    for _ in range(8):
        entries = [put_blob(path, json.dumps({"manifests": entries}).encode(), INDEX)]
    (path / "index.json").write_text(json.dumps({"manifests": entries}))
    return path


def _many_indexes(directory: Path) -> Path:
    path = _layout()(directory)
    entry = put_blob(path, b'{"manifests": []}', INDEX)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "x:1"}
    (path / "index.json").write_text(json.dumps({"manifests": [entry] * 1100}))
    return path


def _huge_pax_header(directory: Path) -> Path:
    import tarfile

    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 3 << 30
    path = directory / "a.tar"
    path.write_bytes(header.tobuf())
    os.truncate(path, 4 << 30)
    return path


def _twice(directory: Path) -> Path:
    path = directory / "a.tar"
    path.write_bytes(tar_bytes([("manifest.json", b"[]"), ("./manifest.json", b"[]")]))
    return path


def _circle(directory: Path) -> Path:
    import tarfile

    with tarfile.open(directory / "a.tar", "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        member.type, member.linkname = tarfile.SYMTYPE, "manifest.json"
        archive.addfile(member)
    return directory / "a.tar"


def _config(**changes: Any) -> bytes:
    document = json.loads(image_config([LOWER, UPPER], CONFIG))
    return json.dumps({**document, **changes}).encode()


def _in_config(**changes: Any) -> bytes:
    return _config(config={**CONFIG, **changes})


BAD: list[tuple[str, Callable[[Path], Path], str]] = [
    ("empty file", _raw(b""), "no tar file"),
    ("no tar", _raw(b"x" * 5000), "no tar file"),
    ("neither document", _raw(tar_bytes([("etc", None)])), "hyrun import"),
    ("before docker 1.10", _raw(tar_bytes([("repositories", b"{}")])), "1.10"),
    ("truncated", _truncated, "truncated|missing|unexpected end"),
    ("truncated gzip", _truncated_gzip, "compression is damaged"),
    ("damaged xz", _raw(lzma.compress(b"x" * 9999)[:-9]), "compression is damaged"),
    ("member twice", _twice, "appears twice"),
    ("links in circles", _circle, "circles"),
    ("huge PAX header", _huge_pax_header, "header of"),
    ("manifest.json is no JSON", _docker(extra={"manifest.json": b"{"}), "not JSON"),
    ("manifest.json is an object", _docker(extra={"manifest.json": b"{}"}), "want a list"),
    ("manifest.json is empty", _docker(manifest=[]), "no image"),
    ("manifest.json nested deeply", _docker(extra={"manifest.json": b"[" * 200000}), "nested|JSON"),
    ("manifest.json too long", _docker(extra={"manifest.json": b" " * (4 << 20) + b"[]"}), "limit"),
    ("key twice", _docker(extra={"manifest.json": b'[{"Config":"a","Config":"b"}]'}), "twice"),
    ("NaN", _docker(extra={"manifest.json": b"[NaN]"}), "NaN"),
    ("config missing", _docker(manifest=[{"Config": "no.json", "Layers": []}]), "no.json is missing"),
    ("config outside", _docker(manifest=[{"Config": "../../etc/passwd", "Layers": []}]), "missing"),
    (
        "config with another digest",
        _docker(manifest=[{"Config": f"{'0' * 64}.json", "Layers": []}], extra={f"{'0' * 64}.json": b"{}"}),
        "digest in its name",
    ),
    (
        "tag is no reference",
        _docker(manifest=[{"Config": "a", "RepoTags": ["../x"], "Layers": []}]),
        "no reference",
    ),
    ("tags are no list", _docker(manifest=[{"Config": "a", "RepoTags": "x", "Layers": []}]), "want a list"),
    ("layer count", _docker(config_bytes=image_config([LOWER])), "2 layers"),
    ("no layers", _docker(config_bytes=_config(rootfs={"type": "layers", "diff_ids": []})), "no layers"),
    ("diff id of something else", _docker(config_bytes=image_config([LOWER, b"x"])), "diff id"),
    (
        "diff id is a path",
        _docker(config_bytes=_config(rootfs={"diff_ids": ["sha256:../../../etc", "x"]})),
        "64 lower",
    ),
    (
        "diff id in capitals",
        _docker(config_bytes=_config(rootfs={"diff_ids": ["sha256:" + "A" * 64] * 2})),
        "64 lower",
    ),
    (
        "rootfs of unknown type",
        _docker(config_bytes=_config(rootfs={"type": "base", "diff_ids": []})),
        "'base'",
    ),
    ("rootfs missing", _docker(config_bytes=_config(rootfs=None)), "rootfs"),
    ("config is a manifest too", _docker(config_bytes=_config(manifests=[])), "ambiguous"),
    ("foreign architecture", _docker(config_bytes=_config(architecture="s390x")), "linux/s390x.*linux/"),
    ("foreign system", _docker(config_bytes=_config(os="windows")), "windows"),
    ("Cmd is a string", _docker(config_bytes=_in_config(Cmd="sh")), r"config\.Cmd"),
    ("Env holds a number", _docker(config_bytes=_in_config(Env=[1])), r"config\.Env"),
    ("Env with NUL", _docker(config_bytes=_in_config(Env=["A=\0"])), "NUL"),
    ("Env without a name", _docker(config_bytes=_in_config(Env=["=x"])), "without a name"),
    ("User is a list", _docker(config_bytes=_in_config(User=["root"])), r"config\.User"),
    ("Labels hold a list", _docker(config_bytes=_in_config(Labels={"a": []})), r"config\.Labels"),
    ("Volumes is a list", _docker(config_bytes=_in_config(Volumes=["/x"])), r"config\.Volumes"),
    ("half a surrogate pair", _docker(config_bytes=_in_config(WorkingDir="/\ud800")), "surrogate"),
    (
        "reserved name",
        _docker(manifest=None, config_bytes=None)
        if False
        else _docker(
            extra={"x": b""},
            manifest=[
                {
                    "Config": f"{sha256(image_config([LOWER, UPPER], CONFIG))[7:]}.json",
                    "RepoTags": ["host:latest"],
                    "Layers": [f"{sha256(layer)[7:]}/layer.tar" for layer in (LOWER, UPPER)],
                }
            ],
        ),
        "reserved",
    ),
    ("index and manifest in one", _edited_index(layers=[]), "CVE-2021-41190"),
    ("manifest and index in one", _layout(manifest={"manifests": []}), "CVE-2021-41190"),
    ("manifest of another type", _layout(manifest={"mediaType": INDEX}), "mediaType"),
    ("schema 1", _layout(manifest={"schemaVersion": 1}), "schema 2"),
    ("digest is a path", _edited_index(entry={"digest": "sha256:../../etc/passwd"}), "64 lower"),
    ("digest of another kind", _edited_index(entry={"digest": "sha512:" + "0" * 128}), "64 lower"),
    ("digest is a number", _edited_index(entry={"digest": 1}), "want a str"),
    ("negative size", _edited_index(entry={"size": -1}), "negative"),
    ("size is a boolean", _edited_index(entry={"size": True}), "want a int|want an int"),
    ("size is wrong", _edited_index(entry={"size": 7}), "descriptor says 7"),
    ("document too long", _edited_index(entry={"size": 5 << 20}), "limit"),
    ("empty index", _edited_index(manifests=[]), "no image"),
    (
        "index for other machines",
        _layout(platform={"os": "linux", "architecture": "s390x"}),
        "linux/s390x.*linux/",
    ),
    ("index too deep", _deep_index, "inside each other"),
    ("more documents than any image has", _many_indexes, "1000 documents"),
    (
        "artifact",
        _layout(manifest={"config": {"mediaType": "text/x", "digest": sha256(b""), "size": 0}}),
        "nothing to run",
    ),
    (
        "layer of another type",
        _layout(manifest={"layers": [{"mediaType": "text/x", "digest": sha256(b""), "size": 0}]}),
        "text/x",
    ),
    ("manifest damaged", _flipped_manifest, "that digest"),
    ("layer damaged", _flipped_blob, "digest|diff id"),
    ("layer too short", _short_blob, "descriptor says"),
    ("layer missing", _missing_blob, "is missing"),
    ("layer is a fifo", _fifo, "not a file"),
    ("layer is a link that leads out", _link_out_of_the_layout, "missing|layout"),
]


@pytest.mark.parametrize(("make", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_refused_and_nothing_changed(store: Store, tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    docker_archive(tmp_path / "good.tar", [LOWER], {}, ["good:1"])
    load(store, str(tmp_path / "good.tar"))
    before = snapshot(store)
    with pytest.raises((StorageError, InvalidArgument), match=words):
        load(store, str(make(tmp_path)))
    assert snapshot(store) == before


def test_a_bomb_of_gzip_is_stopped(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hyrun.archives import opening

    monkeypatch.setattr(opening, "_FREE_BYTES", 1 << 20)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(64 << 20)))
    with pytest.raises(StorageError, match="200 times"):
        load(store, str(tmp_path / "a.tar.gz"))


def test_what_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        load(store, str(tmp_path / "none.tar"))


def test_when_the_second_image_is_bad_the_first_is_not_loaded(store: Store, tmp_path: Path) -> None:
    oci_layout(tmp_path / "layout", [LOWER], CONFIG, ["a:1"])
    oci_layout(tmp_path / "layout", [UPPER], CONFIG, ["b:1"], config_bytes=image_config([LOWER + b"x"]))
    with pytest.raises(StorageError):
        load(store, str(tmp_path / "layout"))
    assert snapshot(store) == []


def test_more_layers_than_overlayfs_takes_are_refused(store: Store, tmp_path: Path) -> None:
    docker_archive(tmp_path / "a.tar", [LOWER] * 501, CONFIG, ["x:1"])
    with pytest.raises(StorageError, match="500"):
        load(store, str(tmp_path / "a.tar"))
    assert snapshot(store) == []


LOAD = "from hyrun.archives.loading import load; from hyrun.store import Store; print(*load(Store(), {path!r}))"


def test_processes_that_load_at_once_all_succeed(store: Store, tmp_path: Path) -> None:
    layers = [tar_bytes([(f"file{number}", bytes(2 << 20))]) for number in range(4)]
    image_id = docker_archive(tmp_path / "a.tar", layers, CONFIG, ["x:1"])
    program = LOAD.format(path=str(tmp_path / "a.tar"))
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(4)]
    outputs = [process.communicate()[0] for process in running]
    assert outputs == [b"Loaded image: x:1\n"] * 4
    assert lookup(store, "x:1").id == image_id
    assert len(os.listdir(store.path("layers"))) == 4


def _large(number: int, size: int) -> bytes:
    """A layer of incompressible bytes, large enough to be worth a thread."""
    return tar_bytes([(f"file{number}", random.Random(number).randbytes(size))])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_large_layers_are_unpacked_at_once(store: Store, tmp_path: Path) -> None:
    """The larger one, which comes first, waits for its lock; the other one does not wait for it."""
    first, second = _large(1, 3 << 20), _large(2, 2 << 20)
    image_id = docker_archive(tmp_path / "a.tar", [first, second], CONFIG, ["x:1"])
    program = LOAD.format(path=str(tmp_path / "a.tar"))
    with lock(store, "layer", sha256(first)[7:]):
        loading = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
        while not os.path.isdir(store.path("layers", sha256(second)[7:])):
            assert loading.poll() is None
            time.sleep(0.005)
    assert loading.wait() == 0
    assert lookup(store, "x:1").id == image_id


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_the_first_error_ends_the_other_layers_and_is_the_one_reported(store: Store, tmp_path: Path) -> None:
    first, second = _large(1, 3 << 20), _large(2, 2 << 20)
    docker_archive(tmp_path / "a.tar", [first, second], CONFIG, ["x:1"])
    data = (tmp_path / "a.tar").read_bytes()
    at = data.index(second) + len(second) - 2000
    (tmp_path / "a.tar").write_bytes(data[:at] + b"damage" + data[at + 6 :])
    # The other one waits as long as this is held; without being ended it would for ever.
    with lock(store, "layer", sha256(first)[7:]), pytest.raises(StorageError, match="wants"):
        load(store, str(tmp_path / "a.tar"))
    assert snapshot(store) == []
    assert os.listdir(store.path("tmp")) == []


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_an_interrupt_ends_all_layers_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    layers = [_large(1, 3 << 20), _large(2, 2 << 20)]
    docker_archive(tmp_path / "a.tar", layers, CONFIG, ["x:1"])
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"{LOAD.format(path=str(tmp_path / 'a.tar'))}"
    )
    with lock(store, "layer", sha256(layers[0])[7:]):
        loading = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
        while not os.path.isdir(store.path("layers", sha256(layers[1])[7:])):
            assert loading.poll() is None
            time.sleep(0.005)
        loading.send_signal(signal.SIGINT)
        said = loading.communicate()[1]
    assert said.rstrip().endswith(b"KeyboardInterrupt")
    assert snapshot(store) == []


def test_the_sweep_of_layers_waits_for_a_load(store: Store, tmp_path: Path) -> None:
    image_id = docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"])
    program = LOAD.format(path=str(tmp_path / "a.tar"))
    with lock(store, "layer", sha256(UPPER)[7:]):
        loading = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
        # The first layer is there, no record lists it yet.
        while not os.path.isdir(store.path("layers", sha256(LOWER)[7:])):
            assert loading.poll() is None
            time.sleep(0.005)
        image_store.sweep_now(store)
        assert os.listdir(store.path("layers")) == [sha256(LOWER)[7:]]
    assert loading.wait() == 0
    check(store, "x:1", image_id)


def test_load_and_removal_at_once_leave_a_whole_image_or_none(store: Store, tmp_path: Path) -> None:
    docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"])
    loading = LOAD.format(path=str(tmp_path / "a.tar"))
    removing = (
        "from hyrun.image_store import remove; from hyrun.store import Store\n"
        "from hyrun.errors import NotFound\n"
        "for _ in range(200):\n    try: remove(Store(), 'x:1')\n    except NotFound: pass\n"
    )
    remover = subprocess.Popen([sys.executable, "-c", removing])
    for _ in range(3):
        subprocess.run([sys.executable, "-c", loading], check=True, stdout=subprocess.DEVNULL)
        for record in image_store.records(store):
            present = set(os.listdir(store.path("layers")))
            # The removal may come between both looks; then the record is gone.
            assert set(record["layers"]) <= present or not lookup_or_none(store, record["id"])
    assert remover.wait() == 0


def lookup_or_none(store: Store, text: str) -> object:
    try:
        return lookup(store, text)
    except NotFound:
        return None


def _started(store: Store, program: str, data: bytes, sign: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()
    while not list(Path(store.path("tmp")).glob(sign)):
        assert process.poll() is None
        time.sleep(0.005)
    yield
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()


@pytest.mark.parametrize("step", ["spooling", "unpacking"])
def test_after_a_kill_the_next_load_works_and_cleans_up(store: Store, tmp_path: Path, step: str) -> None:
    image_id = docker_archive(tmp_path / "a.tar", [LOWER, UPPER], CONFIG, ["x:1"])
    if step == "spooling":
        program, data, sign = LOAD.format(path="-"), (tmp_path / "a.tar").read_bytes()[:5000], "*/input"
    else:
        program = (
            "from hyrun.archives.rootfs import import_rootfs; from hyrun.store import Store\n"
            "import_rootfs(Store(), '-', 'y')"
        )
        data, sign = LOWER[:700], "*/layer/diff"
    for _ in _started(store, program, data, sign):
        pass
    assert os.listdir(store.path("tmp"))
    load(store, str(tmp_path / "a.tar"))
    assert os.listdir(store.path("tmp")) == []
    check(store, "x:1", image_id)


def test_import_makes_one_layer_and_a_configuration(store: Store, tmp_path: Path) -> None:
    source = busybox_rootfs_tar(tmp_path / "rootfs.tar")
    image_id = import_rootfs(store, str(source), "mine", changes=['CMD ["sh"]', "ENV A=1"], message="made here")
    image = lookup(store, "mine")
    assert image.id == image_id
    assert image.config == {"Cmd": ["sh"], "Env": ["A=1"]}
    (layer,) = image.own_layers(store)
    assert Path(layer, "etc/hello").exists()
    assert not Path(layer, "test").exists()
    assert image_store.records(store)[0]["history"][0]["comment"] == "made here"


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, bz2.compress, lzma.compress, lambda data: compress(data, "zstd")],
    ids=["plain", "gz", "bz2", "xz", "zstd"],
)
def test_import_takes_compressed_files(store: Store, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "rootfs").write_bytes(pack(LOWER))
    import_rootfs(store, str(tmp_path / "rootfs"), "mine")
    assert lookup(store, "mine").layers == [sha256(LOWER)[7:]]


@pytest.mark.parametrize(
    ("source", "reference", "change", "kind"),
    [
        ("http://example.com/x.tar", None, "", NotSupported),
        ("/nonexistent", None, "", NotFound),
        ("/", None, "", InvalidArgument),
        ("good", "host", "", InvalidArgument),
        ("good", "Bad Name", "", InvalidArgument),
        ("good", "x", "RUN ls", InvalidArgument),
        ("bad", "x", "", StorageError),
    ],
)
def test_import_refused(
    store: Store, tmp_path: Path, source: str, reference: str | None, change: str, kind: type[HyrunError]
) -> None:
    (tmp_path / "good").write_bytes(LOWER)
    (tmp_path / "bad").write_bytes(LOWER[:700])
    path = str(tmp_path / source) if source in ("good", "bad") else source
    with pytest.raises(kind):
        import_rootfs(store, path, reference, changes=[change] if change else [])
    assert snapshot(store) == []
