"""The Typer application, and the one place where an error becomes a line on stderr and an exit status."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
import typer.main

from hyrun.errors import HyrunError

from . import (
    commit,
    containers,
    ending,
    events,
    execute,
    flag_help,
    flags,
    image_care,
    images,
    inside,
    lifecycle,
    logs,
    output,
    refusals,
    registry,
    run,
    save,
    switches,
    system,
    volumes,
)
from .context import current
from .narrowing import narrowed, words

USAGE = 125

app = typer.Typer(
    name="hyrun",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="A container engine in a Python wheel: docker's command line, no daemon.",
    epilog="Example: hyrun run --rm -v /home:/test host ls /test",
)


def _version(wanted: bool) -> None:
    if wanted:
        from hyrun._core import __version__

        typer.echo(f"hyrun {__version__}")
        raise typer.Exit


@app.callback()
def options(
    root: Annotated[
        str | None,
        typer.Option(metavar="DIR", envvar="HYRUN_ROOT", help="Where images, containers and volumes are kept."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", "-D", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", "-v", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before the command."""
    current.root = root
    current.debug = debug


_FLAGGED = {
    "run": (flags.RUN, flag_help.RUN, "IMAGE [COMMAND] [ARG]...", run.run),
    "create": (flags.CREATE, flag_help.CREATE, "IMAGE [COMMAND] [ARG]...", run.create),
    "exec": (flags.EXEC, flag_help.EXEC, "CONTAINER COMMAND [ARG]...", execute.execute),
}
for _name, _parts in _FLAGGED.items():
    _command = flag_help.command(*_parts)
    app.command(_name, context_settings=flag_help.SETTINGS, rich_help_panel="Containers")(_command)
    containers.group.command(_name, context_settings=flag_help.SETTINGS)(_command)
containers.register(app)
lifecycle.register(app)
ending.register(app)
logs.register(app)
events.register(app)
commit.register(app)
inside.register(app)
images.register(app)
save.register(app)
image_care.register(app)
registry.register(app)
app.add_typer(volumes.app, name="volume", rich_help_panel="Volumes")
system.register(app)


def main(arguments: list[str]) -> int:
    """Run one command and return its exit status."""
    if words(arguments)[:1] == ["help"]:
        arguments = [*words(arguments)[1:], "--help"]
    try:
        refusals.check(arguments)
        completes = "_HYRUN_COMPLETE" in os.environ
        command = typer.main.get_command(app if completes else narrowed(app, words(arguments)))
        if any("=" in word for word in arguments):
            current.exit_with_cause = True
            arguments = switches.translate(command, arguments)
            current.exit_with_cause = False
        result = command(arguments, standalone_mode=False, prog_name="hyrun")
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        return output.pipe_closed()
    except SystemExit as error:
        # What Typer makes of a BrokenPipeError.
        if isinstance(error.__context__, BrokenPipeError):
            return output.pipe_closed()
        raise
    except typer.TyperException as error:
        # Without: no command was given, and Typer has shown the help instead.
        if text := error.format_message().strip():
            output.message(_explained(error, text))
        return USAGE
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except (HyrunError, OSError) as error:
        if current.debug:
            import traceback

            traceback.print_exc()
        output.message(f"hyrun: {error}")
        return getattr(error, "exit_code", USAGE) if current.exit_with_cause else 1


def _explained(error: typer.TyperException, text: str) -> str:
    """Return Typer's words for what it could not parse as one line, with the command they are about."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "hyrun"
    command = f"{path}: ".removeprefix("hyrun: ").removeprefix("hyrun ")
    text = text.rstrip(".")
    return f"hyrun: {command}{text[:1].lower()}{text[1:]}: see {path} --help"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
