"""What registry tests know of the image that they all use, and what they ask of a registry."""

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from e2e.command import Hyrun
from support import images
from support.registry import Registry


class Content(NamedTuple):
    """What is in ``team/box:1``, and where: the layers lowest first, as their uncompressed tars."""

    layers: list[bytes]
    layout: Path
    image_id: str


def layer_digests(content: Content) -> list[str]:
    """Return the digests of the layers as they are in the layout, lowest first."""
    return [images.sha256(gzip.compress(layer, mtime=0)) for layer in content.layers]


def pushed(hyrun: Hyrun, pulled: str, target: str) -> str:
    """Give an image another name, push it and return what was said on stderr."""
    hyrun("tag", pulled, target)
    result = hyrun("push", target)
    assert result.stdout == f"{target}\n"
    return result.stderr


def manifest_of(registry: Registry, name: str) -> Any:
    """Return the manifest that a registry has, as skopeo reads it."""
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/{name}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


def of_platforms(directory: Path) -> Path:
    """Return an OCI layout with an image for each of four platforms, one of them this machine's."""
    for architecture, variant in (("s390x", ""), ("arm", "v6"), ("arm", "v7"), (images.ARCHITECTURE, "")):
        base = images.busybox_rootfs_tar(directory / "rootfs.tar").read_bytes()
        layers = [base, images.tar_bytes([("arch", architecture.encode())])]
        platform = {"os": "linux", "architecture": architecture} | ({"variant": variant} if variant else {})
        config = images.image_config(layers, {}, **platform)
        images.oci_layout(directory / "one", layers, config_bytes=config, platform=platform)
    index = json.loads((directory / "one/index.json").read_text())
    index["mediaType"] = "application/vnd.oci.image.index.v1+json"
    item = images.put_blob(directory / "one", json.dumps(index).encode(), index["mediaType"])
    (directory / "one/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [item]}))
    return directory / "one"
