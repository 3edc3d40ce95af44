"""From the text of a Go template to literal texts and tokens: the lexer of ``templates``.

Source: https://pkg.go.dev/text/template#hdr-Text_and_spaces.
"""

from __future__ import annotations

import re

from .errors import InvalidArgument

_SPACE = " \t\r\n"
_TOKEN = re.compile(
    r"""
      (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`|'(?:[^'\\\n]|\\.)+')
    | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
                        |(?:[0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))
    | (?P<field>\.[^\W\d]\w*)
    | (?P<dot>\.)
    | (?P<variable>\$\w*)
    | (?P<word>[^\W\d]\w*)
    | (?P<mark>:=|[=|(),])
    """,
    re.VERBOSE,
)


class Token:
    """A word of an action. ``glued`` says that no space stands before it: ``.A.B`` is not ``.A .B``."""

    __slots__ = ("end", "glued", "kind", "pos", "text")

    def __init__(self, kind: str, text: str, pos: int, *, glued: bool) -> None:
        self.kind, self.text, self.pos, self.glued = kind, text, pos, glued
        self.end = pos + len(text)


def fail(source: str, pos: int, message: str) -> InvalidArgument:
    """Return the error for ``pos``, with Go's line (from 1) and column (from 0)."""
    line = source.count("\n", 0, pos) + 1
    column = pos - (source.rfind("\n", 0, pos) + 1)
    return InvalidArgument(f"template: :{line}:{column}: {message}")


def split_actions(source: str) -> list[str | list[Token]]:
    """Cut a template into its literal texts and the tokens of its actions, with trim markers applied."""
    parts: list[str | list[Token]] = []
    pos, trim = 0, False
    while True:
        start = source.find("{{", pos)
        text = source[pos:] if start < 0 else source[pos:start]
        text = text.lstrip(_SPACE) if trim else text
        if start < 0:
            parts.append(text)
            return parts
        inner = start + 2
        if source[inner : inner + 1] == "-" and source[inner + 1 : inner + 2] in tuple(_SPACE):
            text, inner = text.rstrip(_SPACE), inner + 2
        parts.append(text)
        comment = (
            inner + len(source[inner:]) - len(source[inner:].lstrip(_SPACE)) if trim_space(source, inner) else inner
        )
        if source.startswith("/*", comment):
            pos, trim = _skip_comment(source, comment)
        else:
            tokens, pos, trim = _tokens(source, inner)
            parts.append(tokens)


def trim_space(source: str, inner: int) -> bool:
    """Tell whether a trim marker stands before ``inner``: only then may spaces precede a comment."""
    return source[inner - 2 : inner - 1] == "-"


def _skip_comment(source: str, start: int) -> tuple[int, bool]:
    end = source.find("*/", start)
    if end < 0:
        raise fail(source, start, "unclosed comment: end it with */}}")
    end += 2
    if source.startswith("}}", end):
        return end + 2, False
    rest = source[end:].lstrip(_SPACE)
    if rest.startswith("-}}") and source[end] in _SPACE:
        return len(source) - len(rest) + 3, True
    raise fail(source, start, "comment ends before closing delimiter: write */}}")


def _tokens(source: str, pos: int) -> tuple[list[Token], int, bool]:
    """Read one action; return its tokens, the position behind its ``}}``, and whether that trims."""
    start, tokens, glued = pos, list[Token](), False
    while True:
        if pos >= len(source):
            raise fail(source, start, "unclosed action: end it with }}")
        if source.startswith("}}", pos):
            return tokens, pos + 2, False
        if source[pos] in _SPACE:
            pos, glued = pos + 1, False
            if source.startswith("-}}", pos):
                return tokens, pos + 3, True
            continue
        match = _TOKEN.match(source, pos)
        if match is None:
            what = "unterminated quoted string" if source[pos] in "\"'`" else f"unexpected {source[pos]!r} in command"
            raise fail(source, pos, what)
        kind, end = str(match.lastgroup), match.end()
        if kind == "number" and (source[end : end + 1].isalnum() or source[end : end + 1] == "."):
            raise fail(source, pos, f"bad number syntax: {source[pos : end + 1]!r}")
        tokens.append(Token(kind, match.group(), pos, glued=glued))
        pos, glued = end, True
