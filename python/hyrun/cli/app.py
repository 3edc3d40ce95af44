"""The Typer application, and the one place where an error becomes a line on stderr and an exit status."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
import typer.main

from hyrun.errors import HyrunError, NotSupported

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
    registry,
    run,
    save,
    switches,
    system,
    volumes,
)
from .context import current

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
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
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
    try:
        _refuse_flags(arguments)
        if any("=" in word for word in arguments):
            arguments = switches.translate(typer.main.get_command(app), arguments)
        result = app(arguments, standalone_mode=False, prog_name="hyrun")
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        return output.pipe_closed()
    except SystemExit as error:
        # What Typer makes of a BrokenPipeError.
        if isinstance(error.__context__, BrokenPipeError):
            return output.pipe_closed()
        raise
    except typer.TyperException as error:
        # Typer's own words, with usage and hint, for what it could not parse.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return USAGE
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except HyrunError as error:
        if current.debug:
            raise
        output.message(f"hyrun: {error}")
        return error.exit_code if current.exit_with_cause else 1
    except OSError as error:
        if current.debug:
            raise
        output.message(f"hyrun: {error}")
        return 125 if current.exit_with_cause else 1


def _refuse_flags(arguments: list[str]) -> None:
    """Say by name which of docker's flags is missing here; any other mistake is Typer's to explain."""
    words = [(index, word) for index, word in enumerate(arguments[:4]) if word in _FLAGGED]
    if not words:
        return
    index, command = words[0]
    name = flags.unsupported(arguments[index + 1 :], _FLAGGED[command][0])
    if name is not None:
        current.exit_with_cause = True
        raise NotSupported(f"docker's flag {name} of {command} is not supported by hyrun yet: leave it out")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
