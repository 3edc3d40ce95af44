"""Docker's commands and flags that hyrun does not have: refused by name, with the exit status of a mistake in the call.

The flags of `run`, `create` and `exec` are in `flags`, beside the ones that they do have.
"""

from __future__ import annotations

from hyrun.errors import NotSupported

from . import flags
from .context import current
from .narrowing import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn

_PARSED: Final = {"run": flags.RUN, "create": flags.CREATE, "exec": flags.EXEC}
_BUILD: Final = "build the image with another program and load what it saves: hyrun load"
_NETWORK: Final = "there are --network none and --network host"
_UPDATE: Final = "there are no limits to change; make the container anew for another restart policy"
_SWARM: Final = "hyrun runs containers on this machine alone"
#: Docker's commands, and what to do instead.
_COMMANDS: Final = {
    "build": _BUILD,
    "builder": _BUILD,
    "buildx": _BUILD,
    "image build": _BUILD,
    "checkpoint": "there are no checkpoints",
    "compose": "start each container with hyrun run",
    "config": _SWARM,
    "container update": _UPDATE,
    "context": "there is no daemon to choose: hyrun --root DIR works on another store",
    "manifest": "hyrun image inspect shows an image, --platform of hyrun pull chooses among several",
    "network": _NETWORK,
    "node": _SWARM,
    "plugin": "there are no plugins",
    "search": "no registry API has it: search at https://hub.docker.com",
    "secret": _SWARM,
    "service": _SWARM,
    "stack": _SWARM,
    "swarm": _SWARM,
    "system dial-stdio": "there is no daemon to talk to",
    "trust": "there are no signatures: name an image by its digest",
    "update": _UPDATE,
    "volume update": _SWARM,
}


def _all(flags: str, why: str) -> dict[str, str]:
    return dict.fromkeys(flags.split(), why)


#: Commands, their flags, and what to do instead.
_OTHERS: Final = {
    "start": _all("--checkpoint --checkpoint-dir", "there are no checkpoints"),
    "rm": _all("--link -l", "there are no links between containers"),
    "logs": _all("--details", "the log driver keeps no details"),
    "volume create": {
        **_all("--opt -o", "mount it on the host and bind that path"),
        **_all("--availability --group --limit-bytes --required-bytes --scope --secret --sharing --type", _SWARM),
        **_all("--topology-preferred --topology-required", _SWARM),
    },
    "volume ls": _all("--cluster", _SWARM),
    "images": _all("--tree", "hyrun image tree shows which images share layers"),
    "image inspect": _all("--platform", "an image is of one platform here"),
    "rmi": _all("--no-prune --platform", "leave it out"),
    "push": _all("--disable-content-trust --platform", "leave it out"),
    "pull": _all("--disable-content-trust", "leave it out"),
    "save": _all("--platform", "leave it out"),
    "import": _all("--platform", "leave it out"),
    "history": _all("--platform", "leave it out"),
}
#: Other names of those.
_ALIASES: Final = {
    "image ls": "images",
    "image list": "images",
    "image rm": "rmi",
    "image remove": "rmi",
    "container remove": "rm",
    "volume list": "volume ls",
}
#: Docker's options before the command.
_BEFORE: Final = {
    **_all("--context --host -H -c --tls --tlscacert --tlscert --tlskey --tlsverify", "there is no daemon to talk to"),
    **_all("--log-level -l", "there is no log; --debug shows where an error came from"),
    "--config": "set DOCKER_CONFIG to the directory that has config.json",
}


def refuse(flag: str, command: str, why: str) -> NoReturn:
    """Raise NotSupported for a flag of docker's; the exit status is 125."""
    current.exit_with_cause = True
    raise NotSupported(f"docker's flag {flag} of {command} is not supported by hyrun: {why}")


def check(arguments: list[str]) -> None:
    """Say by name which of docker's commands or flags is missing here; any other mistake is Typer's to explain."""
    called = words(arguments)
    command, *rest = called or [""]
    for given in arguments[: len(arguments) - len(called)]:
        _refuse_one(given, _BEFORE, "docker itself")
    if command in ("container", "image", "system", "volume") and rest:
        command = f"{command} {rest.pop(0)}"
    if command in _COMMANDS:
        current.exit_with_cause = True
        raise NotSupported(f"docker's command {command} is not supported by hyrun: {_COMMANDS[command]}")
    word = _ALIASES.get(command) or command.removeprefix("container ")
    if word not in _OTHERS:
        word = word.removeprefix("image ")
    if word in _PARSED:
        found = flags.unsupported(rest, _PARSED[word])
        if found is not None:
            refuse(found, command, "leave it out")
    for given in rest[: rest.index("--") if "--" in rest else None]:
        _refuse_one(given, _OTHERS.get(word, {}), command)


def _refuse_one(given: str, known: dict[str, str], command: str) -> None:
    flag = given.partition("=")[0]
    if flag in known:
        refuse(flag, command, known[flag])
