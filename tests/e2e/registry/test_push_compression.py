"""`push` of layers as zstd and as gzip, and what becomes of the manifest."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from e2e.command import Hyrun
from e2e.registries import Content, manifest_of, pushed
from support import images
from support.registry import Registry

_OCI = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def _pushed_as(hyrun: Hyrun, compression: str, pulled: str, target: str) -> str:
    hyrun("tag", pulled, target)
    return hyrun("push", "--compression-format", compression, target).stderr


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_layers_become_zstd_in_an_oci_manifest(
    hyrun: Hyrun, plain: Registry, content: Content, pulled: str, form: str
) -> None:
    plain.put(content.layout, f"zstd/{form}:1", "--format", form)
    hyrun("pull", "-q", f"{plain.host}/zstd/{form}:1")
    target = f"{plain.host}/zstd/{form}-new:1"
    assert _pushed_as(hyrun, "zstd", f"{plain.host}/zstd/{form}:1", target).count(": Pushed\n") == 3
    manifest = manifest_of(plain, f"zstd/{form}-new:1")
    assert manifest["mediaType"] == _OCI
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == [f"{_LAYER}+zstd"] * 3
    for layer, tar in zip(manifest["layers"], content.layers, strict=True):
        command = ["zstd", "-dc", plain.blob(layer["digest"])]
        assert subprocess.run(command, capture_output=True, check=True).stdout == tar
    # The same bytes once more, and without the option those that the image came with.
    digest = plain.digest(f"zstd/{form}-new:1")
    assert hyrun("push", "--compression-format", "zstd", target).stderr.count(": Layer already exists\n") == 3
    assert plain.digest(f"zstd/{form}-new:1") == digest
    hyrun("push", "-q", target)
    assert plain.digest(f"zstd/{form}-new:1") == plain.digest(f"zstd/{form}:1")


def test_what_has_that_compression_goes_as_it_came(hyrun: Hyrun, plain: Registry, pulled: str) -> None:
    said = _pushed_as(hyrun, "gzip", pulled, f"{plain.host}/zstd/kept:1")
    assert said.count(": Mounted from ") == 3
    assert plain.digest("zstd/kept:1") == plain.digest("team/box:1")


def test_a_zstd_image_comes_back_and_can_become_gzip(hyrun: Hyrun, plain: Registry, pulled: str) -> None:
    identifier = hyrun.out("images", "-q", "--no-trunc", pulled)
    target = f"{plain.host}/zstd/back:1"
    _pushed_as(hyrun, "zstd", pulled, target)
    for name in set(hyrun.lines("images", "-q")):
        hyrun("rmi", "-f", name)
    hyrun("pull", "-q", target)
    assert hyrun.out("images", "-q", "--no-trunc", target) == identifier
    assert hyrun.out("run", "--rm", target, "cat", "/data/word") == "hello"
    digest = plain.digest("zstd/back:1")
    assert _pushed_as(hyrun, "zstd", target, f"{plain.host}/zstd/again:1").count(": Mounted from ") == 3
    assert plain.digest("zstd/again:1") == digest
    _pushed_as(hyrun, "gzip", target, f"{plain.host}/zstd/gzip:1")
    assert [layer["mediaType"] for layer in manifest_of(plain, "zstd/gzip:1")["layers"]] == [f"{_LAYER}+gzip"] * 3


def test_docker_s_types_stay_out_of_an_oci_manifest(
    hyrun: Hyrun, plain: Registry, content: Content, pulled: str, tmp_path: Path
) -> None:
    """One layer is gzip already and goes as it came, under Docker's type; the others are packed anew."""
    images.oci_layout(tmp_path / "mixed", content.layers, {"Cmd": ["sh"], "User": "mixed"}, ["x:1"])
    plain.put(tmp_path / "mixed", "zstd/mixed:1", "--format", "v2s2")
    hyrun("pull", "-q", f"{plain.host}/zstd/mixed:1")
    (blob,) = (path for path in hyrun.root.glob("layers/*/blob") if path.stat().st_size < 1000)
    blob.unlink()
    other = Registry(tmp_path / "other")
    try:
        _pushed_as(hyrun, "gzip", f"{plain.host}/zstd/mixed:1", f"{other.host}/mixed:1")
        manifest = manifest_of(other, "mixed:1")
        assert manifest["mediaType"] == _OCI
        assert {layer["mediaType"] for layer in manifest["layers"]} == {f"{_LAYER}+gzip"}
    finally:
        other.close()


@pytest.mark.parametrize("program", ["skopeo", "podman"])
def test_other_engines_read_a_zstd_image(
    hyrun: Hyrun, plain: Registry, pulled: str, tmp_path: Path, program: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    # Zeros are padded with frames that readers skip.
    hyrun("run", "--name", "box", pulled, "dd", "if=/dev/zero", "of=/zeros", "bs=1M", "count=80")
    hyrun("commit", "box", f"{plain.host}/zstd/{program}:1")
    target = f"{plain.host}/zstd/{program}:1"
    identifier = hyrun.out("images", "-q", "--no-trunc", target)
    hyrun("push", "-q", "--compression-format", "zstd", target)
    if program == "skopeo":
        copied = ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-decompress", f"docker://{target}"]
        subprocess.run([*copied, f"dir:{tmp_path}/copy"], check=True, timeout=60)
        diff_ids = json.loads((tmp_path / "copy" / identifier[7:]).read_bytes())["rootfs"]["diff_ids"]
        for diff_id in diff_ids:
            assert images.sha256((tmp_path / "copy" / diff_id[7:]).read_bytes()) == diff_id
        return
    # Its run directory must have a short name, and a file of logins must be there.
    logins = tmp_path / "logins.json"
    logins.write_text("{}")
    with tempfile.TemporaryDirectory() as run:
        podman = ["podman", "--root", str(tmp_path / "root"), "--runroot", run, "--storage-driver", "vfs"]
        pull = [*podman, "pull", "-q", "--tls-verify=false", "--authfile", str(logins), target]
        pulled_id = subprocess.run(pull, check=True, timeout=120, stdout=subprocess.PIPE, text=True)
    assert pulled_id.stdout == f"{identifier[7:]}\n"


def test_zstd_that_begins_with_a_frame_to_skip_is_zstd(
    hyrun: Hyrun, plain: Registry, content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As `pzstd` writes it: RFC 8878, 3.1.2.
    compress = images.compress
    monkeypatch.setattr(images, "compress", lambda data, form: b"\x5a\x2a\x4d\x18\x04\0\0\0skip" + compress(data, form))
    images.oci_layout(tmp_path / "skip", content.layers, {"Cmd": ["sh"]}, ["x:1"], compression="zstd")
    # skopeo knows no such frame, and would compress once more.
    plain.put(tmp_path / "skip", "skip/first:1", "--preserve-digests")
    hyrun("pull", "-q", f"{plain.host}/skip/first:1")
    pushed(hyrun, f"{plain.host}/skip/first:1", f"{plain.host}/skip/second:1")
    layers = manifest_of(plain, "skip/second:1")["layers"]
    assert [layer["mediaType"].rpartition("+")[2] for layer in layers] == ["zstd"] * len(content.layers)
    assert all((tmp_path / "skip/blobs/sha256" / layer["digest"][7:]).exists() for layer in layers)
