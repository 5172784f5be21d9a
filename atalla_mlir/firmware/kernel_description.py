"""The `#!` lines of a kernel written by hand, which say what it computes.

    #! operation example::gated(gate[rows, columns], value[rows, columns], float scale) -> [rows, columns]
    #! require columns % 32 == 0 and rows <= 32
    #! constant TILE = dma(0, rows, 32, columns)
    #! error relative 2**-7 absolute 0
    #! flops 3 * rows * columns

docs/kernels.md explains them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from atalla_mlir.errors import BadInputError
from atalla_mlir.firmware.assembly_kernel import (
    STANDARD_SYMBOLS,
    AssemblyKernel,
    ScalarParameter,
    StatedError,
    TensorParameter,
)
from atalla_mlir.firmware.expressions import Expression

MARK = "#!"

_OPERATION = re.compile(r"([A-Za-z_]\w*)::([A-Za-z_]\w*)\s*\((.*)\)\s*->\s*\[(.*)\]\Z")
_TENSOR = re.compile(r"([A-Za-z_]\w*)\s*\[(.*)\]\Z")
_SCALAR = re.compile(r"(float|int)\s+([A-Za-z_]\w*)\Z")
_CONSTANT = re.compile(r"([A-Za-z_]\w*)\s*=\s*(.+)\Z")
_ERROR = re.compile(r"relative\s+(.+?)\s+absolute\s+(.+)\Z")
_DIRECTIVES = ("operation", "require", "constant", "error", "flops", "macs")


def read_kernel(path: str | Path) -> AssemblyKernel:
    """The kernel in a file; BadInputError says where its description is wrong."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"cannot read the kernel '{path}': {error}") from error
    return parse_kernel(text, str(path))


def parse_kernel(text: str, filename: str = "<kernel>") -> AssemblyKernel:
    """The kernel with this text; BadInputError says where its description is wrong."""
    return _DescriptionReader(filename, text).read()


class _DescriptionReader:
    """Reads the `#!` lines of a text."""

    def __init__(self, filename: str, text: str) -> None:
        self._filename = filename
        self._text = text
        self._line = 0
        self._found: dict[str, list[tuple[int, str]]] = {name: [] for name in _DIRECTIVES}

    def fail(self, message: str) -> NoReturn:
        raise BadInputError(f"{self._filename}:{self._line}: error: {message}")

    def read(self) -> AssemblyKernel:
        for number, raw in enumerate(self._text.split("\n"), 1):
            self._line = number
            if raw.startswith(MARK):
                word, _, rest = raw.removeprefix(MARK).strip().partition(" ")
                if word not in self._found:
                    self.fail(f"'{word}' is no part of a kernel's description; there are {', '.join(_DIRECTIVES)}")
                self._found[word].append((self._line, rest.strip()))
        namespace, name, parameters, result = self._operation(self._only("operation", required=True))
        extents = {extent for p in parameters if isinstance(p, TensorParameter) for extent in p.extents}
        sizes = {extent for extent in extents if isinstance(extent, str)}
        for extent in result:
            self._check_names(extent, sizes)
        names = sizes | {p.name for p in parameters if isinstance(p, ScalarParameter)}
        requirements = tuple(self._expression(text, names) for text in self._lines("require"))
        work = [self._only(key, required=False) or "0" for key in ("flops", "macs")]
        flops, macs = (self._expression(text, names) for text in work)
        return AssemblyKernel(
            self._filename, self._text, namespace, name, parameters, result, requirements,
            self._constants(names), self._error(), flops, macs,
        )  # fmt: skip

    def _lines(self, directive: str) -> Iterator[str]:
        """The lines of a directive; an error that comes up before the next one is about the last."""
        for number, text in self._found[directive]:
            self._line = number
            yield text

    def _only(self, directive: str, *, required: bool) -> str:
        lines = self._found[directive]
        if required and not lines:
            self._line = 1
            form = f"{MARK} operation NAMESPACE::NAME(x[rows, columns], float scale) -> [rows, columns]"
            self.fail(f"the kernel has no description; a line '{form}' says what it computes")
        if len(lines) > 1:
            self._line = lines[1][0]
            self.fail(f"a second '{MARK} {directive}'; the first is in line {lines[0][0]}")
        if not lines:
            return ""
        self._line, text = lines[0]
        return text

    def _operation(
        self, text: str
    ) -> tuple[str, str, tuple[TensorParameter | ScalarParameter, ...], tuple[Expression, ...]]:
        match = _OPERATION.match(text)
        if match is None:
            self.fail(f"expected 'NAMESPACE::NAME(PARAMETERS) -> [EXTENTS]', got '{text}'")
        namespace, name, inside, result = match.groups()
        parameters = tuple(self._parameter(part) for part in _split(inside))
        if not any(isinstance(parameter, TensorParameter) for parameter in parameters):
            self.fail(f"{namespace}::{name} takes no tensor")
        names = [parameter.name for parameter in parameters]
        extents = [e for p in parameters if isinstance(p, TensorParameter) for e in p.extents if isinstance(e, str)]
        for repeated in names:
            if names.count(repeated) > 1 or repeated in extents:
                self.fail(f"the name '{repeated}' stands for two things")
        return namespace, name, parameters, tuple(self._expression(part, None) for part in _split(result))

    def _parameter(self, text: str) -> TensorParameter | ScalarParameter:
        scalar = _SCALAR.match(text)
        if scalar is not None:
            return ScalarParameter(scalar[2], scalar[1])
        tensor = _TENSOR.match(text)
        if tensor is None:
            self.fail(f"parameter '{text}' is neither a tensor, 'x[rows, columns]', nor 'float NAME' or 'int NAME'")
        return TensorParameter(tensor[1], tuple(self._extent(part) for part in _split(tensor[2])))

    def _extent(self, text: str) -> int | str:
        if text.isdecimal() and int(text) > 0:
            return int(text)
        if not text.isidentifier():
            self.fail(f"extent '{text}' of an input is neither a positive number nor a name")
        return text

    def _expression(self, text: str, names: set[str] | None) -> Expression:
        try:
            expression = Expression(text)
        except BadInputError as error:
            self.fail(str(error))
        if names is not None:
            self._check_names(expression, names)
        return expression

    def _check_names(self, expression: Expression, names: set[str]) -> None:
        unknown = sorted(expression.names - names - set(STANDARD_SYMBOLS))
        if unknown:
            self.fail(f"'{expression.text}' reads '{unknown[0]}', which no parameter defines")

    def _constants(self, names: set[str]) -> tuple[tuple[str, Expression], ...]:
        known = set(names)
        found: list[tuple[str, Expression]] = []
        for text in self._lines("constant"):
            match = _CONSTANT.match(text)
            if match is None:
                self.fail(f"expected 'NAME = EXPRESSION', got '{text}'")
            if match[1] in known or match[1] in STANDARD_SYMBOLS:
                self.fail(f"the name '{match[1]}' stands for two things")
            found.append((match[1], self._expression(match[2], known)))
            known.add(match[1])
        return tuple(found)

    def _error(self) -> StatedError | None:
        text = self._only("error", required=False)
        if not text:
            return None
        match = _ERROR.match(text)
        if match is None:
            self.fail(f"expected 'relative NUMBER absolute NUMBER', got '{text}'")
        relative, absolute = (float(self._expression(part, set()).value({})) for part in match.groups())
        if not (0 <= relative < 1 and 0 <= absolute < float("inf")):
            self.fail(f"an error of {relative} * |result| + {absolute} is no bound")
        return StatedError(relative, absolute)


def _split(text: str) -> list[str]:
    """Pieces between the commas that are not in brackets."""
    pieces: list[str] = []
    depth = start = 0
    for at, character in enumerate(text):
        depth += (character in "[(") - (character in "])")
        if character == "," and depth == 0:
            pieces.append(text[start:at].strip())
            start = at + 1
    last = text[start:].strip()
    return [*pieces, last] if last or pieces else []
