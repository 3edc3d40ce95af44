"""The grammar of ``--mount`` and ``--tmpfs``. Pure; imported by ``volumespec`` when one of them is used.

Source of the behaviour: Docker CLI 28. Keys are case-insensitive, fields are CSV (RFC 4180 quoting), the last
of a repeated key counts (``volume-label`` adds up).
"""

from __future__ import annotations

from .errors import InvalidArgument, NotSupported
from .volumespec import PROPAGATIONS, Mount, check_name, check_target, clean, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_ALIASES: Final = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
}
_BOOLEANS: Final = ("readonly", "volume-nocopy", "bind-create-src")
_KEYS: Final = (
    *("type", "source", "src", "target", "dst", "destination", "readonly", "ro", "consistency"),
    *("bind-propagation", "bind-recursive", "bind-create-src"),
    *("volume-nocopy", "volume-label", "volume-driver", "tmpfs-size", "tmpfs-mode"),
)
_UNSUPPORTED_KEYS: Final = ("volume-opt", "volume-subpath")
_UNSUPPORTED_TYPES: Final = ("image", "npipe", "cluster", "glob", "devpts", "ramfs", "artifact")
_CONSISTENCIES: Final = ("default", "consistent", "cached", "delegated")
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def parse_mount(text: str, *, cwd: str | None = None) -> Mount:
    """Parse ``--mount type=...,source=...,target=...``; the type is ``volume`` when it is not given.

    With ``cwd`` (absolute) a bind's source may start with ``.``, as the docker CLI has it.
    Raises InvalidArgument for what cannot mean anything, NotSupported for what Docker has and hyrun does not.
    """
    spec = f'mount "{show(text)}"'
    if "\0" in text:
        raise InvalidArgument(f"{spec}: a path cannot hold a NUL byte: remove it")
    if not text:
        raise InvalidArgument(f"{spec}: it is empty: write type=bind,source=/HOST/PATH,target=/PATH")
    values: dict[str, str] = {}
    labels: dict[str, str] = {}
    for field in _fields(text, spec):
        key, value = _field(field, spec)
        if key == "volume-label":
            name, _, label = value.partition("=")
            if not name:
                raise InvalidArgument(f'{spec}: label "{show(value)}" has no name: write volume-label=NAME=VALUE')
            labels[name] = label
        values[key] = value
    kind = _type(values, spec)
    target = values.get("target")
    if target is None:
        raise InvalidArgument(f"{spec}: target is required: add target=/PATH")
    target = check_target(target, spec)
    if values.get("consistency", "default").lower() not in _CONSISTENCIES:
        raise _invalid("consistency", values, _CONSISTENCIES, spec)
    read_only = values.get("readonly") == "true"
    source = values.get("source")
    if kind == "bind":
        return _bind(values, source, target, read_only=read_only, cwd=cwd, spec=spec)
    if kind == "tmpfs":
        if source is not None:
            raise InvalidArgument(f"{spec}: a tmpfs has no source: leave source={show(source)} out")
        return Mount(
            type="tmpfs",
            target=target,
            read_only=read_only,
            options=_tmpfs_options(values, spec),
            noexec=True,
            nosuid=True,
            nodev=True,
            api=_api(kind, values, labels),
        )
    if source is not None:
        _volume_source(source, spec)
    if (driver := values.get("volume-driver", "local")) != "local":
        raise NotSupported(f"{spec}: volume driver {show(driver)} is not supported by hyrun: use local")
    return Mount(
        type="volume",
        source=source,
        target=target,
        read_only=read_only,
        nocopy=values.get("volume-nocopy") == "true",
        volume_labels=labels,
        api=_api(kind, values, labels),
    )


def _fields(text: str, spec: str) -> list[str]:
    """Split at commas; a field in double quotes may hold commas, and a doubled quote for one (RFC 4180)."""
    fields: list[str] = []
    while True:
        if not text.startswith('"'):
            field, comma, text = text.partition(",")
            if '"' in field:
                raise InvalidArgument(
                    f'{spec}: a quote inside of "{show(field)}": put quotes around the whole "KEY=VALUE"'
                )
        else:
            end = text.find('"', 1)
            while end > 0 and text[end + 1 : end + 2] == '"':
                end = text.find('"', end + 2)
            if end < 0 or text[end + 1 : end + 2] not in ("", ","):
                raise InvalidArgument(f'{spec}: a quote is not closed before "," or the end: write "KEY=VALUE"')
            field, comma, text = text[1:end].replace('""', '"'), text[end + 1 : end + 2], text[end + 2 :]
        fields.append(field)
        if not comma:
            return fields


def _field(field: str, spec: str) -> tuple[str, str]:
    """Return the canonical key and the value of one field; booleans become ``true`` or ``false``."""
    key, equals, value = field.partition("=")
    if key != key.strip() or value != value.strip():
        raise InvalidArgument(f'{spec}: white space around the key or the value of "{show(field)}": remove it')
    key = key.lower()
    if key in _UNSUPPORTED_KEYS or key.startswith("image-"):
        raise NotSupported(f"{spec}: {show(key)} is not supported by hyrun: leave it out")
    if key == "bind-nonrecursive":
        raise InvalidArgument(f"{spec}: bind-nonrecursive is gone: write bind-recursive=disabled")
    if key not in _KEYS:
        raise InvalidArgument(f'{spec}: unknown key "{show(key)}": {_suggestion(key)}')
    key = _ALIASES.get(key, key)
    if not equals:
        if key not in _BOOLEANS:
            raise InvalidArgument(f'{spec}: "{show(field)}" must be a key=value pair: write {key}=VALUE')
        return key, "true"
    if not value:
        raise InvalidArgument(f"{spec}: the value of {key} is empty: write {key}=VALUE, or leave it out")
    if key in _BOOLEANS:
        if value not in ("1", "true", "0", "false"):
            raise InvalidArgument(f'{spec}: invalid value for {key}: "{show(value)}": write true or false')
        value = "true" if value in ("1", "true") else "false"
    return key, value


def _suggestion(key: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(key, _KEYS, 1)
    return f"did you mean {close[0]}?" if close else "known are " + ", ".join(_KEYS)


def _type(values: dict[str, str], spec: str) -> str:
    """Return the type, once no key of another type is there."""
    kind = values.get("type", "volume").lower()
    if kind in _UNSUPPORTED_TYPES:
        raise NotSupported(f"{spec}: type {kind} is not supported by hyrun: use bind, volume or tmpfs")
    if kind not in ("bind", "volume", "tmpfs"):
        raise InvalidArgument(f'{spec}: unknown type "{show(kind)}": write bind, volume or tmpfs')
    for key in values:
        owner = key.partition("-")[0]
        if owner in ("bind", "volume", "tmpfs") and owner != kind:
            raise InvalidArgument(
                f"{spec}: cannot mix '{owner}-*' options with mount type '{kind}': leave {key} out, or write "
                f"type={owner}"
            )
    return kind


def _bind(
    values: dict[str, str], source: str | None, target: str, *, read_only: bool, cwd: str | None, spec: str
) -> Mount:
    if source is None:
        raise InvalidArgument(f"{spec}: a bind needs a source: add source=/HOST/PATH")
    if source[0] == "~":
        raise InvalidArgument(f'{spec}: "~" is not expanded here: write $HOME or an absolute path as the source')
    if source[0] == "." and cwd is not None:
        source = f"{cwd}/{source}"
    if source[0] != "/":
        raise InvalidArgument(f'{spec}: source "{show(source)}" must be absolute: write the whole path')
    propagation = values.get("bind-propagation")
    if propagation is not None and propagation.lower() not in PROPAGATIONS:
        raise _invalid("bind-propagation", values, PROPAGATIONS, spec)
    recursion = values.get("bind-recursive", "enabled")
    if recursion not in ("enabled", "disabled", "writable", "readonly"):
        raise _invalid("bind-recursive", values, ("enabled", "disabled", "writable", "readonly"), spec)
    if recursion in ("writable", "readonly") and not read_only:
        raise InvalidArgument(f"{spec}: bind-recursive={recursion} requires readonly: add it")
    # Docker asks for it in so many words, although rprivate is the default.
    if recursion == "readonly" and (propagation or "").lower() != "rprivate":
        raise InvalidArgument(f"{spec}: bind-recursive=readonly requires bind-propagation=rprivate: add it")
    return Mount(
        type="bind",
        source=clean(source),
        target=target,
        read_only=read_only,
        propagation=propagation.lower() if propagation is not None else None,
        recursive=recursion != "disabled",
        read_only_recursive=recursion != "writable",
        create_source=values.get("bind-create-src") == "true",
        api=_api("bind", {**values, "source": clean(source)}, {}),
    )


def _api(kind: str, values: dict[str, str], labels: dict[str, str]) -> dict[str, object]:
    """Return the mount as docker's API has it (type Mount); what was not asked for is not there."""
    shown: dict[str, object] = {"Type": kind}
    if source := values.get("source"):
        shown["Source"] = source
    shown["Target"] = clean(values["target"])
    if values.get("readonly") == "true":
        shown["ReadOnly"] = True
    options: dict[str, object] = {}
    if kind == "bind":
        recursion = values.get("bind-recursive")
        options = {
            "Propagation": values.get("bind-propagation", "").lower(),
            "NonRecursive": recursion == "disabled",
            "CreateMountpoint": values.get("bind-create-src") == "true",
            "ReadOnlyNonRecursive": recursion == "writable",
            "ReadOnlyForceRecursive": recursion == "readonly",
        }
    elif kind == "volume":
        options = {"NoCopy": values.get("volume-nocopy") == "true", "Labels": labels}
    else:
        given = dict(option.split("=") for option in _tmpfs_options(values, ""))
        options = {"SizeBytes": int(given.get("size", "0")), "Mode": int(given.get("mode", "0"), 8)}
    options = {name: value for name, value in options.items() if value}
    if options:
        shown[f"{kind.capitalize()}Options"] = options
    return shown


def _volume_source(source: str, spec: str) -> None:
    if "/" in source or source[0] in ".~":
        raise InvalidArgument(f'{spec}: source "{show(source)}" is not a volume name: for a host path add type=bind')
    try:
        check_name(source)
    except InvalidArgument as error:
        raise InvalidArgument(f"{spec}: {error}") from None


def _invalid(key: str, values: dict[str, str], known: tuple[str, ...], spec: str) -> InvalidArgument:
    return InvalidArgument(f'{spec}: invalid value for {key}: "{show(values[key])}": write one of {", ".join(known)}')


def _number(digits: str) -> bool:
    # Limited: the kernel's are 64 bits wide, and int() refuses 5,000 digits with an error of its own.
    return digits.isascii() and digits.isdigit() and len(digits) < 20


def _octal(text: str) -> bool:
    return 0 < len(text) <= 5 and not set(text) - set("01234567") and int(text, 8) <= 0o7777


def _tmpfs_options(values: dict[str, str], spec: str) -> list[str]:
    """Return the data options of ``tmpfs-size`` (bytes, or a unit) and ``tmpfs-mode`` (octal); 0 is unset."""
    options: list[str] = []
    if (size := values.get("tmpfs-size")) is not None:
        number = size.lower().removesuffix("b")
        number = number.removesuffix("i") if number != size.lower() else number
        unit = number[-1:] if number[-1:] in tuple("kmgtp") else ""
        whole, dot, fraction = number.removesuffix(unit).partition(".")
        if not _number(whole) or (dot and not _number(fraction)):
            raise InvalidArgument(f'{spec}: invalid value for tmpfs-size: "{show(size)}": write bytes, 64m or 1.5g')
        scale = _UNITS[unit]
        count = int(whole) * scale + (int(fraction) * scale // 10 ** len(fraction) if dot else 0)
        if count >= 1 << 63:
            raise InvalidArgument(f'{spec}: tmpfs-size "{show(size)}" is larger than any memory: write less')
        if count:
            options.append(f"size={count}")
    if (mode := values.get("tmpfs-mode")) is not None:
        if not _octal(mode):
            raise InvalidArgument(f'{spec}: invalid value for tmpfs-mode: "{show(mode)}": write octal, such as 1777')
        if int(mode, 8):
            options.append(f"mode={int(mode, 8):o}")
    return options


def parse_tmpfs(text: str) -> Mount:
    """Parse ``--tmpfs DESTINATION[:OPTIONS]``: noexec, nosuid and nodev unless an option undoes it.

    Data options: ``size`` (bytes, k, m, g or %), ``mode`` (octal), ``uid``, ``gid``, ``nr_inodes``,
    ``nr_blocks``; the last of a repeated one counts. Raises InvalidArgument, NotSupported for ``mpol``.
    """
    spec = f'tmpfs "{show(text)}"'
    if "\0" in text:
        raise InvalidArgument(f"{spec}: a path cannot hold a NUL byte: remove it")
    destination, colon, mode = text.partition(":")
    target = check_target(destination, spec)
    if colon and not mode:
        raise InvalidArgument(f"{spec}: the options after the colon are missing: write {show(destination)}:size=64m")
    flags = {"ro": False, "noexec": True, "nosuid": True, "nodev": True}
    opposites = {"rw": "ro", "exec": "noexec", "suid": "nosuid", "dev": "nodev"}
    data: dict[str, str] = {}
    for option in mode.split(",") if mode else ():
        key, equals, value = option.partition("=")
        if key == "mpol":
            raise NotSupported(f"{spec}: tmpfs option mpol is not supported by hyrun: leave it out")
        if option in flags:
            flags[option] = True
        elif option in opposites:
            flags[opposites[option]] = False
        elif equals and _is_data(key, value):
            data[key] = value
        else:
            raise InvalidArgument(
                f'{spec}: invalid tmpfs option "{show(option)}": known are ro, rw, exec, noexec, suid, '
                "nosuid, dev, nodev, size=64m, mode=1777, uid=0, gid=0, nr_inodes=1k and nr_blocks=1k"
            )
    return Mount(
        type="tmpfs",
        target=target,
        mode=mode,
        read_only=flags["ro"],
        noexec=flags["noexec"],
        nosuid=flags["nosuid"],
        nodev=flags["nodev"],
        options=[f"{key}={value}" for key, value in data.items()],
        listed=False,
    )


def _is_data(key: str, value: str) -> bool:
    """Return whether the kernel takes this: it would refuse with a bare EINVAL. Source: tmpfs(5)."""
    if key in ("uid", "gid"):
        return _number(value) and int(value) < (1 << 32) - 1
    if key == "mode":
        return _octal(value)
    if key in ("size", "nr_inodes", "nr_blocks"):
        suffixes = "kKmMgGtTpPeE" + ("%" if key == "size" else "")
        return _number(value[:-1] if value[-1:] in tuple(suffixes) else value)
    return False
