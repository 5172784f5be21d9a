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
