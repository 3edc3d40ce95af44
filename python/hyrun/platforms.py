"""Which platforms this machine runs, in OCI's words (image-spec, image-index.md; Go's GOARCH)."""

import os
from typing import NamedTuple

from .errors import InvalidArgument

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


#: What people write for an architecture, and for its plainest variant.
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm", "armel": "arm"}
_PLAINEST = {"amd64": "v1", "arm64": "v8"}


class Platform(NamedTuple):
    """What somebody asked for by ``--platform``: images of that fit, and of its lower variants (containerd's Only)."""

    os: str
    architecture: str
    variant: str

    def __str__(self) -> str:
        return "/".join(filter(None, self))

    def rank(self, os_name: str, architecture: str, variant: str) -> int | None:
        """Return how well an image fits, 0 being best; None when it is of another platform."""
        if (os_name or "linux") != self.os or architecture != self.architecture:
            return None
        found = "" if variant == _PLAINEST.get(architecture) else variant
        if found == self.variant:
            return 0
        if architecture == "arm" and _level(found) <= (_level(self.variant) or 7):
            # An ARM processor runs what was made for the older ones.
            return 1 + (_level(self.variant) or 7) - _level(found)
        if self.variant:
            # A newer processor runs what was made for the older ones.
            newer = _level(self.variant) - _level(found)
            return newer if newer > 0 else None
        return 100 + _level(found)


def parse_platform(text: str) -> Platform:
    """Read ``OS/ARCH[/VARIANT]`` or an architecture alone, as docker does. Raises InvalidArgument."""
    parts = text.lower().split("/")
    if len(parts) == 1:
        parts = [parts[0], machine()] if parts[0] == "linux" else ["linux", *parts]
    if not 2 <= len(parts) <= 3 or not all(part.replace("-", "").replace("_", "").isalnum() for part in parts):
        raise InvalidArgument(f"platform {text!r}: write OS/ARCH[/VARIANT], such as linux/arm64")
    if parts[0] != "linux":
        raise InvalidArgument(f"platform {text}: only images of linux run here: write linux/{parts[1]}")
    architecture = _ALIASES.get(parts[1], parts[1])
    variant = parts[2] if len(parts) == 3 else {"armel": "v6", "armhf": "v7"}.get(parts[1], "")
    return Platform("linux", architecture, "" if variant == _PLAINEST.get(architecture) else variant)


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
    level = _level(variant)
    if level > 99:
        return None
    if architecture == "arm":
        newest = {"armv6l": 6, "armv7l": 7}.get(os.uname().machine, 8)
        return None if level > newest else 100 * distance + (newest - level)
    return 100 * distance + level


def _level(variant: str) -> int:
    """Return the number in a variant, ``v7``; 0 for anything else."""
    return int(variant[1:4]) if variant[:1] == "v" and variant[1:].isascii() and variant[1:].isdigit() else 0
