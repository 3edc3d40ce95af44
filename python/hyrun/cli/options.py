"""The flags' values as Options. On the fast path: no Typer here."""

from __future__ import annotations

import os

from hyrun.errors import InvalidArgument
from hyrun.options import Keeping, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hyrun.volumespec import Mount

#: Flags that only a container with a monitor can have.
_KEPT = ("restart", "stop_signal", "stop_timeout", "log_opt", "tty")


def options_of(values: dict[str, Any], words: list[str], *, keep: bool) -> Options:
    """Return what `run` or `create` was asked for. ``keep``: the container may outlive its caller in any case."""
    if values["rootfs"] is None and not words:
        raise InvalidArgument("no image: write its name behind the options")
    image = "" if values["rootfs"] is not None else words[0]
    return Options(
        image=image,
        args=words if values["rootfs"] is not None else words[1:],
        rootfs=values["rootfs"],
        **(_mounts(values) if values["volume"] or values["mount"] or values["tmpfs"] else {}),
        env=environment(values["env_file"], values["env"]),
        cwd=values["workdir"],
        user=values["user"],
        hostname=values["hostname"],
        name=values["name"],
        entrypoint=values["entrypoint"],
        read_only=values["read_only"],
        labels=dict(_label(text) for text in values["label"]),
        network=values["network"] or "none",
        remove=values["rm"],
        interactive=values["interactive"],
        init=values["init"],
        cidfile=values["cidfile"],
        # A dry run changes nothing on the disk.
        pull="never" if values.get("dry_run") else _pull(values["pull"]),
        platform=values["platform"] or os.environ.get("DOCKER_DEFAULT_PLATFORM"),
        quiet=values["quiet"],
        keeping=_keeping(values) if keep or any(values[name] for name in _KEPT) else None,
    )


def _mounts(values: dict[str, Any]) -> dict[str, list[Mount]]:
    from hyrun.store import working_directory
    from hyrun.volumespec import parse_mount, parse_tmpfs, parse_volume

    directory = working_directory()
    return {
        "volumes": [parse_volume(text, cwd=directory) for text in values["volume"]],
        "mounts": [parse_mount(text, cwd=directory) for text in values["mount"]],
        "tmpfs": [parse_tmpfs(text) for text in values["tmpfs"]],
    }


def _pull(text: str | None) -> str:
    if text not in (None, "always", "missing", "never"):
        raise InvalidArgument(f"--pull {text}: one of always, missing, never")
    return text or "missing"


def _keeping(values: dict[str, Any]) -> Keeping:
    from hyrun import keeping

    restart = keeping.parse_restart(values["restart"])
    if restart[0] != "no" and values["rm"]:
        raise InvalidArgument("--restart and --rm exclude each other: a container that is removed cannot start again")
    size, files = keeping.parse_log_options(values["log_opt"])
    return Keeping(
        tty=values["tty"],
        # Docker: `create` is made to be attached to.
        attached=not values.get("detach", False),
        # Docker: not for one that is left in the background, where somebody may attach later.
        stdin_once=values["interactive"] and not values.get("detach", False),
        restart=restart,
        stop_signal=keeping.parse_stop_signal(values["stop_signal"]),
        stop_timeout=keeping.parse_stop_timeout(values["stop_timeout"]),
        log_size=size,
        log_files=files,
    )


def environment(files: list[str], given: list[str]) -> list[str]:
    """Return the variables of the files, then those of -e; a name alone takes the caller's value (docker)."""
    entries = []
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().removeprefix("\ufeff").splitlines()
        except OSError as error:
            raise InvalidArgument(f"--env-file {path}: {error.strerror}") from None
        for number, line in enumerate(lines, 1):
            line = line.lstrip()
            name = line.partition("=")[0]
            if not line or line.startswith("#"):
                continue
            if not name or name != name.strip() or " " in name:
                raise InvalidArgument(f"--env-file {path}, line {number}: write NAME=value")
            entries.append(line)
    passed = []
    for entry in [*entries, *given]:
        name, equals, _ = entry.partition("=")
        if equals or not name:
            passed.append(entry)
        elif name in os.environ:
            passed.append(f"{name}={os.environ[name]}")
        else:
            passed.append(name)
    return passed


def _label(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name:
        raise InvalidArgument(f"--label {text!r}: write KEY=VALUE")
    return name, value
