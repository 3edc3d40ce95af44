"""Two layers, and what a store has of an image of them."""

from pathlib import Path

from hyrun.images import lookup
from hyrun.store import Store

from .images import tar_bytes

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
