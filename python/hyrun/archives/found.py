"""What an archive turned out to hold, checked as far as documents go; no layer has been read yet."""

from typing import NamedTuple

from hyrun.errors import InvalidArgument, StorageError
from hyrun.image_config import ImageConfig, parse_config
from hyrun.platforms import Platform, machine, rank
from hyrun.references import Reference, parse

from .source import Member


class FoundLayer(NamedTuple):
    """A layer as the archive has it; ``digest`` is that of its (compressed) bytes if the archive names it."""

    member: Member
    diff_id: str
    digest: str | None


class Found(NamedTuple):
    """One image of an archive, its layers lowest first."""

    config: bytes
    manifest: bytes | None
    layers: list[FoundLayer]
    references: list[Reference]


def checked_config(data: bytes, layers: int, name: str, wanted: Platform | None = None) -> ImageConfig:
    """Check a configuration against its number of layers and ``wanted`` or this machine. Raises StorageError."""
    config = parse_config(data)
    if len(config["diff_ids"]) != layers:
        raise StorageError(
            f"image {name}: {layers} layers, but its configuration has {len(config['diff_ids'])} diff ids"
        )
    fits = rank if wanted is None else wanted.rank
    if fits(config["os"], config["architecture"], config["variant"]) is None:
        platform = "/".join(filter(None, (config["os"], config["architecture"], config["variant"])))
        raise foreign(name, [platform], wanted)
    return config


def foreign(name: str, platforms: list[str], wanted: Platform | None = None) -> StorageError:
    """Return the error for an image of other machines only."""
    if not platforms:
        return StorageError(f"{name} is no image: neither a manifest of one nor an index of them")
    listed = ", ".join(dict.fromkeys(platforms)) or "an unknown platform"
    if wanted is not None:
        return StorageError(f"image {name} is for {listed}, not for {wanted}: choose another --platform")
    instead = ", or this one by --platform" if listed.startswith("linux/") else ""
    return StorageError(f"image {name} is for {listed}; this machine runs linux/{machine()}: get that one{instead}")


def parsed(text: str) -> Reference | None:
    """Return a reference written in an archive, None when it is only a digest; StorageError when it is none.

    A digest is never taken over: it is what the image has, not what an archive says.
    """
    try:
        reference = parse(text)
        return Reference(reference.domain, reference.path, reference.tag, None) if reference.tag else None
    except InvalidArgument as error:
        raise StorageError(f"archive: the name {text[:100]!r} is no reference: {error}") from None
