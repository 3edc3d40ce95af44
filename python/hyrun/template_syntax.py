"""From the tokens of a Go template to its nodes: the parser of ``templates``.

Source: https://pkg.go.dev/text/template. What docker's own scripts never use (``define``, ``template``,
``block``, ``break``, ``continue``) is refused by name.
"""

from __future__ import annotations

import re

from .template_tokens import fail, split_actions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

    from .template_tokens import Token

#: Deeper nesting of blocks and parentheses is refused: nobody writes it, and Python's stack is finite.
MAX_DEPTH = 50

_KEYWORDS = ("if", "with", "range", "else", "end")
_UNSUPPORTED = ("define", "template", "block", "break", "continue")
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|.)")
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Literal:
    """A string, a number, a boolean or nil."""

    __slots__ = ("pos", "value")

    def __init__(self, pos: int, value: Any) -> None:
        self.pos, self.value = pos, value


class Function:
    """The name of a built-in function."""

    __slots__ = ("name", "pos")

    def __init__(self, pos: int, name: str) -> None:
        self.pos, self.name = pos, name


class Path:
    """``.A.B``, ``$x.A`` or ``(…).A``: fields looked up from ``base`` (None is dot)."""

    __slots__ = ("base", "names", "pos", "source")

    def __init__(self, pos: int, base: str | Pipe | None, names: list[str], source: str) -> None:
        self.pos, self.base, self.names, self.source = pos, base, names, source


class Command:
    """An operand with its arguments; ``source`` is its text for error messages."""

    __slots__ = ("operands", "pos", "source")

    def __init__(self, pos: int, operands: list[Operand], source: str) -> None:
        self.pos, self.operands, self.source = pos, operands, source


class Pipe:
    """``a | b``, possibly stored: ``$x := a | b`` declares, ``$x = a | b`` assigns."""

    __slots__ = ("commands", "declares", "pos", "variables")

    def __init__(self, pos: int, variables: list[str], commands: list[Command], *, declares: bool) -> None:
        self.pos, self.variables, self.commands, self.declares = pos, variables, commands, declares


class Branch:
    """``if``, ``with`` or ``range`` with its body and its else."""

    __slots__ = ("body", "kind", "orelse", "pipe")

    def __init__(self, kind: str, pipe: Pipe, body: list[Node], orelse: list[Node]) -> None:
        self.kind, self.pipe, self.body, self.orelse = kind, pipe, body, orelse


if TYPE_CHECKING:
    Operand = Literal | Function | Path | Pipe
    Node = str | Pipe | Branch


class Parser:
    """One pass over a template; ``functions`` are the names that may be called."""

    def __init__(self, source: str, functions: Container[str]) -> None:
        self.source = source
        self.functions = functions
        self.parts = split_actions(source)
        self.next = 0
        self.depth = 0
        self.tokens: list[Token] = []
        self.at = 0

    def parse(self) -> list[Node]:
        """Return the nodes of the whole template; InvalidArgument where it makes no sense."""
        nodes, stop = self._nodes()
        if stop is not None:
            raise fail(self.source, stop[0].pos, f"unexpected {{{{{stop[0].text}}}}}")
        return nodes

    def _nodes(self) -> tuple[list[Node], list[Token] | None]:
        """Read nodes up to an ``else`` or ``end``, whose tokens are returned, or to the end."""
        nodes: list[Node] = []
        while self.next < len(self.parts):
            part = self.parts[self.next]
            self.next += 1
            if isinstance(part, str):
                nodes.append(part)
                continue
            if not part:
                raise fail(self.source, 0, "missing value for command: an action {{}} is empty")
            word = part[0].text if part[0].kind == "word" else ""
            if word in _UNSUPPORTED:
                raise fail(self.source, part[0].pos, f"{{{{{word}}}}} is not supported")
            if word in ("else", "end"):
                return nodes, part
            nodes.append(self._branch(part) if word in _KEYWORDS else self._pipe(part))
        return nodes, None

    def _deeper(self, pos: int) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise fail(self.source, pos, f"nested more than {MAX_DEPTH} deep")

    def _branch(self, tokens: list[Token]) -> Branch:
        kind, opened = tokens[0].text, tokens[0]
        self._deeper(opened.pos)
        pipe = self._pipe(tokens[1:], where=opened, ranges=kind == "range")
        body, stop = self._nodes()
        orelse: list[Node] = []
        if stop is not None and stop[0].text == "else":
            if len(stop) > 1:
                if kind == "range" or stop[1].text != kind:
                    raise fail(self.source, stop[1].pos, f"unexpected <{stop[1].text}> in {{{{else}}}}")
                # {{else if}} is an if inside the else, and both share one {{end}}.
                orelse, stop = [self._branch(stop[1:])], None
                self.depth -= 1
                return Branch(kind, pipe, body, orelse)
            orelse, stop = self._nodes()
        if stop is None or stop[0].text != "end":
            raise fail(self.source, opened.pos, f"{{{{{kind}}}}} has no {{{{end}}}}")
        if len(stop) > 1:
            raise fail(self.source, stop[1].pos, f"unexpected <{stop[1].text}> in {{{{end}}}}")
        self.depth -= 1
        return Branch(kind, pipe, body, orelse)

    def _pipe(self, tokens: list[Token], *, where: Token | None = None, ranges: bool = False) -> Pipe:
        self.tokens, self.at = tokens, 0
        pos = (where or tokens[0]).pos
        pipe = self._pipeline(pos, ranges=ranges)
        if self.at < len(tokens):
            raise fail(self.source, tokens[self.at].pos, f"unexpected <{tokens[self.at].text}> in command")
        return pipe

    def _peek(self, offset: int = 0) -> Token | None:
        return self.tokens[self.at + offset] if self.at + offset < len(self.tokens) else None

    def _mark(self, text: str, offset: int = 0) -> bool:
        token = self._peek(offset)
        return token is not None and token.kind == "mark" and token.text == text

    def _pipeline(self, pos: int, *, ranges: bool = False) -> Pipe:
        variables, declares = [], False
        token, second = self._peek(), self._peek(2)
        if token is not None and token.kind == "variable":
            if self._mark(":=", 1) or self._mark("=", 1):
                variables, declares = [token.text], self._mark(":=", 1)
                self.at += 2
            elif ranges and self._mark(",", 1) and second is not None and second.kind == "variable":
                if not (self._mark(":=", 3) or self._mark("=", 3)):
                    raise fail(self.source, token.pos, "range with two variables needs :=")
                variables, declares = [token.text, second.text], self._mark(":=", 3)
                self.at += 4
        commands = [self._command(pos)]
        while self._mark("|"):
            self.at += 1
            commands.append(self._command(pos))
            first = commands[-1].operands[0]
            if isinstance(first, (Literal, Pipe)):
                raise fail(self.source, first.pos, f"non executable command in pipeline stage {len(commands)}")
        return Pipe(pos, variables, commands, declares=declares)

    def _command(self, pos: int) -> Command:
        operands: list[Operand] = []
        begin = self.at
        while (token := self._peek()) is not None and not (token.kind == "mark" and token.text in "|)"):
            operands.append(self._operand(token))
        if not operands:
            raise fail(self.source, pos, "missing value for command")
        start, end = self.tokens[begin].pos, self.tokens[self.at - 1].end
        return Command(start, operands, self.source[start:end])

    def _operand(self, token: Token) -> Operand:
        self.at += 1
        base: str | Pipe | None = None
        names: list[str] = []
        if token.kind == "word":
            if token.text in ("true", "false", "nil"):
                return Literal(token.pos, {"true": True, "false": False, "nil": None}[token.text])
            if token.text not in self.functions:
                raise fail(self.source, token.pos, f'function "{token.text}" not defined')
            return Function(token.pos, token.text)
        if token.kind in ("string", "number"):
            return Literal(token.pos, self._string(token) if token.kind == "string" else self._number(token))
        if token.kind == "mark":
            if token.text != "(":
                raise fail(self.source, token.pos, f"unexpected <{token.text}> in operand")
            self._deeper(token.pos)
            base = self._pipeline(token.pos)
            self.depth -= 1
            if not self._mark(")"):
                raise fail(self.source, token.pos, "unclosed left paren")
            self.at += 1
        elif token.kind == "variable":
            base = token.text
        elif token.kind == "field":
            names.append(token.text[1:])
        pos = token.pos
        while (more := self._peek()) is not None and more.kind == "field" and more.glued and token.kind != "dot":
            names.append(more.text[1:])
            # Go reports the second name of a chain as its place.
            pos = more.pos if len(names) < 3 else pos
            self.at += 1
        if isinstance(base, Pipe) and not names:
            return base
        return Path(pos, base, names, self.source[token.pos : self.tokens[self.at - 1].end])

    def _number(self, token: Token) -> int | float:
        text = token.text.replace("_", "")
        try:
            digits = text.lstrip("+-")
            if digits.isdigit():
                # A leading zero is octal in Go.
                return int(text, 8 if digits[0] == "0" else 10)
            return int(text, 0) if digits[:2].lower() in ("0x", "0o", "0b") else float(text)
        except ValueError:
            raise fail(self.source, token.pos, f"bad number syntax: {token.text!r}") from None

    def _string(self, token: Token) -> str | int:
        quote, body = token.text[0], token.text[1:-1]
        if quote == "`":
            return body

        def replace(match: re.Match[str]) -> str:
            simple, *codes, octal = match.groups()
            if simple is not None:
                return _SIMPLE.get(simple, simple)
            code = next((int(hexadecimal, 16) for hexadecimal in codes if hexadecimal), None)
            code = int(octal, 8) if octal is not None else code
            if code is None or code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise fail(self.source, token.pos, f"invalid escape {match.group()} in string")
            return chr(code)

        text = _ESCAPE.sub(replace, body)
        if quote == '"':
            return text
        if len(text) != 1:
            raise fail(self.source, token.pos, f"malformed character constant: {token.text}")
        return ord(text)
