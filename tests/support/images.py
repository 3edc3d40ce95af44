"""Images for tests: root file systems, `docker save` archives, OCI layouts; the same bytes each time."""

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PASSWD = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\napp:x:1000:1000:app:/home/app:/bin/sh\n"
GROUP = "root:x:0:\ndaemon:x:1:\nstaff:x:50:app\napp:x:1000:\n"
# fmt: off
APPLETS = [
    "sh", "ls", "cat", "echo", "touch", "id", "sleep", "true", "false", "env", "pwd", "mkdir", "rm",
    "rmdir", "cp", "mv", "ln", "ps", "kill", "grep", "head", "tail", "test", "stat", "chmod", "chown",
    "mount", "umount", "hostname", "wc", "sort", "tr", "cut", "seq", "dd", "readlink", "mknod", "find",
    "date", "printf", "ash", "vi", "df", "du", "uname", "whoami",
]
# fmt: on
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

#: A member of a layer: (name, content) for a file; None as content for a directory.
Entry = tuple[str, bytes | None]


def tar_bytes(entries: Iterable[Entry]) -> bytes:
    """Return a tar with those directories and files, owned by root, of 1970."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            else:
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def busybox_rootfs_tar(path: Path) -> Path:
    """Write the tar of a small root file system with a shell and the usual commands, without /test."""
    with tarfile.open(path, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("bin", "dev", "etc", "home", "proc", "run", "sys", "usr", "usr/bin", "var", "var/log"):
            _directory(archive, name)
        _directory(archive, "home/app", owner=1000)
        _directory(archive, "root", mode=0o700)
        _directory(archive, "tmp", mode=0o1777)
        _file(archive, "etc/passwd", PASSWD.encode())
        _file(archive, "etc/group", GROUP.encode())
        _file(archive, "etc/hello", b"hello from the image\n")
        busybox = _static_busybox()
        if busybox is not None:
            _file(archive, "bin/busybox", busybox.read_bytes(), mode=0o755)
            for applet in APPLETS:
                member = tarfile.TarInfo(f"bin/{applet}")
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, "busybox", 0o777
                archive.addfile(member)
        else:
            _host_commands(archive)
    return path


def image_config(layers: Sequence[bytes], config: Mapping[str, Any] | None = None, **others: Any) -> bytes:
    """Return an OCI configuration for layers given as uncompressed tars, lowest first."""
    document = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "created": "2024-01-02T03:04:05.678Z",
        "config": {} if config is None else dict(config),
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
        "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "test"} for _ in layers],
        **others,
    }
    return json.dumps(document, sort_keys=True).encode()


def docker_archive(
    path: Path,
    layers: Sequence[bytes],
    config: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    *,
    config_bytes: bytes | None = None,
    manifest: Any = None,
    extra: Mapping[str, bytes] | None = None,
) -> str:
    """Write what `docker save` (24 and before, without links) writes; return the image's id.

    ``config_bytes``, ``manifest`` and ``extra`` (members by name; they replace others) are for damaged
    archives.
    """
    data = image_config(layers, config) if config_bytes is None else config_bytes
    name = hashlib.sha256(data).hexdigest()
    names = [f"{hashlib.sha256(layer).hexdigest()}/layer.tar" for layer in layers]
    if manifest is None:
        manifest = [{"Config": f"{name}.json", "RepoTags": list(tags) or None, "Layers": names}]
    members: dict[str, bytes] = {f"{name}.json": data, "manifest.json": json.dumps(manifest).encode()}
    members |= dict(zip(names, layers, strict=True))
    members |= extra or {}
    path.write_bytes(tar_bytes(sorted(members.items())))
    return f"sha256:{name}"


def oci_layout(
    directory: Path,
    layers: Sequence[bytes],
    config: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    *,
    compression: str = "gzip",
    config_bytes: bytes | None = None,
    platform: Mapping[str, str] | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> str:
    """Write an OCI layout with one image, or add one to it; return the image's id.

    ``compression`` is gzip, zstd or none; ``tags`` become ``org.opencontainers.image.ref.name``;
    ``platform`` goes into the index; ``manifest`` has members that replace those of the manifest, for
    damaged layouts.
    """
    (directory / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    data = image_config(layers, config) if config_bytes is None else config_bytes
    suffix = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}[compression]
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put_blob(directory, data, "application/vnd.oci.image.config.v1+json"),
        "layers": [
            put_blob(directory, compress(layer, compression), f"application/vnd.oci.image.layer.v1.tar{suffix}")
            for layer in layers
        ],
        **(manifest or {}),
    }
    descriptor = put_blob(directory, json.dumps(document).encode(), "application/vnd.oci.image.manifest.v1+json")
    if platform is not None:
        descriptor["platform"] = dict(platform)
    index_path = directory / "index.json"
    index: dict[str, Any] = (
        json.loads(index_path.read_text()) if index_path.exists() else {"schemaVersion": 2, "manifests": []}
    )
    for tag in tags:
        index["manifests"].append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}})
    if not tags:
        index["manifests"].append(descriptor)
    index_path.write_text(json.dumps(index))
    return sha256(data)


def put_blob(directory: Path, data: bytes, media_type: str) -> dict[str, Any]:
    """Add a blob to an OCI layout and return its descriptor."""
    digest = sha256(data)
    (directory / "blobs/sha256" / digest[7:]).write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def tar_of(directory: Path, path: Path) -> Path:
    """Write the files of a directory into a tar, sorted: an OCI layout as one file."""
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    path.write_bytes(tar_bytes((str(file.relative_to(directory)), file.read_bytes()) for file in files))
    return path


def compress(data: bytes, compression: str) -> bytes:
    """Return the data compressed with gzip or zstd (the command), or as it is for ``none``."""
    if compression == "gzip":
        return gzip.compress(data, mtime=0)
    if compression == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


def sha256(data: bytes) -> str:
    """Return the digest of the data, ``sha256:<hex>``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _static_busybox() -> Path | None:
    for candidate in ("/bin/busybox", "/usr/bin/busybox"):
        path = Path(candidate)
        if path.exists() and not _libraries(path):
            return path.resolve()
    return None


def _host_commands(archive: tarfile.TarFile) -> None:
    """Take this machine's commands and the libraries they are linked with."""
    needed: set[Path] = set()
    for applet in APPLETS:
        found = shutil.which(applet)
        if found is None:
            continue
        _file(archive, f"bin/{applet}", Path(found).resolve().read_bytes(), mode=0o755)
        needed.update(_libraries(Path(found)))
    made: set[str] = set()
    for library in sorted(needed):
        name = str(library).lstrip("/")
        for parent in reversed(Path(name).parents):
            if str(parent) not in (".", "usr", "usr/bin") and str(parent) not in made:
                made.add(str(parent))
                _directory(archive, str(parent))
        _file(archive, name, library.read_bytes(), mode=0o755)


def _libraries(program: Path) -> set[Path]:
    result = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    words = result.stdout.split()
    return {Path(word) for word in words if word.startswith("/") and os.path.exists(word)}


def _directory(archive: tarfile.TarFile, name: str, *, mode: int = 0o755, owner: int = 0) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, owner, owner
    archive.addfile(member)


def _file(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))
