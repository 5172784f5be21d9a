"""Recognise functions that a body spells out in simpler operations, where the whole is more exact than its parts.

1 + erf(x) cancels for negative x, and e^-x overflows long before the logistic function does anything of note; taken
as one function each, neither is seen.
"""

from __future__ import annotations

import math

from atalla_mlir.codegen.iteration import Node

X = "x"
"""Stands for the operand of a pattern; the same everywhere in it."""

Pattern = float | str | tuple
"""A constant, `X`, or (operation, operand patterns...)."""

_ONE_PLUS_ERF = ("add", ("erf", ("div", X, 1.4142)), 1.0)
_CUBIC = ("mul", ("add", X, ("mul", ("powi", X, 3.0), 0.044715)), 0.79788)

_IDIOMS: tuple[tuple[str, Pattern], ...] = (
    ("sigmoid", ("div", 1.0, ("add", ("exp", ("neg", X)), 1.0))),
    ("gelu", ("mul", X, ("mul", _ONE_PLUS_ERF, 0.5))),
    ("gelu_tanh", ("mul", X, ("mul", ("add", ("tanh", _CUBIC), 1.0), 0.5))),
)
_COMMUTE = frozenset({"add", "mul"})
_CLOSE = 2.0**-7
"""Constants of a body may have been rounded to BF16."""


def extreme(condition: Node, on_true: Node, on_false: Node) -> Node | None:
    """A selection between the two values that its condition compares, as the larger or smaller of them.

    That is how relu and clamp of PyTorch arrive from torch-mlir, with a predicate that holds for unordered numbers
    also where it makes NaN lose; in PyTorch NaN of either operand is the result. A user's own selection is ordered.
    """
    greater = condition.op in ("cmp_ugt", "cmp_uge")
    less = condition.op in ("cmp_ult", "cmp_ule")
    if not (greater or less):
        return None
    left, right = condition.args
    if _is_same(left, on_true) and _is_same(right, on_false):
        return Node("max" if greater else "min", (left, right))
    if _is_same(left, on_false) and _is_same(right, on_true):
        return Node("min" if greater else "max", (left, right))
    return None


def _is_same(left: Node, right: Node) -> bool:
    return left is right or (left.op == right.op == "constant" and left.value == right.value)


def recognised(node: Node) -> Node:
    """`node`, or the one function that it spells out."""
    for name, pattern in _IDIOMS:
        operand = _match(pattern, node, ())
        if operand is not None:
            return Node(name, operand)
    return node


def _match(pattern: Pattern, node: Node, operand: tuple[Node, ...]) -> tuple[Node, ...] | None:
    """What `X` stands for when `node` is an instance of `pattern`; `operand` is what it stands for already."""
    if pattern == X:
        return (node,) if operand in ((), (node,)) else None
    if not isinstance(pattern, tuple):
        return operand if node.op == "constant" and math.isclose(node.value, float(pattern), rel_tol=_CLOSE) else None
    name, *parts = pattern
    if node.op != name or len(node.args) != len(parts):
        return None
    for args in (node.args, node.args[::-1]) if name in _COMMUTE else (node.args,):
        found: tuple[Node, ...] | None = operand
        for part, argument in zip(parts, args, strict=True):
            found = None if found is None else _match(part, argument, found)
        if found is not None:
            return found
    return None
