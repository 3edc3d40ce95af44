"""Docker's flags that hyrun does not have: refused by name, with docker's exit status for a mistake in the call.

Those of `run`, `create` and `exec` are in `flags`, beside the ones that they do have.
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
    """Say by name which of docker's flags is missing here; any other mistake is Typer's to explain."""
    command, *rest = words(arguments) or [""]
    if command in ("container", "image", "volume") and rest:
        command = f"{command} {rest.pop(0)}"
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
