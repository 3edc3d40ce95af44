"""Every command and flag of docker's command line is here, or is refused by its name."""

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
#: Their flags, but those of `run`, `create` and `exec`; "" has those that stand before a command.
FLAGS = {
    "attach": "--detach-keys --no-stdin --sig-proxy",
    "commit": "-a --author -c --change -m --message -p --pause",
    "cp": "-a --archive -L --follow-link -q --quiet",
    "events": "-f --filter --format --since --until",
    "export": "-o --output",
    "history": "--format -H --human --no-trunc -q --quiet --platform",
    "images": "-a --all --digests -f --filter --format --no-trunc -q --quiet --tree",
    "import": "-c --change -m --message --platform",
    "info": "-f --format",
    "inspect": "-f --format -s --size --type",
    "container inspect": "-f --format -s --size",
    "image inspect": "-f --format --platform",
    "kill": "-s --signal",
    "load": "-i --input -q --quiet --platform",
    "login": "-p --password --password-stdin -u --username",
    "logs": "--details -f --follow --since -n --tail -t --timestamps --until",
    "ps": "-a --all -f --filter --format -n --last -l --latest --no-trunc -q --quiet -s --size",
    "pull": "-a --all-tags --disable-content-trust --platform -q --quiet",
    "push": "-a --all-tags --disable-content-trust --platform -q --quiet",
    "restart": "-s --signal -t --time --timeout",
    "rm": "-f --force -l --link -v --volumes",
    "rmi": "-f --force --no-prune --platform",
    "save": "-o --output --platform",
    "start": "-a --attach --checkpoint --checkpoint-dir --detach-keys -i --interactive",
    "stats": "-a --all --format --no-stream --no-trunc",
    "stop": "-s --signal -t --time --timeout",
    "version": "-f --format",
    "volume create": "-d --driver --label -o --opt --availability --group --limit-bytes --required-bytes "
    "--scope --secret --sharing --topology-preferred --topology-required --type",
    "volume inspect": "-f --format",
    "volume ls": "--cluster -f --filter --format -q --quiet",
    "volume prune": "-a --all -f --force --filter",
    "volume rm": "-f --force",
    "container prune": "-f --force --filter",
    "image prune": "-a --all -f --force --filter",
    "system df": "--format -v --verbose",
    "system prune": "-a --all -f --force --filter --volumes",
    "": "-v --version -D --debug -H --host -c --context --config -l --log-level --tls --tlscacert "
    "--tlscert --tlskey --tlsverify",
    "image ls": "--tree",
    "image rm": "--no-prune",
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


@pytest.mark.parametrize(("command", "flag"), [(command, flag) for command in FLAGS for flag in FLAGS[command].split()])
def test_flag_of_docker_is_here_or_refused_by_its_name(command: str, flag: str) -> None:
    found: Any = typer.main.get_command(app)
    for name in command.split():
        found = found.commands[name]
    call = [*command.split(), flag, "word"]
    if any(flag in (*parameter.opts, *parameter.secondary_opts) for parameter in found.params):
        refusals.check(call)
    else:
        with pytest.raises(
            NotSupported, match=f"docker's flag {flag} of {command or 'docker itself'} is not supported"
        ):
            refusals.check(call)
