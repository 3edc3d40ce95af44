"""The flags of `run`, once: the fast parser and Typer's help are both made of this table.

Typer costs four times what a container costs, so `hyrun run` is parsed here by hand; only help, completion and
mistakes go through Typer, which reads the same table (cli/flag_help.py) and explains them better.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: A switch is off unless given; one that is on is switched off by ``--name=false``.
SWITCH, ON, VALUE, LIST = "switch", "on", "value", "list"


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

    @property
    def takes_value(self) -> bool:
        """Whether the word behind it may be its value."""
        return self.kind in (VALUE, LIST)


_STORAGE, _PROCESS, _CONTAINER, _ENGINE, _LIFE = "Storage", "Process", "Container", "Engine", "Life"

_CREATE: Final = (
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
    Flag("tty", "t", SWITCH, "", _PROCESS, "Give it a terminal."),
    Flag("init", "", SWITCH, "", _PROCESS, "Run an init as pid 1 that forwards signals and reaps processes."),
    Flag(
        "restart",
        "",
        VALUE,
        "POLICY",
        _LIFE,
        "Start it again when it ends: no, on-failure[:max], always or unless-stopped.",
    ),
    Flag("stop-signal", "", VALUE, "SIGNAL", _LIFE, "What stop sends; the image's choice or SIGTERM otherwise."),
    Flag("stop-timeout", "", VALUE, "SECONDS", _LIFE, "How long stop waits before it kills: 10, or -1 for ever."),
    Flag("log-opt", "", LIST, "KEY=VALUE", _LIFE, "max-size=10m begins a new log there, max-file=3 keeps that many."),
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
)

#: `create` has those above, `run` these as well.
CREATE: Final = _CREATE
RUN: Final = (
    *_CREATE,
    Flag("detach", "d", SWITCH, "", _LIFE, "Leave it in the background and print its id."),
    Flag("detach-keys", "", VALUE, "KEYS", _LIFE, "Keys that leave a terminal; ctrl-p,ctrl-q otherwise."),
    Flag("sig-proxy", "", ON, "", _LIFE, "Pass signals on to the container; --sig-proxy=false does not."),
    Flag("timeout", "", VALUE, "SECONDS", _PROCESS, "Kill the container after that time; exit status 124."),
    Flag("dry-run", "", SWITCH, "", _ENGINE, "Print the whole container as JSON and start nothing."),
)

EXEC: Final = (
    Flag("detach", "d", SWITCH, "", _PROCESS, "Leave it in the background."),
    Flag("detach-keys", "", VALUE, "KEYS", _PROCESS, "Keys that leave a terminal, such as ctrl-x,x; none otherwise."),
    Flag("interactive", "i", SWITCH, "", _PROCESS, "Pass stdin on; without it the command reads nothing."),
    Flag("tty", "t", SWITCH, "", _PROCESS, "Give it a terminal."),
    Flag("user", "u", VALUE, "USER[:GROUP]", _PROCESS, "Names or numbers, looked up in the container."),
    Flag("workdir", "w", VALUE, "DIR", _PROCESS, "Working directory; the container's otherwise."),
    Flag("env", "e", LIST, "NAME[=VALUE]", _PROCESS, "Set a variable; a name alone passes the caller's on."),
    Flag("env-file", "", LIST, "FILE", _PROCESS, "Read variables from a file, one NAME=VALUE a line."),
)

#: Other names that docker has for a flag.
ALIASES: Final = {"net": "network"}
#: What pflag takes for a switch (Go's strconv.ParseBool).
BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}

#: What docker's `run` has besides; refused by name instead of being taken for the image.
_UNSUPPORTED_NAMES: Final = """
add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cpu-count
cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems device
device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops
disable-content-trust dns dns-opt dns-option dns-search domainname expose gpus group-add health-cmd
health-interval health-retries health-start-interval health-start-period health-timeout io-maxbandwidth
io-maxiops ip ip6 ipc isolation kernel-memory label-file link link-local-ip log-driver mac-address memory
memory-reservation memory-swap memory-swappiness net-alias network-alias no-healthcheck oom-kill-disable
oom-score-adj pid pids-limit privileged publish publish-all runtime security-opt
shm-size storage-opt sysctl ulimit use-api-socket userns uts volume-driver volumes-from
"""
UNSUPPORTED: Final = frozenset(_UNSUPPORTED_NAMES.split())
UNSUPPORTED_LETTERS: Final = {
    "a": "attach",
    "c": "cpu-shares",
    "m": "memory",
    "p": "publish",
    "P": "publish-all",
}
UNSUPPORTED_OF_EXEC: Final = frozenset(("privileged",))


def boolean(text: str, flag: str) -> bool:
    """Return what a switch is set to by ``--flag=text``. Raises InvalidArgument."""
    value = BOOLEANS.get(text)
    if value is None:
        from hyrun.errors import InvalidArgument

        raise InvalidArgument(f"{flag}={text}: a switch is true or false: write {flag}=false, or {flag} alone for true")
    return value


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
        flag.field: [] if flag.kind == LIST else None if flag.kind == VALUE else flag.kind == ON for flag in flags
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
            flag = names.get(name) or names.get(ALIASES.get(name, ""))
            if flag is None:
                raise Unparsed
            if flag.takes_value:
                put(flag, text if equals else value())
            else:
                values[flag.field] = not equals or boolean(text, f"--{name}")
            continue
        rest = word[1:]
        while rest:
            flag = letters.get(rest[0])
            if flag is None:
                raise Unparsed
            rest = rest[1:]
            if not flag.takes_value:
                if rest[:1] == "=":
                    values[flag.field] = boolean(rest[1:], f"-{flag.letter}")
                    break
                values[flag.field] = True
            else:
                put(flag, rest.removeprefix("=") or value())
                break
    return values, arguments[index:]


def unsupported(arguments: list[str], flags: tuple[Flag, ...] = RUN) -> str | None:
    """Return the docker flag in ``arguments`` that made `parse` give up, as written; None when it was another."""
    known = {flag.name: flag for flag in flags}
    letters = {flag.letter: flag for flag in flags if flag.letter}
    names, short = (UNSUPPORTED_OF_EXEC, {}) if flags is EXEC else (UNSUPPORTED, UNSUPPORTED_LETTERS)
    index = 0
    while index < len(arguments):
        word = arguments[index]
        index += 1
        if word == "--" or len(word) < 2 or word[0] != "-":
            return None
        if word[1] == "-":
            name, equals, _ = word[2:].partition("=")
            if name in names:
                return f"--{name}"
            flag = known.get(ALIASES.get(name, name))
            if flag is None:
                return None
            index += flag.takes_value and not equals
            continue
        for position, letter in enumerate(word[1:], 1):
            if letter in short:
                return f"-{letter} (--{short[letter]})"
            flag = letters.get(letter)
            if flag is None:
                return None
            if flag.takes_value:
                index += position == len(word) - 1
                break
    return None
