"""`hyrun run`: the flags' values become a container in the foreground. On the fast path: no Typer here."""

from __future__ import annotations

import os

from hyrun import _core, containers
from hyrun.errors import InvalidArgument
from hyrun.options import Options
from hyrun.store import Store
from hyrun.streams import Streams
from hyrun.volumespec import parse_mount, parse_tmpfs, parse_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Exit status of `--timeout`, as timeout(1)'s.
TIMED_OUT = 124


def run(store: Store, values: dict[str, Any], words: list[str]) -> int:
    """Run a container and return the exit status for the shell: its own, or 128 + n for signal n."""
    options = _options(values, words)
    timeout = _timeout(values["timeout"])
    if values["dry_run"]:
        import json

        from hyrun.spec import as_dict

        print(json.dumps(as_dict(containers.plan(store, options).spec), indent=2))
        return 0
    store.prepare()
    streams = Streams(0 if options.interactive else None, 1, 2)
    cidfile = _claim_cidfile(values["cidfile"])
    container = None
    try:
        container = containers.create(store, options, stdio=streams.child)
        if cidfile is not None:
            os.write(cidfile, container.id.encode())
        # From here on a signal waits until there is somebody to forward it to.
        _core.block_signals()
        process = container.start()
    except BaseException:
        if container is not None:
            container.abandon()
        if cidfile is not None:
            os.unlink(values["cidfile"])
        raise
    finally:
        if cidfile is not None:
            os.close(cidfile)
    status = None
    try:
        streams.close_child()
        # Copies of the caller's: attend closes what it is given, each at its end.
        carried = {ours: os.dup(theirs) for ours, theirs in streams.carried.items()}
        streams.give_away()
        source = carried.pop(streams.stdin, None)
        status = _core.attend(
            process,
            timeout=timeout,
            input=None if source is None else (source, streams.stdin),
            outputs=list(carried.items()),
        )
        if status is None:
            process.kill(9)
            process.wait()
            status = -9
            return TIMED_OUT
        return status if status >= 0 else 128 - status
    finally:
        container.finish(status)


def _options(values: dict[str, Any], words: list[str]) -> Options:
    if values["rootfs"] is None and not words:
        raise InvalidArgument("no image: hyrun run [OPTIONS] IMAGE [COMMAND] [ARG...]")
    image = "" if values["rootfs"] is not None else words[0]
    directory = os.getcwd()
    return Options(
        image=image,
        args=words if values["rootfs"] is not None else words[1:],
        rootfs=values["rootfs"],
        volumes=[parse_volume(text, cwd=directory) for text in values["volume"]],
        mounts=[parse_mount(text, cwd=directory) for text in values["mount"]],
        tmpfs=[parse_tmpfs(text) for text in values["tmpfs"]],
        env=_environment(values["env_file"], values["env"]),
        cwd=values["workdir"],
        user=values["user"],
        hostname=values["hostname"],
        name=values["name"],
        entrypoint=values["entrypoint"],
        read_only=values["read_only"],
        labels=dict(_label(text) for text in values["label"]),
        network=values["network"] or "none",
        remove=values["rm"],
        # A dry run changes nothing on the disk.
        pull="never" if values["dry_run"] else _pull(values["pull"]),
        platform=values["platform"] or os.environ.get("DOCKER_DEFAULT_PLATFORM"),
        quiet=values["quiet"],
        interactive=values["interactive"],
    )


def _environment(files: list[str], given: list[str]) -> list[str]:
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


def _pull(text: str | None) -> str:
    if text not in (None, "always", "missing", "never"):
        raise InvalidArgument(f"--pull {text}: one of always, missing, never")
    return text or "missing"


def _timeout(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
        if 0 < seconds < 1e9:
            return seconds
    except ValueError:
        pass
    raise InvalidArgument(f"--timeout {text}: write a positive number of seconds")


def _claim_cidfile(path: str | None) -> int | None:
    if path is None:
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise InvalidArgument(
            f"--cidfile {path} exists: make sure that its container is not wanted any more, then remove the file"
        ) from None
    except OSError as error:
        raise InvalidArgument(f"--cidfile {path}: {error.strerror}") from None


def main(arguments: list[str], root: str | None) -> int:
    """Parse and run. Raises `flags.Unparsed` for what Typer should explain."""
    from . import flags

    values, words = flags.parse(arguments)
    return run(Store(root), values, words)
