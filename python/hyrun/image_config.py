"""The configuration of an image (image-spec, config.md), read as what it is: hostile input.

Nobody after this module checks types again: `run` takes argv and environment from a record as they are.
"""

from typing import Any, TypedDict, cast

from .documents import expect, parse_object, strings
from .errors import StorageError

#: overlayfs takes 500 lower layers (kernel, fs/overlayfs/params.h), and a container has one of the engine's below the
#: image's; docker makes 127 at most.
MAX_LAYERS = 499


class Config(TypedDict, total=False):
    """The ``config`` object of the OCI configuration: what a container starts with."""

    Entrypoint: list[str] | None
    Cmd: list[str] | None
    Env: list[str]
    WorkingDir: str
    User: str
    Volumes: dict[str, dict[str, object]]
    ExposedPorts: dict[str, dict[str, object]]
    StopSignal: str
    Labels: dict[str, str]


class _Based(TypedDict, total=False):
    #: A directory of this machine below the layers: the image was committed from the host's root or from --rootfs.
    base: str


class Record(_Based):
    """``images/<hex>.json``: everything `run` and `images` want to know, in one small file."""

    id: str
    layers: list[str]
    config: Config
    architecture: str
    os: str
    variant: str
    created: str
    author: str
    size: int
    history: list[dict[str, object]]
    digest: str | None


class ImageConfig(TypedDict):
    """A checked configuration: the members that hyrun uses, with their types."""

    config: Config
    diff_ids: list[str]
    architecture: str
    os: str
    variant: str
    created: str
    author: str
    history: list[dict[str, object]]


def parse_config(data: bytes) -> ImageConfig:
    """Check an image configuration and return what hyrun uses of it.

    ``diff_ids`` are hexadecimal, lowest first.
    Raises StorageError for whatever config.md does not allow. What hyrun does not know stays in the blob.
    """
    what = "image configuration"
    document = parse_object(data, what)
    if "manifests" in document or "layers" in document:
        raise StorageError(f"{what} is ambiguous: it is a manifest or an index as well (CVE-2021-41190)")
    rootfs = expect(document.get("rootfs"), dict, f"{what}: rootfs")
    if rootfs.get("type", "layers") != "layers":
        raise StorageError(f"{what}: rootfs.type is {rootfs['type']!r}: only 'layers' is known")
    diff_ids = strings(rootfs.get("diff_ids"), f"{what}: rootfs.diff_ids")
    if not diff_ids:
        raise StorageError("the image has no layers: there is nothing in it to run")
    if len(diff_ids) > MAX_LAYERS:
        raise StorageError(f"the image has {len(diff_ids)} layers, a container takes {MAX_LAYERS}: squash it first")
    return {
        "config": _config(document.get("config")),
        "diff_ids": [digest_hex(diff_id, f"{what}: diff id") for diff_id in diff_ids],
        "architecture": _word(document, "architecture"),
        "os": _word(document, "os"),
        "variant": _word(document, "variant"),
        "created": _word(document, "created"),
        "author": _word(document, "author"),
        "history": _history(document.get("history")),
    }


def digest_hex(digest: object, what: str) -> str:
    """Return the hexadecimal part of a digest: only checked may it be part of a path (CVE-2024-3727)."""
    if isinstance(digest, str) and digest.startswith("sha256:"):
        name = digest[7:]
        if len(name) == 64 and not name.strip("0123456789abcdef"):
            return name
    raise StorageError(f"{what} {str(digest)[:100]!r}: want 'sha256:' and 64 lower-case hexadecimal digits")


def _config(value: object) -> Config:
    what = "image configuration: config"
    if value is None:
        return {}
    source = expect(value, dict, what)
    result: dict[str, Any] = {}
    for key in ("Entrypoint", "Cmd", "Env"):
        if source.get(key) is not None:
            result[key] = strings(source[key], f"{what}.{key}")
    if any(entry.startswith("=") or not entry for entry in result.get("Env", ())):
        raise StorageError(f"{what}.Env: a variable without a name")
    for key in ("WorkingDir", "User", "StopSignal"):
        if source.get(key) not in (None, ""):
            result[key] = expect(source[key], str, f"{what}.{key}")
    for key in ("Volumes", "ExposedPorts"):
        if source.get(key):
            # Sets, in Go's form: only the keys mean something.
            result[key] = {
                name: {} for name in strings(list(expect(source[key], dict, f"{what}.{key}")), f"{what}.{key}")
            }
    if source.get("Labels"):
        labels = expect(source["Labels"], dict, f"{what}.Labels")
        result["Labels"] = {name: expect(text, str, f"{what}.Labels: {name}") for name, text in labels.items()}
    return cast("Config", result)


def _history(value: object) -> list[dict[str, object]]:
    result = []
    for entry in expect(value, list, "image configuration: history") if value is not None else ():
        entry = expect(entry, dict, "image configuration: history entry")
        kept: dict[str, object] = {}
        for key in ("created", "created_by", "author", "comment"):
            if entry.get(key) is not None:
                kept[key] = expect(entry[key], str, f"image configuration: history {key}")
        if entry.get("empty_layer"):
            kept["empty_layer"] = True
        result.append(kept)
    return result


def _word(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    return "" if value is None else expect(value, str, f"image configuration: {key}")
