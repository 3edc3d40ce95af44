"""Arguments and options that several commands have, each defined once."""

from __future__ import annotations

from typing import Annotated

import typer

#: How progress is shown; see `hyrun.progress`.
Progress = Annotated[
    str,
    typer.Option("--progress", metavar="auto|tty|plain|json", help="How progress is shown, on stderr."),
]
