"""The Go templates of docker's ``--format``: what docker scripts use, with Go's output and errors.

Source: https://pkg.go.dev/text/template and https://docs.docker.com/engine/cli/formatting/. Data are dicts,
lists, strings, numbers, booleans and None; a dict is a Go struct or map. A dict may hold functions, which are
methods to the template (``{{.Label "key"}}``). Nothing else of Python can be reached from a template.
"""

from __future__ import annotations

from .errors import InvalidArgument
from .template_syntax import Branch, Command, Function, Literal, Parser, Path, Pipe
from .template_tokens import fail
from .template_values import FUNCTIONS, HEADER_FUNCTIONS, Map, go_print, go_type, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .template_syntax import Node, Operand

__all__ = ["Template", "render", "unescape"]

#: ``and`` and ``or`` do not evaluate what they do not need; they are known here by name only.
_LAZY = ("and", "or")
_MISSING = object()
#: What docker's API has as maps; every other object is a struct, where a name that is not there is a mistake.
_MAPS = frozenset(
    {
        *("Attributes", "DriverOpts", "ExposedPorts", "Labels", "Networks"),
        *("Options", "PortBindings", "Ports", "Tmpfs", "Volumes"),
    }
)


def render(template: str, data: Any) -> str:
    """Fill in a template. InvalidArgument, with Go's line and column, when it cannot be read or evaluated."""
    return Template(template).render(data)


def unescape(template: str) -> str:
    r"""Turn ``\t`` and ``\n`` outside of actions into a tab and a newline, as docker does."""
    out, pos = [], 0
    while pos < len(template):
        start = template.find("{{", pos)
        start = len(template) if start < 0 else start
        out.append(template[pos:start].replace("\\t", "\t").replace("\\n", "\n"))
        end = template.find("}}", start)
        pos = len(template) if end < 0 else end + 2
        out.append(template[start:pos])
    return "".join(out)


class Template:
    """A template, read once and filled in as often as there are items."""

    def __init__(self, source: str, *, header: bool = False) -> None:
        """Read a template; ``header`` is for the first line of a table, where json, upper… keep the name."""
        self.source = source
        self.functions = HEADER_FUNCTIONS if header else FUNCTIONS
        self.nodes = Parser(source, {*self.functions, *_LAZY}).parse()

    def render(self, data: Any) -> str:
        """Return the text for one item."""
        run = _Run(self.source, self.functions, data)
        run.walk(self.nodes, data)
        return "".join(run.out)


class _Run:
    """The execution of a template for one item."""

    def __init__(self, source: str, functions: dict[str, Any], data: Any) -> None:
        self.source = source
        self.functions = functions
        self.out: list[str] = []
        #: Innermost last; a block forgets its own when it ends.
        self.variables: list[tuple[str, Any]] = [("$", data)]

    def error(self, pos: int, at: str, message: str) -> InvalidArgument:
        return fail(self.source, pos, f'executing "" at <{at}>: {message}')

    def walk(self, nodes: list[Node], dot: Any) -> None:
        for node in nodes:
            if isinstance(node, str):
                self.out.append(node)
            elif isinstance(node, Pipe):
                value = self.pipe(node, dot)
                if not node.variables:
                    self.out.append(go_print(value))
            else:
                mark = len(self.variables)
                self.branch(node, dot)
                del self.variables[mark:]

    def branch(self, node: Branch, dot: Any) -> None:
        if node.kind == "range":
            self.loop(node, dot)
            return
        value = self.pipe(node.pipe, dot)
        if truth(value):
            self.walk(node.body, value if node.kind == "with" else dot)
        else:
            self.walk(node.orelse, dot)

    def loop(self, node: Branch, dot: Any) -> None:
        pipe = node.pipe
        value = self.pipe(Pipe(pipe.pos, [], pipe.commands, declares=False), dot)
        pairs: Iterable[tuple[Any, Any]]
        if isinstance(value, dict):
            pairs = sorted(value.items(), key=lambda pair: str(pair[0]))
        elif isinstance(value, (list, tuple)):
            pairs = list(enumerate(value))
        elif value is None:
            pairs = ()
        elif isinstance(value, int) and not isinstance(value, bool):
            pairs = ((number, number) for number in range(value))
        else:
            source = pipe.commands[-1].source
            raise self.error(pipe.commands[-1].pos, source, f"range can't iterate over a {go_type(value)}")
        empty = True
        for key, item in pairs:
            empty = False
            mark = len(self.variables)
            for name, one in zip(reversed(pipe.variables), (item, key), strict=False):
                self.store(name, one, pipe)
            self.walk(node.body, item)
            del self.variables[mark:]
        if empty:
            self.walk(node.orelse, dot)

    def store(self, name: str, value: Any, pipe: Pipe) -> None:
        if pipe.declares:
            self.variables.append((name, value))
            return
        for index in range(len(self.variables) - 1, -1, -1):
            if self.variables[index][0] == name:
                self.variables[index] = (name, value)
                return
        raise fail(self.source, pipe.pos, f'undefined variable "{name}"')

    def pipe(self, pipe: Pipe, dot: Any) -> Any:
        value: Any = _MISSING
        for command in pipe.commands:
            value = self.command(command, dot, value)
        for name in pipe.variables:
            self.store(name, value, pipe)
        return value

    def command(self, command: Command, dot: Any, last: Any) -> Any:
        """Evaluate an operand with its arguments; ``last`` is what the pipeline hands on."""
        first, *rest = command.operands
        if isinstance(first, Function):
            if first.name in _LAZY:
                return self.lazy(first, rest, dot, last, command)
            return self.call(self.functions[first.name], first.name, self.arguments(rest, dot, last), command)
        if isinstance(first, Path):
            value = self.path(first, dot)
            if callable(value):
                return self.call(value, first.names[-1], self.arguments(rest, dot, last), command)
            if rest or last is not _MISSING:
                name = first.names[-1] if first.names else first.source
                raise self.error(first.pos, first.source, f"{name} has arguments but cannot be invoked as function")
            return value
        if rest or last is not _MISSING:
            raise self.error(command.pos, command.source, "can't give argument to non-function")
        if isinstance(first, Literal) and first.value is None:
            raise self.error(command.pos, command.source, "nil is not a command")
        return self.operand(first, dot)

    def arguments(self, operands: list[Operand], dot: Any, last: Any) -> list[Any]:
        values = [self.operand(operand, dot) for operand in operands]
        return values if last is _MISSING else [*values, last]

    def operand(self, operand: Operand, dot: Any) -> Any:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Pipe):
            return self.pipe(operand, dot)
        name = operand.name if isinstance(operand, Function) else operand.source
        source = Command(operand.pos, [operand], name)
        return self.command(source, dot, _MISSING)

    def lazy(self, function: Function, operands: list[Operand], dot: Any, last: Any, command: Command) -> Any:
        if not operands and last is _MISSING:
            raise self.error(command.pos, command.source, f"wrong number of args for {function.name}: want at least 1")
        value = last
        for operand in operands:
            value = self.operand(operand, dot)
            if truth(value) == (function.name == "or"):
                return value
        return value if last is _MISSING else last

    def call(self, function: Any, name: str, values: list[Any], command: Command) -> Any:
        try:
            return function(*values)
        except InvalidArgument:
            raise
        except ValueError as error:
            raise self.error(command.pos, command.source, f"error calling {name}: {error}") from None
        except (TypeError, OverflowError):
            # The only way to get here is a call with too few, too many or absurd arguments.
            message = f"wrong number or type of args for {name}: got {len(values)}"
            raise self.error(command.pos, command.source, message) from None

    def path(self, path: Path, dot: Any) -> Any:
        if isinstance(path.base, Pipe):
            value = self.pipe(path.base, dot)
        elif path.base is None:
            value = dot
        else:
            value = next((item for name, item in reversed(self.variables) if name == path.base), _MISSING)
            if value is _MISSING:
                raise fail(self.source, path.pos, f'undefined variable "{path.base}"')
        for name in path.names:
            value = self.field(value, name, path)
        return value

    def field(self, value: Any, name: str, path: Path) -> Any:
        if value is None:
            raise self.error(path.pos, path.source, f'nil data; no entry for key "{name}"')
        if not isinstance(value, dict):
            raise self.error(path.pos, path.source, f"can't evaluate field {name} in type {go_type(value)}")
        if isinstance(value, Map):
            return value.get(name)
        try:
            found = value[name]
            return Map(found) if name in _MAPS and (found is None or isinstance(found, dict)) else found
        except KeyError:
            known = ", ".join(sorted(str(key) for key in value)[:40])
            hint = f" (it has {known})" if known else " (it is empty)"
            raise self.error(path.pos, path.source, f'map has no entry for key "{name}"{hint}') from None
