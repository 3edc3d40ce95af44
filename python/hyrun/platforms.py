"""Which platforms this machine runs, in OCI's words (image-spec, image-index.md; Go's GOARCH)."""

import os

_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv8l": "arm",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "loongarch64": "loong64",
}


def machine() -> str:
    """Return the architecture of this machine, such as ``amd64``."""
    name = os.uname().machine
    return _ARCHITECTURES.get(name, name)


def runnable() -> list[str]:
    """Return the architectures that this machine's kernel runs, the best first."""
    own = machine()
    return [own, *{"amd64": ["386"], "arm64": ["arm"]}.get(own, [])]


def rank(os_name: str, architecture: str, variant: str) -> int | None:
    """Return how well an image fits this machine, 0 being best; None when it does not run here.

    An empty word fits: old images say nothing. Variants: for arm the newest that the machine has is best; for
    everything else the plainest, since an ``amd64/v3`` may need instructions that are not there.
    """
    known = runnable()
    if os_name not in ("", "linux") or (architecture and architecture not in known):
        return None
    distance = known.index(architecture) if architecture else 0
    level = int(variant[1:]) if variant[:1] == "v" and variant[1:].isascii() and variant[1:].isdigit() else 0
    if level > 99:
        return None
    if architecture == "arm":
        newest = {"armv6l": 6, "armv7l": 7}.get(os.uname().machine, 8)
        return None if level > newest else 100 * distance + (newest - level)
    return 100 * distance + level
