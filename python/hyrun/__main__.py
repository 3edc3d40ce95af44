"""The command line's entry: `run`, `exec` and `--version` by the fast path, everything else by Typer."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command that sys.argv names; return the exit status."""
    from .cli.complaint import complain, open_standard_streams

    open_standard_streams()
    arguments = sys.argv[1:]
    if arguments[:1] in (["run"], ["exec"]) or arguments in (["--version"], ["-v"]):
        from .cli.flags import Unparsed
        from .errors import HyrunError

        try:
            if arguments[0] == "run":
                from .cli.run import main as command
            elif arguments[0] == "exec":
                from .cli.execute import main as command
            else:
                from ._core import __version__

                print(f"hyrun {__version__}", flush=True)
                return 0
            return command(arguments[1:], None)
        except Unparsed:
            pass  # Typer explains it
        except HyrunError as error:
            complain(str(error))
            return error.exit_code
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            from .cli.output import pipe_closed

            return pipe_closed()
        except OSError as error:
            # The disk is full, a limit is reached: the system's own words, with the file they are about.
            complain(str(error))
            return 125
    from .cli.app import main as typer_main

    return typer_main(arguments)


def main_and_leave() -> None:
    """As `main`, and end the process at once: taking the interpreter apart costs as much as a container."""
    status = main()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BrokenPipeError:
        status = status or 141
    os._exit(status)


if __name__ == "__main__":
    main_and_leave()
