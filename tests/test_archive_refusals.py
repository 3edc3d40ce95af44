"""Archives that are damaged, hostile or of another kind: nothing of them goes in."""

import gzip
import json
import lzma
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hyrun.archives.loading import load
from hyrun.errors import InvalidArgument, NotFound, StorageError
from hyrun.store import Store
from support.archives import CONFIG, INDEX, LOWER, UPPER, snapshot
from support.images import compress, docker_archive, image_config, oci_layout, put_blob, sha256, tar_bytes

_GOOD = tar_bytes([("manifest.json", b"[]")])


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


def _link_twice(directory: Path) -> Path:
    import tarfile

    path = directory / "a.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.LNKTYPE):
            member = tarfile.TarInfo("x" if kind == tarfile.REGTYPE else "y")
            member.type, member.linkname = kind, "x"
            archive.addfile(member)
    return path


def _packed(make: Callable[[Path], Path], pack: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def packed(directory: Path) -> Path:
        path = make(directory)
        path.write_bytes(pack(path.read_bytes()))
        return path

    return packed


def _huge_descriptor() -> dict[str, Any]:
    return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": sha256(b""), "size": 1 << 62}


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
    ("truncated gzip", _truncated_gzip, "archive: the gzip stream is cut off"),
    ("damaged xz", _raw(lzma.compress(_GOOD)[:-9]), "compression is damaged"),
    ("xz of something else", _raw(lzma.compress(b"x" * 9999)), "no tar file"),
    ("member twice", _twice, "appears twice"),
    ("member twice in gzip", _packed(_twice, gzip.compress), 'archive: entry "manifest.json": it appears twice'),
    ("member twice in zstd", _packed(_twice, lambda data: compress(data, "zstd")), "appears twice"),
    ("member and its link twice", _packed(_link_twice, gzip.compress), "appears twice"),
    ("size beyond all layers", _layout(manifest={"layers": [_huge_descriptor()]}), "over the limit"),
    ("gzip of zeros", _raw(gzip.compress(bytes(65 << 20))), "64 MiB follow the end of the archive"),
    ("gzip of an archive without an entry", _raw(gzip.compress(bytes(10240))), "neither manifest.json"),
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
    (
        "registry's manifest",
        _docker(extra={"manifest.json": b'{"schemaVersion": 2}'}),
        "skopeo copy dir:.*oci-archive:",
    ),
    ("artifact in the index", _edited_index(entry={"mediaType": "text/x"}), "is no image"),
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


def test_a_bomb_of_xz_is_stopped(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hyrun.archives import opening

    monkeypatch.setattr(opening, "_FREE_BYTES", 1 << 20)
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(tar_bytes([("x", bytes(64 << 20))]), preset=0))
    with pytest.raises(StorageError, match="200 times"):
        load(store, str(tmp_path / "a.tar.xz"))


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        ("cat /dev/zero", "more than 64 MiB follow the end of the archive"),
        ("yes", "archive: this is not a tar archive"),
        ("echo", "archive: it is cut off"),
        ("cat a.tar /dev/zero", "more than 64 MiB follow the end of the archive"),
        ("cat a.tar /dev/zero | gzip -1", "more than 64 MiB follow the end of the archive"),
        ("xz -c a.tar", "compressed by xz.*xz -dc"),
        ("bzip2 -c a.tar", "compressed by bzip2.*bzip2 -dc"),
    ],
)
def test_what_comes_through_a_pipe_has_an_end_and_is_a_tar(store: Store, tmp_path: Path, feed: str, words: str) -> None:
    (tmp_path / "a.tar").write_bytes(_GOOD)
    program = "from hyrun.archives.loading import load; from hyrun.store import Store; load(Store(), '-')"
    command = f"{feed} | {shlex.quote(sys.executable)} -c {shlex.quote(program)}"
    limited = f"ulimit -f {100 << 10}; {command}"
    result = subprocess.run(["bash", "-c", limited], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.search(f"StorageError: .*{words}", result.stderr), result.stderr
    assert snapshot(store) == []


def test_an_endless_device_is_refused(store: Store) -> None:
    with pytest.raises(StorageError, match="follow the end"):
        load(store, "/dev/zero")


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
    docker_archive(tmp_path / "a.tar", [LOWER] * 500, CONFIG, ["x:1"])
    with pytest.raises(StorageError, match="499"):
        load(store, str(tmp_path / "a.tar"))
    assert snapshot(store) == []
