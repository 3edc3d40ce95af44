"""The flags of containers that may outlive their caller, from their text: pure."""

from __future__ import annotations

from .errors import InvalidArgument, NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

POLICIES = ("no", "on-failure", "always", "unless-stopped")
_SUFFIXES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
#: docker's default, as the bytes that a terminal sends.
DETACH_KEYS = b"\x10\x11"


def parse_restart(text: str | None) -> tuple[str, int]:
    """Return docker's restart policy and how often at most (0: no limit)."""
    name, colon, count = (text or "no").partition(":")
    if name not in POLICIES or (colon and name != "on-failure"):
        raise InvalidArgument(f"--restart {text}: choose no, on-failure[:max], always or unless-stopped")
    if not colon:
        return name, 0
    if not (count.isascii() and count.isdecimal() and len(count) < 10):
        raise InvalidArgument(f"--restart {text}: how often at most is a number, as in on-failure:3")
    return name, int(count)


def parse_log_options(options: Iterable[str]) -> tuple[int, int]:
    """Return the size at which a log begins anew, in bytes (0: never), and how many files are kept."""
    size, files = 0, 1
    for option in options:
        key, _, value = option.partition("=")
        if key == "max-size":
            number = value.lower().rstrip("bkmg")
            factor = _SUFFIXES.get(value.lower()[len(number) :])
            if not (number.isascii() and number.isdecimal() and factor and int(number)):
                raise InvalidArgument(f"--log-opt {option}: write a size such as 10m")
            size = int(number) * factor
        elif key == "max-file":
            if not (value.isascii() and value.isdecimal() and 0 < int(value) < 1000):
                raise InvalidArgument(f"--log-opt {option}: write a number from 1 to 999")
            files = int(value)
        else:
            raise NotSupported(f"--log-opt {key} is not supported by hyrun: there are max-size and max-file")
    if files > 1 and not size:
        raise InvalidArgument("--log-opt max-file needs max-size: say when a new file begins")
    return size, files


def parse_stop_timeout(text: str | None) -> int | None:
    """Return seconds, -1 for ever; None for the default."""
    if text is None:
        return None
    if not (text.lstrip("-").isascii() and text.removeprefix("-").isdecimal() and -1 <= int(text) < 1 << 31):
        raise InvalidArgument(f"--stop-timeout {text}: write a number of seconds, or -1 to wait for ever")
    return int(text)


def parse_stop_signal(text: str | None) -> str | None:
    """Return the signal as written, once it is known to be one."""
    if text is not None:
        from .signal_names import parse

        parse(text)
    return text


def parse_detach_keys(text: str | None) -> bytes:
    """Return the bytes that ``ctrl-p,ctrl-q`` and the like send (docker: a letter, or ctrl- with one of a-z@[\\]^_)."""
    if text is None:
        return DETACH_KEYS
    keys = bytearray()
    for key in text.split(",") if text else ():
        letter = key.removeprefix("ctrl-") if key.startswith("ctrl-") else ""
        if letter and (letter in "@[\\]^_" or (len(letter) == 1 and letter.isascii() and letter.isalpha())):
            keys.append(ord(letter.upper()) & 0x1F)
        elif len(key) == 1 and key.isascii() and key.isprintable():
            keys.append(ord(key))
        else:
            raise InvalidArgument(f"--detach-keys {text}: write keys such as ctrl-p,ctrl-q")
    return bytes(keys)
