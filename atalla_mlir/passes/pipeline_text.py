"""The text of pass pipelines: `builtin.module(a,func.func(b{x=1 y="p q"},c))`.

Grammar, as upstream's: a pipeline is a comma-separated list of elements; an element is a pass name with options in
braces or an operation name with a nested pipeline in parentheses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from atalla_mlir.errors import BadInputError

_NAME = re.compile(r"[A-Za-z_][\w.\-]*")
_OPTION = re.compile(r"""\s*([\w\-]+)(?:=("[^"]*"|'[^']*'|\{[^{}]*\}|[^\s"'{}]*))?(?=\s|$)""")


class PipelineError(BadInputError):
    """The text of a pipeline is wrong; the message shows where."""

    def __init__(self, text: str, position: int, message: str) -> None:
        self.position = position
        line_start = text.rfind("\n", 0, position) + 1
        line = text[line_start:].split("\n", 1)[0]
        super().__init__(f"pass pipeline: {message}\n  {line}\n  {' ' * (position - line_start)}^")


@dataclass(frozen=True)
class Element:
    """A pass (`nested` is None; `options` is the text between its braces) or a nest of passes on operations `name`."""

    name: str
    position: int
    options: str | None = None
    nested: tuple[Element, ...] | None = None

    def __str__(self) -> str:
        if self.nested is not None:
            return f"{self.name}({','.join(map(str, self.nested))})"
        return self.name if self.options is None else f"{self.name}{{{self.options}}}"


def parse(text: str) -> tuple[Element, ...]:
    """The elements of `text`; PipelineError points at the first mistake."""
    return _Parser(text).pipeline()


def parse_options(text: str) -> tuple[tuple[str, str | None], ...]:
    """Names and value texts of the options of one pass; ValueError when they are malformed."""
    found: list[tuple[str, str | None]] = []
    position = 0
    while position < len(text.rstrip()):
        match = _OPTION.match(text, position)
        if match is None:
            raise ValueError(f"malformed options '{text.strip()}', expected name=value separated by blanks")
        found.append((match[1], _unquote(match[2])))
        position = match.end()
    return tuple(found)


def _unquote(value: str | None) -> str | None:
    return value[1:-1] if value and value[0] in "\"'{" else value


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def pipeline(self) -> tuple[Element, ...]:
        elements = self._elements()
        if self._peek():
            raise self._error("expected ',' or the end")
        return elements

    def _elements(self) -> tuple[Element, ...]:
        """Elements up to the closing parenthesis or the end; an empty list is allowed."""
        if self._peek() in ("", ")"):
            return ()
        elements = [self._element()]
        while self._peek() == ",":
            self._at += 1
            elements.append(self._element())
        return tuple(elements)

    def _element(self) -> Element:
        self._peek()
        start = self._at
        match = _NAME.match(self._text, start)
        if match is None:
            raise self._error("expected the name of a pass or operation")
        self._at = match.end()
        if self._peek() == "(":
            return Element(match[0], start, nested=self._nested())
        if self._peek() == "{":
            return Element(match[0], start, options=self._braces())
        return Element(match[0], start)

    def _nested(self) -> tuple[Element, ...]:
        opened = self._at
        self._at += 1
        elements = self._elements()
        if not self._peek():
            raise PipelineError(self._text, opened, "no ')' for this '('")
        if self._peek() != ")":
            raise self._error("expected ',' or ')'")
        self._at += 1
        return elements

    def _braces(self) -> str:
        """The text between balanced braces; braces in quotes do not count."""
        opened, depth, quote = self._at, 0, ""
        for position in range(opened, len(self._text)):
            character = self._text[position]
            if quote:
                quote = "" if character == quote else quote
            elif character in "\"'":
                quote = character
            elif character in "{}":
                depth += 1 if character == "{" else -1
                if not depth:
                    self._at = position + 1
                    return self._text[opened + 1 : position]
        raise PipelineError(self._text, opened, "no '}' for this '{'")

    def _peek(self) -> str:
        """The next character that is not blank, or "" at the end."""
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _error(self, message: str) -> PipelineError:
        return PipelineError(self._text, self._at, message)
