"""One large layer: a real Debian root file system as plain, gzip and zstd tar, kept for the next time."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from payload import Missing

#: Compilers, a Java and a Go: programs, libraries, headers, documentation; about 28,000 files in 1.6 GB.
PACKAGES = "build-essential,golang-go,clang,python3-numpy,default-jdk-headless,git"
#: What registries serve: gzip as `docker push` has it (level 6), zstd's default.
FORMS = {"gzip": ("gzip", "-6", "-n"), "zstd": ("zstd", "-3", "-q"), "plain": ("cat",)}
_MEDIA = {"gzip": "+gzip", "zstd": "+zstd", "plain": ""}


def cache() -> Path:
    """Return the directory where the tars are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hyrun-bench"


def make(directory: Path) -> dict[str, Path]:
    """Make what is not there yet; return an OCI layout for each form, its layer in ``layer``."""
    for program in ("mmdebstrap", "gzip", "zstd"):
        if shutil.which(program) is None:
            raise Missing(f"no {program} here: install it first (Debian: apt-get install {program})")
    directory.mkdir(parents=True, exist_ok=True)
    plain = directory / "root.tar"
    if not plain.exists():
        new = directory / "new.tar"
        _run("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(new))
        new.rename(plain)
    layouts = {}
    for form, command in FORMS.items():
        layouts[form] = directory / form
        if not (layouts[form] / "index.json").exists():
            shutil.rmtree(layouts[form], ignore_errors=True)
            _make_layout(layouts[form], plain, command, _MEDIA[form])
        _add_dockers_manifest(layouts[form])
    return layouts


def describe(plain: Path) -> str:
    """Return what the layer is, in one line."""
    with tarfile.open(plain) as archive:
        files = sum(member.isfile() for member in archive)
    return f"layer: {plain.stat().st_size / 1e6:.0f} MB, {files} files, of a Debian with {PACKAGES}"


def _make_layout(directory: Path, plain: Path, command: tuple[str, ...], suffix: str) -> None:
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)
    layer = directory / "layer"
    with open(plain, "rb") as source, open(layer, "wb") as target:
        subprocess.run(command, stdin=source, stdout=target, check=True)

    def put(path: Path, kind: str) -> dict[str, object]:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.link(path, blobs / digest)
        media = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": path.stat().st_size}

    def put_json(name: str, document: object, kind: str) -> dict[str, object]:
        path = directory / name
        path.write_text(json.dumps(document))
        return put(path, kind)

    machine = os.uname().machine
    with open(plain, "rb") as file:
        diff_id = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put_json("config", config, "config.v1+json"),
        "layers": [put(layer, f"layer.v1.tar{suffix}")],
    }
    described = put_json("manifest", manifest, "manifest.v1+json")
    described["annotations"] = {"org.opencontainers.image.ref.name": "bench"}
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))


def _add_dockers_manifest(directory: Path) -> None:
    """Older dockers know no OCI layout: name the same blobs as `docker save` does."""
    index = json.loads((directory / "index.json").read_text())

    def path(described: dict[str, str]) -> str:
        return f"blobs/sha256/{described['digest'].partition(':')[2]}"

    manifest = json.loads((directory / path(index["manifests"][0])).read_text())
    layers = [path(layer) for layer in manifest["layers"]]
    entry = {"Config": path(manifest["config"]), "RepoTags": ["bench:latest"], "Layers": layers}
    (directory / "manifest.json").write_text(json.dumps([entry]))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"{command[0]}: {(done.stderr.strip() or 'nothing was said').splitlines()[-1]}")
