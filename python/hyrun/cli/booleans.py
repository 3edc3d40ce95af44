"""`--pause=false`: docker's way to switch off what is on, beside Typer's `--no-pause`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

_VALUES = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


class WithBooleans(TyperCommand):
    """A command whose `--name/--no-name` options also take `=true` and `=false`, as Go's flags do."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Turn the one form into the other before the arguments are parsed."""
        return super().parse_args(ctx, [self._plain(argument) for argument in args])

    def _plain(self, argument: str) -> str:
        flag, equals, text = argument.partition("=")
        value = _VALUES.get(text.lower())
        if not equals or value is None:
            return argument
        for option in self.params:
            if flag in option.opts and option.secondary_opts:
                return flag if value else option.secondary_opts[0]
        return argument
