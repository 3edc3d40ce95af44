"""The grammar of ``-v``: what the caller wrote becomes ``Mount`` objects. Pure: nothing on disk is looked at.

Source of the behaviour: Docker Engine 28 (CLI and daemon parse in turn; here it is one parser). ``--mount``
and ``--tmpfs`` have a module of their own, ``mountspec``, which only those who use them import; it is entered
here.

Accepted without effect, as Docker accepts them on Linux: ``cached``, ``delegated``, ``consistent``, and
``z``/``Z`` (hyrun sets no SELinux label on a container, so there is no label that its volumes would have to
carry).
"""

from __future__ import annotations

from posixpath import normpath

from .errors import InvalidArgument, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Final, NoReturn

#: The last component of a lock's or a directory's name is at most 255 bytes; this leaves room for a suffix.
_NAME_MAX: Final = 240

PROPAGATIONS: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_FAMILIES: Final = {
    **dict.fromkeys(("ro", "rw"), "access"),
    **dict.fromkeys(("z", "Z"), "label"),
    **dict.fromkeys(("cached", "delegated", "consistent"), "consistency"),
    **dict.fromkeys(PROPAGATIONS, "propagation"),
    "nocopy": "nocopy",
}


class Mount:
    """One mount of a container, as asked for; equal when every field is that has an effect.

    ``type`` is ``"bind"``, ``"volume"`` or ``"tmpfs"``. ``source`` is an absolute host path, a volume's name,
    or None (tmpfs, anonymous volume). ``target`` is absolute and normalised. ``mode`` is the option string as
    it was written, for inspect. ``propagation`` is ``""`` for all but binds. ``recursive`` takes the source's
    submounts along, and ``read_only_recursive`` makes them read-only with it (Docker since Engine 25).
    ``create_source`` makes a missing host directory (``-v`` does, ``--mount`` does not). ``options`` are
    tmpfs(5) data options such as ``size=64m``. ``listed`` is False for what Docker leaves out of ``inspect
    .Mounts`` (``--tmpfs``). ``api`` is how `inspect .HostConfig.Mounts` shows it, None for all but ``--mount``.
    """

    __slots__ = (
        "api",
        "create_source",
        "listed",
        "mode",
        "nocopy",
        "nodev",
        "noexec",
        "nosuid",
        "options",
        "propagation",
        "read_only",
        "read_only_recursive",
        "recursive",
        "source",
        "target",
        "type",
        "volume_labels",
    )

    def __init__(
        self,
        *,
        type: str,
        target: str,
        source: str | None = None,
        read_only: bool = False,
        mode: str = "",
        propagation: str | None = None,
        recursive: bool = True,
        read_only_recursive: bool = True,
        nocopy: bool = False,
        create_source: bool = False,
        volume_labels: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        noexec: bool = False,
        nosuid: bool = False,
        nodev: bool = False,
        listed: bool = True,
        api: Mapping[str, object] | None = None,
    ) -> None:
        self.type = type
        self.source = source
        self.target = target
        self.read_only = read_only
        self.mode = mode
        self.propagation = propagation if propagation is not None else "rprivate" if type == "bind" else ""
        self.recursive = recursive
        self.read_only_recursive = read_only_recursive
        self.nocopy = nocopy
        self.create_source = create_source
        self.volume_labels = dict(volume_labels or ())
        self.options = list(options)
        self.noexec = noexec
        self.nosuid = nosuid
        self.nodev = nodev
        self.listed = listed
        self.api = api

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mount):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__ if name != "api")

    __hash__ = None  # type: ignore[assignment]  # mutable: an anonymous volume gets its name later

    def __repr__(self) -> str:
        return f"Mount({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"

    def inspect(self, *, name: str = "", mountpoint: str = "") -> dict[str, object]:
        """Return the entry of ``inspect .Mounts[]`` with Docker's keys, in Docker's order.

        ``name`` and ``mountpoint`` (the host path of ``_data``) are those of the volume; other types ignore
        them.
        """
        entry: dict[str, object] = {"Type": self.type}
        if self.type == "volume":
            entry["Name"] = name or self.source or ""
        entry["Source"] = mountpoint if self.type == "volume" else self.source or ""
        entry["Destination"] = self.target
        if self.type == "volume":
            entry["Driver"] = "local"
        entry["Mode"] = self.mode
        entry["RW"] = not self.read_only
        entry["Propagation"] = self.propagation
        return entry


def show(text: str) -> str:
    """Return ``text`` fit for an error message: what a terminal cannot print is escaped."""
    return text if text.isprintable() else repr(text)[1:-1]


def check_name(name: str) -> str:
    """Return ``name`` when a volume may have it: ``[a-zA-Z0-9][a-zA-Z0-9_.-]+``, as Docker's local driver."""
    plain = name.replace("_", "a").replace(".", "a").replace("-", "a")
    if not name.isascii() or not plain.isalnum() or not name[:1].isalnum():
        raise InvalidArgument(
            f'volume name "{show(name)}" may only have letters, digits, "_", "." and "-", a letter or digit '
            "first: to mount a host directory, write its absolute path or ./ before it"
        )
    if not 2 <= len(name) <= _NAME_MAX:
        raise InvalidArgument(f'volume name "{name}" has {len(name)} characters: choose one with 2 to {_NAME_MAX}')
    return name


def clean(path: str) -> str:
    """Return an absolute path without ``.``, ``..``, doubled or trailing slashes (by text alone)."""
    # normpath keeps two leading slashes, which POSIX lets an implementation give a meaning.
    return "/" + normpath(path).lstrip("/")


def check_target(path: str, spec: str) -> str:
    """Return the normalised mount point, or refuse one that is relative, the root, or below /proc.

    ``spec`` is what the message quotes. Below /proc: a mount there could shadow the files that confine the
    container.
    """
    if not path.startswith("/"):
        raise InvalidArgument(f'{spec}: mount path "{show(path)}" must be absolute: start it with "/"')
    target = clean(path)
    if target == "/":
        raise InvalidArgument(f"{spec}: destination can't be '/': choose a directory below it")
    if target == "/proc" or target.startswith("/proc/"):
        raise InvalidArgument(f'{spec}: destination "{show(target)}" is inside /proc: choose another place')
    return target


def parse_volume(text: str, *, cwd: str) -> Mount:
    """Parse ``-v [SOURCE:]DESTINATION[:MODE]``; ``./x``, ``../x`` and ``.`` start from ``cwd`` (absolute).

    A source with a leading ``/`` or ``.`` is a bind, any other a named volume, none an anonymous volume.
    Raises InvalidArgument, in one sentence.
    """
    spec = f'volume "{show(text)}"'
    if "\0" in text:
        raise InvalidArgument(f"{spec}: a path cannot hold a NUL byte: remove it")
    parts = text.split(":")
    if not all(parts):
        raise InvalidArgument(f"{spec}: empty section between colons: write [SOURCE:]DESTINATION[:MODE]")
    if len(parts) > 3:
        raise InvalidArgument(
            f"{spec}: too many colons: write SOURCE:DESTINATION[:MODE], or --mount for a path with a colon"
        )
    if len(parts) == 1:
        if text[0] != "/":
            raise InvalidArgument(
                f'{spec}: mount path must be absolute: write "/{show(text)}" for an anonymous volume, or '
                f'"{show(text)}:/DESTINATION"'
            )
        return Mount(type="volume", target=check_target(text, spec))

    source, destination = parts[0], parts[1]
    mode = parts[2] if len(parts) == 3 else ""
    if not mode and destination[0] != "/" and all(word in _FAMILIES for word in destination.split(",")):
        raise InvalidArgument(
            f'{spec}: the destination is missing, "{destination}" is a mode: write '
            f'"{show(source)}:/DESTINATION:{destination}"'
        )
    if source[0] in "/.":
        kind, source = "bind", clean(source if source[0] == "/" else f"{cwd}/{source}")
    else:
        kind = "volume"
        _check_volume_source(source, spec)
    target = check_target(destination, spec)
    words = _modes(mode, kind, spec)
    return Mount(
        type=kind,
        source=source,
        target=target,
        mode=mode,
        read_only=words.get("access") == "ro",
        propagation=words.get("propagation"),
        nocopy="nocopy" in words,
        create_source=kind == "bind",
    )


def _check_volume_source(source: str, spec: str) -> None:
    """Refuse what was probably meant as a path, saying how a path is written."""
    if source[0] == "~":
        raise InvalidArgument(f'{spec}: "~" is not expanded here: write $HOME, or an absolute path, as the source')
    shown = show(source)
    if len(source) == 1:
        raise InvalidArgument(
            f'{spec}: "{shown}" is too short for a volume name, which has at least 2 characters (and Docker '
            f'takes "{shown}:" for a Windows drive): write a longer name, or ./{shown} for a directory'
        )
    if "/" in source:
        raise InvalidArgument(
            f'{spec}: "{shown}" is neither a volume name nor an absolute path: for a directory write '
            f"./{shown} or its absolute path"
        )
    try:
        check_name(source)
    except InvalidArgument as error:
        raise InvalidArgument(f"{spec}: {error}") from None


def _modes(mode: str, kind: str, spec: str) -> dict[str, str]:
    """Return family → word of a mode such as ``ro,rslave``: at most one word of each family."""
    words: dict[str, str] = {}
    for word in mode.split(",") if mode else ():
        family = _FAMILIES.get(word)
        if family is None:
            _refuse_mode(f'unknown "{show(word)}"', mode, kind, spec)
        if family in words:
            _refuse_mode(f'"{words[family]}" and "{word}" cannot be together', mode, kind, spec)
        words[family] = word
    if kind == "volume" and "propagation" in words:
        raise InvalidArgument(
            f'{spec}: propagation "{words["propagation"]}" is for host directories: leave it out for a volume'
        )
    if kind == "bind" and "nocopy" in words:
        raise InvalidArgument(f'{spec}: "nocopy" is for volumes: leave it out, nothing is copied into a host directory')
    return words


def _refuse_mode(why: str, mode: str, kind: str, spec: str) -> NoReturn:
    known = "ro or rw" + (", nocopy" if kind == "volume" else ", and one of " + ", ".join(PROPAGATIONS))
    raise InvalidArgument(f"{spec}: invalid mode: {show(mode)}: {why}: known are {known}")


def parse_mount(text: str, *, cwd: str | None = None) -> Mount:
    """Parse ``--mount``; see ``mountspec.parse_mount``. Raises InvalidArgument or NotSupported."""
    from .mountspec import parse_mount

    return parse_mount(text, cwd=cwd)


def parse_tmpfs(text: str) -> Mount:
    """Parse ``--tmpfs``; see ``mountspec.parse_tmpfs``. Raises InvalidArgument."""
    from .mountspec import parse_tmpfs

    return parse_tmpfs(text)


def image_volume(path: object, *, image: str) -> Mount:
    """Return the anonymous volume of one ``VOLUME`` of an image's configuration, which is hostile input.

    A relative path starts from ``/`` and ``..`` stops there, as Docker has it. Raises StorageError, naming
    ``image``.
    """
    spec = f"image {show(image)}: VOLUME"
    if not isinstance(path, str) or not path or "\0" in path:
        raise StorageError(f"{spec} {show(repr(path))} is not a path: the image's configuration is damaged")
    try:
        return Mount(type="volume", target=check_target(clean(f"/{path}"), f'{spec} "{show(path)}"'))
    except InvalidArgument as error:
        raise StorageError(f"{error} when you build the image") from None


def merge(
    volumes: Iterable[Mount],
    mounts: Iterable[Mount],
    tmpfs: Iterable[Mount],
    image_volumes: Iterable[object],
    *,
    image: str = "",
) -> list[Mount]:
    """Return all mounts of a container, parents before what lies below them, else in the order given.

    ``image_volumes`` are the paths of the image's ``VOLUME``s; they yield to everything else. The same ``-v``
    or ``--tmpfs`` twice counts once (Docker keeps both in a map); any other second mount at one place is
    refused.
    """
    merged: dict[str, Mount] = {}
    for group, may_repeat in ((volumes, True), (mounts, False), (tmpfs, True)):
        seen: list[Mount] = []
        for mount in group:
            if mount.target in merged and not (may_repeat and mount in seen):
                raise InvalidArgument(f"duplicate mount point: {show(mount.target)}: mount one thing there, not two")
            merged[mount.target] = mount
            seen.append(mount)
    for path in image_volumes:
        mount = image_volume(path, image=image)
        merged.setdefault(mount.target, mount)
    return sorted(merged.values(), key=lambda mount: mount.target.count("/"))
