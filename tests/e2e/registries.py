"""What registry tests know of the image that they all use."""

import gzip
from pathlib import Path
from typing import NamedTuple

from support import images


class Content(NamedTuple):
    """What is in ``team/box:1``, and where: the layers lowest first, as their uncompressed tars."""

    layers: list[bytes]
    layout: Path
    image_id: str


def layer_digests(content: Content) -> list[str]:
    """Return the digests of the layers as they are in the layout, lowest first."""
    return [images.sha256(gzip.compress(layer, mtime=0)) for layer in content.layers]
