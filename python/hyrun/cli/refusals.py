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
#: Commands, their flags, and what to do instead.
_OTHERS: Final = {
    "start": (("--checkpoint", "--checkpoint-dir"), "there are no checkpoints"),
    "rm": (("--link", "-l"), "there are no links between containers"),
    "logs": (("--details",), "the log driver keeps no details"),
    "volume create": (("--opt", "-o"), "mount it on the host and bind that path"),
    "images": (("--tree",), "hyrun image tree shows which images share layers"),
    "rmi": (("--no-prune", "--platform"), "leave it out"),
    "push": (("--disable-content-trust", "--platform"), "leave it out"),
    "pull": (("--disable-content-trust",), "leave it out"),
    "save": (("--platform",), "leave it out"),
    "import": (("--platform",), "leave it out"),
    "history": (("--platform",), "leave it out"),
}


def refuse(flag: str, command: str, why: str) -> NoReturn:
    """Raise NotSupported for a flag of docker's; the exit status is 125."""
    current.exit_with_cause = True
    raise NotSupported(f"docker's flag {flag} of {command} is not supported by hyrun: {why}")


def check(arguments: list[str]) -> None:
    """Say by name which of docker's commands or flags is missing here; any other mistake is Typer's to explain."""
    command, *rest = words(arguments) or [""]
    if command in ("container", "image", "system", "volume") and rest:
        command = f"{command} {rest.pop(0)}"
    if command in _COMMANDS:
        current.exit_with_cause = True
        raise NotSupported(f"docker's command {command} is not supported by hyrun: {_COMMANDS[command]}")
    word = command.removeprefix("container ").removeprefix("image ")
    if word in _PARSED:
        found = flags.unsupported(rest, _PARSED[word])
        if found is not None:
            refuse(found, command, "leave it out")
    names, why = _OTHERS.get(word, ((), ""))
    for given in rest[: rest.index("--") if "--" in rest else None]:
        name = given.partition("=")[0]
        if name in names:
            refuse(name, command, why)
