"""Every command of docker's command line is here, or is refused by its name."""

from typing import Any

import pytest
import typer.main

from hyrun.cli import refusals
from hyrun.cli.app import app
from hyrun.errors import NotSupported

#: Docker's commands, from its reference (docs.docker.com/reference/cli/docker, version 28).
DOCKER = {
    "": "attach build builder buildx checkpoint commit compose config container context cp create diff events exec "
    "export history image images import info inspect kill load login logout logs manifest network node pause plugin "
    "port ps pull push rename restart rm rmi run save search secret service stack start stats stop swarm system tag "
    "top trust unpause update version volume wait",
    "container": "attach commit cp create diff exec export inspect kill logs ls pause port prune rename restart rm run "
    "start stats stop top unpause update wait list ps remove",
    "image": "build history import inspect load ls prune pull push rm save tag list remove",
    "system": "df dial-stdio events info prune",
    "volume": "create inspect ls prune rm update list remove",
}


@pytest.mark.parametrize(
    "path",
    [pytest.param([*group.split(), name], id=f"{group} {name}") for group in DOCKER for name in DOCKER[group].split()],
)
def test_command_of_docker_is_here_or_refused_by_its_name(path: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    try:
        for name in path:
            command = command.commands[name]
    except KeyError:
        with pytest.raises(NotSupported, match=f"docker's command {' '.join(path)} is not supported by hyrun: "):
            refusals.check([*path, "--flag", "word"])
    else:
        refusals.check([*path, "word"])
