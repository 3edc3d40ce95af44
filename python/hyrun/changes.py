"""`--change`: the Dockerfile instructions that only touch the configuration (docker import, commit)."""

import json
import posixpath
import re
import shlex
from collections.abc import Sequence
from typing import cast

from .errors import InvalidArgument
from .image_config import Config

#: Stands for a `$` that is to be expanded while a line is split into words (private use, Unicode).
_DOLLAR = "\ue000"
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_SUPPORTED = "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"


def apply(config: Config, changes: Sequence[str]) -> Config:
    """Return a copy of ``config`` with the instructions applied in order.

    Raises InvalidArgument for what is no instruction, or not one of those that `docker import` takes.
    """
    result = cast("Config", dict(config))
    for line in changes:
        if "\0" in line:
            raise InvalidArgument("change: contains a NUL byte")
        keyword, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if not rest:
            raise InvalidArgument(f"change {line!r}: want INSTRUCTION and its arguments, such as 'CMD [\"sh\"]'")
        instruction = _INSTRUCTIONS.get(keyword.upper())
        if instruction is None:
            raise InvalidArgument(f"change {line!r}: {keyword} is not one of {_SUPPORTED}")
        instruction(result, rest)
    return result


def _cmd(config: Config, text: str) -> None:
    config["Cmd"] = _command(text)


def _entrypoint(config: Config, text: str) -> None:
    config["Entrypoint"] = _command(text)


def _env(config: Config, text: str) -> None:
    values = dict(entry.partition("=")[::2] for entry in config.get("Env", ()))
    values.update(_pairs(config, text, "ENV"))
    config["Env"] = [f"{name}={value}" for name, value in values.items()]


def _label(config: Config, text: str) -> None:
    config["Labels"] = {**config.get("Labels", {}), **_pairs(config, text, "LABEL")}


def _expose(config: Config, text: str) -> None:
    ports = dict(config.get("ExposedPorts", {}))
    for word in _words(config, text, "EXPOSE"):
        match = _PORT.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last <= 65535:
            raise InvalidArgument(f"change EXPOSE {word}: want PORT[-PORT][/tcp|/udp|/sctp]")
        for port in range(first, last + 1):
            ports[f"{port}/{match[3] or 'tcp'}"] = {}
    config["ExposedPorts"] = ports


def _stopsignal(config: Config, text: str) -> None:
    config["StopSignal"] = _one(config, text, "STOPSIGNAL")


def _user(config: Config, text: str) -> None:
    config["User"] = _one(config, text, "USER")


def _volume(config: Config, text: str) -> None:
    words = _json_strings(text)
    volumes = dict(config.get("Volumes", {}))
    for word in words if words is not None else _words(config, text, "VOLUME"):
        if not word.strip():
            raise InvalidArgument("change VOLUME: an empty path")
        volumes[word] = {}
    config["Volumes"] = volumes


def _workdir(config: Config, text: str) -> None:
    path = " ".join(_words(config, text, "WORKDIR"))
    # Relative to the one before (Dockerfile reference, WORKDIR).
    config["WorkingDir"] = posixpath.normpath(posixpath.join("/", config.get("WorkingDir", ""), path))


_INSTRUCTIONS = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}


def _command(text: str) -> list[str]:
    words = _json_strings(text)
    return ["/bin/sh", "-c", text] if words is None else words


def _json_strings(text: str) -> list[str] | None:
    """Return the strings of the exec form, or None: then the text is the shell form, as docker has it."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return value


def _pairs(config: Config, text: str, keyword: str) -> dict[str, str]:
    name, _, value = text.partition(" ")
    if "=" not in name:
        # The old form: one name, the rest of the line is its value.
        if not value.strip():
            raise InvalidArgument(f"change {keyword} {text}: want NAME=VALUE")
        return {name: _expand(config, value.strip().replace("$", _DOLLAR))}
    pairs = {}
    for word in _words(config, text, keyword):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidArgument(f"change {keyword} {word}: want NAME=VALUE")
        pairs[name] = value
    return pairs


def _one(config: Config, text: str, keyword: str) -> str:
    words = _words(config, text, keyword)
    if len(words) != 1 or not words[0]:
        raise InvalidArgument(f"change {keyword} {text}: want exactly one argument")
    return words[0]


def _words(config: Config, text: str, keyword: str) -> list[str]:
    # Single quotes and a backslash keep a `$` as it is; which ones these are is gone after the split.
    marked = re.sub(r"'[^']*'|\\.|\$", lambda match: _DOLLAR if match[0] == "$" else match[0], text)
    marked = marked.replace("\\$", "$")
    try:
        return [_expand(config, word) for word in shlex.split(marked)]
    except ValueError as error:
        raise InvalidArgument(f"change {keyword} {text}: {error}") from None


def _expand(config: Config, word: str) -> str:
    values = dict(entry.partition("=")[::2] for entry in config.get("Env", ()))
    pattern = rf"{_DOLLAR}(?:(\w+)|\{{(\w+)(?::([-+])([^}}]*))?\}})"

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1] or match[2], "")
        if match[3] == "-":
            return found or match[4]
        if match[3] == "+":
            return match[4] if found else ""
        return found

    return re.sub(pattern, value, word).replace(_DOLLAR, "$")
