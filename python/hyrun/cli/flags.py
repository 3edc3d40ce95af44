"""The flags of `run`, once: the fast parser and Typer's help are both made of this table.

Typer costs four times what a container costs, so `hyrun run` is parsed here by hand; only help, completion and
mistakes go through Typer, which reads the same table (cli/run_help.py) and explains them better.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SWITCH, VALUE, LIST = "switch", "value", "list"


class Flag:
    """One flag: its long name, its letter, what it takes, and what the help says."""

    __slots__ = ("field", "help", "kind", "letter", "metavar", "name", "panel")

    def __init__(self, name: str, letter: str, kind: str, metavar: str, panel: str, help: str) -> None:
        self.name = name
        self.letter = letter
        self.kind = kind
        self.metavar = metavar
        self.panel = panel
        self.help = help
        self.field = name.replace("-", "_")


_STORAGE, _PROCESS, _CONTAINER, _ENGINE = "Storage", "Process", "Container", "Engine"

RUN: Final = (
    Flag(
        "volume",
        "v",
        LIST,
        "[SRC:]DST[:MODE]",
        _STORAGE,
        "Mount a host path, a named volume or a new anonymous one. MODE: ro, rw, nocopy or a propagation.",
    ),
    Flag(
        "mount",
        "",
        LIST,
        "KEY=VALUE,…",
        _STORAGE,
        "Mount with type=bind|volume|tmpfs,source=…,target=…[,readonly]. A missing bind source is an error.",
    ),
    Flag(
        "tmpfs",
        "",
        LIST,
        "DST[:OPTIONS]",
        _STORAGE,
        "Mount an empty tmpfs, for instance /run:size=64m,mode=1777.",
    ),
    Flag("read-only", "", SWITCH, "", _STORAGE, "Make the root file system read-only."),
    Flag("env", "e", LIST, "NAME[=VALUE]", _PROCESS, "Set a variable; a name alone passes the caller's on."),
    Flag("env-file", "", LIST, "FILE", _PROCESS, "Read variables from a file, one NAME=VALUE a line."),
    Flag("workdir", "w", VALUE, "DIR", _PROCESS, "Working directory; made if it is missing."),
    Flag(
        "user",
        "u",
        VALUE,
        "USER[:GROUP]",
        _PROCESS,
        "Names or numbers, looked up in the image's passwd and group.",
    ),
    Flag(
        "entrypoint",
        "",
        VALUE,
        "COMMAND",
        _PROCESS,
        "Replace the image's entrypoint; an empty one clears it.",
    ),
    Flag("interactive", "i", SWITCH, "", _PROCESS, "Pass stdin on; without it the container reads nothing."),
    Flag("timeout", "", VALUE, "SECONDS", _PROCESS, "Kill the container after that time; exit status 124."),
    Flag("name", "", VALUE, "NAME", _CONTAINER, "Name of the container; one is made up otherwise."),
    Flag("hostname", "h", VALUE, "NAME", _CONTAINER, "Host name inside; the beginning of the id otherwise."),
    Flag("label", "l", LIST, "KEY[=VALUE]", _CONTAINER, "Set a label."),
    Flag(
        "network",
        "",
        VALUE,
        "none|host",
        _CONTAINER,
        "none (the default for now): a network of its own with lo only; host: the caller's.",
    ),
    Flag("rm", "", SWITCH, "", _CONTAINER, "Remove the container and its anonymous volumes when it ends."),
    Flag("cidfile", "", VALUE, "FILE", _ENGINE, "Write the container's id to a file, which must not exist."),
    Flag(
        "rootfs",
        "",
        VALUE,
        "DIR",
        _ENGINE,
        "Use a directory of the host as the image, read-only; no IMAGE then.",
    ),
    Flag("pull", "", VALUE, "always|missing|never", _ENGINE, "When to ask the registry for the image; missing."),
    Flag("platform", "", VALUE, "OS/ARCH[/VARIANT]", _ENGINE, "The platform of the image, if it is for several."),
    Flag("quiet", "q", SWITCH, "", _ENGINE, "Do not show the progress of a pull."),
    Flag("dry-run", "", SWITCH, "", _ENGINE, "Print the whole container as JSON and start nothing."),
)

#: What docker's `run` has besides; refused by name instead of being taken for the image.
_UNSUPPORTED_NAMES: Final = """
add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cpu-count
cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems detach
detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops
disable-content-trust dns dns-opt dns-option dns-search domainname expose gpus group-add health-cmd
health-interval health-retries health-start-interval health-start-period health-timeout init io-maxbandwidth
io-maxiops ip ip6 ipc isolation kernel-memory label-file link link-local-ip log-driver log-opt mac-address memory
memory-reservation memory-swap memory-swappiness net net-alias network-alias no-healthcheck oom-kill-disable
oom-score-adj pid pids-limit privileged publish publish-all restart runtime security-opt
shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tty ulimit use-api-socket userns uts volume-driver
volumes-from
"""
UNSUPPORTED: Final = frozenset(_UNSUPPORTED_NAMES.split())
UNSUPPORTED_LETTERS: Final = {
    "a": "attach",
    "c": "cpu-shares",
    "d": "detach",
    "m": "memory",
    "p": "publish",
    "P": "publish-all",
    "t": "tty",
}


class Unparsed(Exception):
    """Something that Typer explains better: help, an unknown flag, a missing value."""


def parse(arguments: list[str], flags: tuple[Flag, ...] = RUN) -> tuple[dict[str, object], list[str]]:
    """Return the flags' values by field, and what begins with the first word that is no flag.

    pflag's rules, as docker has them: letters combine (``-ie A=B``), a letter's value may follow at once, ``--x=y``
    and ``--x y`` are the same, ``--switch=false`` switches off, ``--`` ends the flags. Raises Unparsed.
    """
    names = {flag.name: flag for flag in flags}
    letters = {flag.letter: flag for flag in flags if flag.letter}
    values: dict[str, object] = {
        flag.field: [] if flag.kind == LIST else False if flag.kind == SWITCH else None for flag in flags
    }
    index = 0

    def value() -> str:
        nonlocal index
        if index >= len(arguments):
            raise Unparsed
        index += 1
        return arguments[index - 1]

    def put(flag: Flag, text: str) -> None:
        if flag.kind == LIST:
            values[flag.field].append(text)  # type: ignore[attr-defined]
        else:
            values[flag.field] = text

    while index < len(arguments):
        word = arguments[index]
        if word == "--":
            return values, arguments[index + 1 :]
        if len(word) < 2 or word[0] != "-":
            break
        index += 1
        if word[1] == "-":
            name, equals, text = word[2:].partition("=")
            flag = names.get(name)
            if flag is None:
                raise Unparsed
            if flag.kind != SWITCH:
                put(flag, text if equals else value())
            elif equals and text not in ("true", "1", "false", "0"):
                raise Unparsed
            else:
                values[flag.field] = not equals or text in ("true", "1")
            continue
        rest = word[1:]
        while rest:
            flag = letters.get(rest[0])
            if flag is None:
                raise Unparsed
            rest = rest[1:]
            if flag.kind == SWITCH:
                values[flag.field] = True
            else:
                put(flag, rest.removeprefix("=") or value())
                break
    return values, arguments[index:]


def unsupported(arguments: list[str]) -> str | None:
    """Return the docker flag in ``arguments`` that made `parse` give up, as written; None when it was another."""
    known = {flag.name: flag for flag in RUN}
    letters = {flag.letter: flag for flag in RUN if flag.letter}
    index = 0
    while index < len(arguments):
        word = arguments[index]
        index += 1
        if word == "--" or len(word) < 2 or word[0] != "-":
            return None
        if word[1] == "-":
            name, equals, _ = word[2:].partition("=")
            if name in UNSUPPORTED:
                return f"--{name}"
            flag = known.get(name)
            if flag is None:
                return None
            index += flag.kind != SWITCH and not equals
            continue
        for position, letter in enumerate(word[1:], 1):
            if letter in UNSUPPORTED_LETTERS:
                return f"-{letter} (--{UNSUPPORTED_LETTERS[letter]})"
            flag = letters.get(letter)
            if flag is None:
                return None
            if flag.kind != SWITCH:
                index += position == len(word) - 1
                break
    return None
