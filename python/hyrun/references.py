"""Image references as docker reads them: ``busybox``, ``user/x:1``, ``localhost:5000/a@sha256:…``.

Source: the grammar and the normalisation of https://github.com/distribution/reference. References are
hostile input as well as typed text: archives carry them. Scanned by hand, because ``run`` reads one at
every start and ``re`` costs 7 ms to import.
"""

from __future__ import annotations

from .errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
#: Of the path behind the domain, and of a tag, in characters.
MAX_PATH = 255
MAX_TAG = 128

_OFFICIAL = "library/"
_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789abcdef")
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_WORD = _ALNUM | {"_"}
_TAG = _WORD | {".", "-"}
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_EXAMPLE = "write [DOMAIN/]PATH[:TAG][@sha256:…], such as busybox:latest"


class Reference:
    """A name that has been checked and completed. ``tag`` is None only when there is a digest instead."""

    __slots__ = ("digest", "domain", "path", "tag")

    def __init__(self, domain: str, path: str, tag: str | None, digest: str | None) -> None:
        """Take checked parts: ``docker.io``, ``library/busybox``, ``latest``, ``sha256:…``."""
        self.domain = domain
        self.path = path
        self.tag = tag
        self.digest = digest

    def familiar(self) -> str:
        """Return docker's short form, ``busybox:latest``; ``parse`` reads it back as the same."""
        return self.familiar_name() + self._suffix()

    def familiar_name(self) -> str:
        """Return the short form of the repository alone: ``busybox``."""
        name = f"{self.domain}/{self.path}"
        if self.domain == DEFAULT_DOMAIN:
            name = self.path
            short = name.removeprefix(_OFFICIAL)
            if "/" in short:
                first = name.partition("/")[0]
                # Without its domain this would name another registry.
                name = f"{self.domain}/{name}" if _is_domain(first) else name
            elif not _is_id(short):
                name = short
        return name

    def full(self) -> str:
        """Return the complete form: ``docker.io/library/busybox:latest``."""
        return f"{self.domain}/{self.path}{self._suffix()}"

    def name(self) -> str:
        """Return domain and path alone: ``docker.io/library/busybox``."""
        return f"{self.domain}/{self.path}"

    def pinned(self) -> Reference:
        """Return what a digest makes of it: the tag beside a digest says nothing (docker)."""
        return self if self.digest is None else Reference(self.domain, self.path, None, self.digest)

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{tag}@{self.digest}" if self.digest is not None else tag

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.full() == other.full()

    def __hash__(self) -> int:
        return hash(self.full())

    def __repr__(self) -> str:
        return f"Reference({self.full()!r})"


def parse(text: str) -> Reference:
    """Read a reference and complete it with docker.io, library/ and latest where they are left out.

    InvalidArgument, with docker's words, when it is not one.
    """
    if _is_id(text):
        raise InvalidArgument(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings: that is an id"
        )
    name, at, digest = text.partition("@")
    if at:
        _check_digest(digest, text)
    first, slash, rest = name.partition("/")
    if slash and _is_domain(first):
        domain = DEFAULT_DOMAIN if first == "index.docker.io" else first
    else:
        domain, rest = DEFAULT_DOMAIN, name
    path, colon, tag = rest.partition(":")
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    if not _valid_path(path):
        raise InvalidArgument(_why_not_path(path, text))
    if len(path) > MAX_PATH:
        raise InvalidArgument(
            f"invalid reference format: repository name ({path[:40]}…) must not be over {MAX_PATH} characters"
        )
    if not _valid_domain(domain):
        raise InvalidArgument(f"invalid reference format: {_shown(domain)} is no host[:port]: {_EXAMPLE}")
    if colon and not (0 < len(tag) <= MAX_TAG and tag[0] in _WORD and _TAG.issuperset(tag)):
        raise InvalidArgument(
            f"invalid reference format: bad tag {_shown(tag)}: up to {MAX_TAG} letters, digits, _ . and -, "
            "the first neither . nor -"
        )
    if not colon and not at:
        tag = DEFAULT_TAG
    return Reference(domain, path, tag or None, digest or None)


def is_id_prefix(text: str) -> bool:
    """Tell whether a text can begin an id: 1 to 64 lower-case hex digits, possibly after ``sha256:``."""
    digits = text.removeprefix("sha256:")
    return 0 < len(digits) <= 64 and _HEX.issuperset(digits)


def _is_id(text: str) -> bool:
    return len(text) == 64 and _HEX.issuperset(text)


def _is_domain(first: str) -> bool:
    """Tell whether the part before the first slash names a registry: docker goes by its looks."""
    return "." in first or ":" in first or first == "localhost" or first.lower() != first


def _valid_domain(domain: str) -> bool:
    if domain.startswith("["):
        host, bracket, port = domain[1:].partition("]")
        if not bracket or not _is_ipv6(host):
            return False
        return not port or (port[0] == ":" and len(port) > 1 and _DIGITS.issuperset(port[1:]))
    host, colon, port = domain.partition(":")
    if colon and not (port and _DIGITS.issuperset(port)):
        return False
    return all(
        part and part[0] != "-" and part[-1] != "-" and _ALNUM.issuperset(part.replace("-", ""))
        for part in host.split(".")
    )


def _is_ipv6(host: str) -> bool:
    from socket import AF_INET6, inet_pton  # few registries are called so

    try:
        inet_pton(AF_INET6, host)
    except (OSError, ValueError):
        return False
    return True


def _valid_path(path: str) -> bool:
    """Tell whether every component is of a-z 0-9, joined by ``.``, ``_``, ``__`` or any number of ``-``."""
    for part in path.split("/"):
        if _LOWER.issuperset(part):
            if not part:
                return False
            continue
        if part[0] not in _LOWER or part[-1] not in _LOWER:
            return False
        separator = ""
        for char in part:
            if char in _LOWER:
                separator = ""
                continue
            separator += char
            if not (separator in (".", "_", "__") or (char == "-" and separator[0] == "-")):
                return False
    return True


def _check_digest(digest: str, text: str) -> None:
    algorithm, _, digits = digest.partition(":")
    length = _DIGEST_LENGTHS.get(algorithm)
    if length is None:
        raise InvalidArgument(f"invalid reference format: unsupported digest in {_shown(text)}: write @sha256:…")
    if len(digits) != length or not _HEX.issuperset(digits):
        raise InvalidArgument(
            f"invalid reference format: bad digest {_shown(digest)}: {algorithm} is {length} of 0-9a-f"
        )


def _why_not_path(path: str, text: str) -> str:
    if not text:
        return f"invalid reference format: it is empty: {_EXAMPLE}"
    if path.lower() != path:
        return f"invalid reference format: repository name ({_shown(path)}) must be lowercase"
    return f"invalid reference format: {_shown(text)}: {_EXAMPLE}"


def _shown(text: str) -> str:
    """Return a hostile text fit for an error: one line, no control characters, not long."""
    shown = text if text.isprintable() and text else ascii(text)
    return shown if len(shown) <= 200 else shown[:200] + "…"
