"""Evaluate the body of a stage for one row: nodes become row and scalar operations.

A value is a row when it varies over the lanes. A value that is the same in all lanes is kept either as a broadcast
row (what a lane reduction gives) or as a scalar (what a constant, or the scalar units' reciprocal and square root,
give); both are accepted wherever an operand may be uniform.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Node
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.functions import FUNCTIONS
from atalla_mlir.kernels.functions.bound import FunctionBound


@dataclass(frozen=True)
class Evaluated:
    """A value of the machine, or a constant not yet in a register; `uniform` means equal in all lanes."""

    value: ir.Value | None
    uniform: bool
    constant: float | None = None


class Evaluator:
    """Evaluates expression graphs on a builder; `load` gives the value of a read by its index."""

    def __init__(self, builder: Builder, load: Callable[[int], Evaluated], *, broadcasts: bool = False) -> None:
        """With `broadcasts`, scalars that meet rows are made rows, which take no scalar ports."""
        self.builder = builder
        self.load = load
        self.broadcasts = broadcasts
        self.known: dict[int, Evaluated] = {}
        self.keep: list[Node] = []
        self.expansions: list[FunctionBound] = []
        """Bounds of the functions that had to be expanded for rows."""

    def evaluate(self, node: Node) -> Evaluated:
        if id(node) not in self.known:
            self.known[id(node)] = self._compute(node)
            self.keep.append(node)
        return self.known[id(node)]

    def _compute(self, node: Node) -> Evaluated:
        if node.op == "constant":
            return Evaluated(None, True, node.value)
        if node.op == "load":
            return self.load(node.read)
        if node.op == "select":
            return self._select(node)
        arguments = [self.evaluate(argument) for argument in node.args]
        uniform = all(argument.uniform for argument in arguments)
        rule = getattr(self, f"_{node.op}", None)
        if rule is None and node.op in FUNCTIONS:
            return Evaluated(self._expanded(node.op, arguments[0]), uniform)
        if rule is None:
            raise UnsupportedError(f"scalar function {node.op} has no lowering")
        return Evaluated(rule(*arguments), uniform)

    # Operand forms

    def operand(self, item: Evaluated) -> ir.Value:
        """A row or a scalar."""
        if item.value is None:
            return self.builder.constant(item.constant or 0.0)
        return item.value

    def row(self, item: Evaluated) -> ir.Value:
        return self.builder.as_row(self.operand(item))

    def scalar(self, item: Evaluated) -> ir.Value:
        value = self.operand(item)
        return value if self.builder.is_scalar(value) else self.builder.extract(value)

    def _arithmetic(self, kind: str, left: Evaluated, right: Evaluated) -> ir.Value:
        a, b = self.operand(left), self.operand(right)
        if self.builder.is_scalar(a) and self.builder.is_scalar(b):
            return self.builder.scalar_op(f"scalar_{kind}", a, b)
        if self.builder.is_scalar(a) and kind in ("add", "mul"):
            a, b = b, a
        if self.broadcasts and left.constant is None and right.constant is None:
            b = self.builder.as_row(b)
        return self.builder.binary(kind, self.builder.as_row(a), b)

    # Rules, one per operation

    def _add(self, left: Evaluated, right: Evaluated) -> ir.Value:
        return self._arithmetic("add", left, right)

    def _sub(self, left: Evaluated, right: Evaluated) -> ir.Value:
        return self._arithmetic("sub", left, right)

    def _mul(self, left: Evaluated, right: Evaluated) -> ir.Value:
        return self._arithmetic("mul", left, right)

    def _div(self, left: Evaluated, right: Evaluated) -> ir.Value:
        """x / y as x * (1 / y): two roundings; a constant divisor's reciprocal is rounded at compile time."""
        reciprocal = self._rcp(right)
        if left.constant == 1.0:
            return reciprocal
        return self._arithmetic("mul", left, Evaluated(reciprocal, right.uniform))

    def _rsqrt(self, source: Evaluated) -> ir.Value:
        if not source.uniform:
            return self._expanded("rsqrt", source)
        return self._rcp(Evaluated(self._sqrt(source), source.uniform))

    def _expanded(self, name: str, source: Evaluated) -> ir.Value:
        """A function that the machine lacks; notes how exact it is."""
        function = FUNCTIONS[name]
        self.expansions.append(function.bound)
        return function.expand(self.builder, self.row(source))

    def _neg(self, source: Evaluated) -> ir.Value:
        return self._arithmetic("mul", source, Evaluated(None, True, -1.0))

    def _exp(self, source: Evaluated) -> ir.Value:
        return self.builder.exp(self.row(source))

    def _abs(self, source: Evaluated) -> ir.Value:
        row = self.row(source)
        negated = self.builder.binary("mul", row, self.builder.constant(-1.0))
        return self.builder.select(self.builder.compare("lt", row, self.builder.constant(0.0)), negated, row)

    def _rcp(self, source: Evaluated) -> ir.Value:
        if not source.uniform:
            return self._expanded("rcp", source)
        if source.constant is not None:
            return self.builder.constant(1.0 / source.constant if source.constant else math.inf)
        return self.builder.scalar_op("reciprocal", self.scalar(source))

    def _sqrt(self, source: Evaluated) -> ir.Value:
        if not source.uniform:
            return self._expanded("sqrt", source)
        return self.builder.scalar_op("sqrt", self.scalar(source))

    def _max(self, left: Evaluated, right: Evaluated) -> ir.Value:
        return self._choose("gt", left, right)

    def _min(self, left: Evaluated, right: Evaluated) -> ir.Value:
        return self._choose("lt", left, right)

    def _choose(self, predicate: str, left: Evaluated, right: Evaluated) -> ir.Value:
        """`left` where it is `predicate` than `right`; NaN of either is the result."""
        if left.value is None or self.builder.is_scalar(self.operand(left)):
            left, right = right, left
        a, b = self.row(left), self.operand(right)
        mirrored = {"gt": "lt", "lt": "gt"}[predicate]
        chosen = self.builder.select(self.builder.compare(mirrored, a, b), b, a)
        if right.constant is not None:
            return chosen
        other = self.builder.as_row(b)
        return self.builder.select(self.builder.compare("ne", other, other), other, chosen)

    # Selection: the machine has gt, lt, eq and ne; the other predicates are chains of selections.

    def _select(self, node: Node) -> Evaluated:
        condition, on_true, on_false = node.args
        if not condition.op.startswith("cmp_"):
            raise UnsupportedError("a selection by a stored mask has no lowering")
        left, right = (self.evaluate(argument) for argument in condition.args)
        yes, no = self.evaluate(on_true), self.evaluate(on_false)
        uniform = left.uniform and right.uniform and yes.uniform and no.uniform
        predicate = condition.op.removeprefix("cmp_")
        if all(any(_is_same(arm, side) for side in condition.args) for arm in (on_true, on_false)):
            # of two equal values either may be taken
            predicate = _ON_TIES_EITHER.get(predicate, predicate)
        a, b = self.row(left), self.operand(right)
        return Evaluated(self._chain(predicate, a, b, yes, no), uniform)

    def _chain(self, predicate: str, a: ir.Value, b: ir.Value, yes: Evaluated, no: Evaluated) -> ir.Value:
        steps = _CHAINS.get(predicate)
        if steps is None:
            raise UnsupportedError(f"comparison {predicate} has no lowering")
        start_true, tests = steps
        first, other = (yes, no) if start_true else (no, yes)
        result = self.row(first)
        for test in tests:
            result = self.builder.select(self.builder.compare(test, a, b), self.operand(other), result)
        return result


def _is_same(left: Node, right: Node) -> bool:
    """Whether two nodes are known to have the same value."""
    if left is right:
        return True
    return left.op == right.op in ("load", "constant") and (left.read, left.value) == (right.read, right.value)


# predicates that need two tests -> those that differ from them for equal values only and need one
_ON_TIES_EITHER = {"ugt": "uge", "ult": "ule", "oge": "ogt", "ole": "olt"}

# predicate -> (start from the true value?, tests that switch to the other value)
_CHAINS: dict[str, tuple[bool, Sequence[str]]] = {
    "ogt": (False, ("gt",)),
    "olt": (False, ("lt",)),
    "oeq": (False, ("eq",)),
    "une": (False, ("ne",)),
    "oge": (False, ("gt", "eq")),
    "ole": (False, ("lt", "eq")),
    "one": (False, ("gt", "lt")),
    "ugt": (True, ("lt", "eq")),
    "ult": (True, ("gt", "eq")),
    "uge": (True, ("lt",)),
    "ule": (True, ("gt",)),
    "ueq": (True, ("gt", "lt")),
}
