"""Arithmetic on the names of a kernel's description: sizes, conditions and constants."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from atalla_mlir.errors import BadInputError
from atalla_mlir.target.encoding import DmaShape

Number = int | float | bool

_BINARY: Mapping[type[ast.AST], str] = MappingProxyType(
    {
        ast.Add: "add",
        ast.Sub: "sub",
        ast.Mult: "mul",
        ast.Div: "truediv",
        ast.FloorDiv: "floordiv",
        ast.Mod: "mod",
        ast.Pow: "pow",
        ast.LShift: "lshift",
        ast.RShift: "rshift",
        ast.BitOr: "or_",
        ast.BitAnd: "and_",
        ast.Eq: "eq",
        ast.NotEq: "ne",
        ast.Lt: "lt",
        ast.LtE: "le",
        ast.Gt: "gt",
        ast.GtE: "ge",
    }
)
"""What Python's operators are called in `operator`."""


def _dma(pad: int, rows: int, cols: int, pitch: int) -> int:
    return DmaShape(pad, rows, cols, pitch).encode()


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _apply(op: ast.AST, left: Number, right: Number) -> Any:
    return getattr(operator, _BINARY[type(op)])(left, right)


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"min": min, "max": max, "ceil_div": _ceil_div, "dma": _dma}
)
"""What an expression may call; `dma(pad, rows, cols, pitch)` is the metadata word of a transfer."""


class Expression:
    """Python's arithmetic, comparisons, `and`, `or`, `not` and `FUNCTIONS` on numbers and names."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        try:
            self._tree = ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            raise BadInputError(f"'{self.text}' is not an expression") from error

    @property
    def names(self) -> frozenset[str]:
        """The names that it reads."""
        called = {node.func for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        return frozenset(n.id for n in ast.walk(self._tree) if isinstance(n, ast.Name) and n not in called)

    def value(self, names: Mapping[str, Number]) -> Number:
        """Its value; BadInputError says what cannot be computed and why."""
        try:
            return self._value(self._tree, names)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise BadInputError(f"'{self.text}' cannot be computed: {error}") from error

    def _value(self, node: ast.AST, names: Mapping[str, Number]) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return value
            case ast.Name(id=name):
                if name not in names:
                    raise BadInputError(f"'{self.text}' reads '{name}', which is not one of {', '.join(sorted(names))}")
                return names[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return _apply(op, self._value(left, names), self._value(right, names))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._value(operand, names)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._value(operand, names)
            case ast.BoolOp(op=op, values=values):
                fold = all if isinstance(op, ast.And) else any
                return fold(self._value(value, names) for value in values)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _BINARY for op in ops):
                values = [self._value(part, names) for part in (left, *others)]
                return all(_apply(op, values[at], values[at + 1]) for at, op in enumerate(ops))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                return FUNCTIONS[name](*(self._value(argument, names) for argument in args))
            case _:
                raise BadInputError(
                    f"'{self.text}' holds '{ast.unparse(node)}'; there are numbers, names, arithmetic, comparisons "  # pyright: ignore[reportArgumentType]
                    f"and {', '.join(FUNCTIONS)}"
                )
