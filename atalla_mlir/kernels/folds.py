"""Folds of rows two by two."""

from __future__ import annotations

from collections.abc import Callable

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Combine
from atalla_mlir.kernels.builder import Builder


def combined(builder: Builder, combine: Combine | None, total: ir.Value, term: ir.Value) -> ir.Value:
    """Two rows as one; what is chosen from takes the register of `total`."""
    if combine is Combine.ADD:
        return builder.binary("add", total, term)
    predicate = "lt" if combine is Combine.MAX else "gt"
    return builder.select(builder.compare(predicate, total, term), term, total)


class PairwiseFold:
    """Folds values as they come, two of equal weight at a time, so that none is kept for long.

    The later of two is combined with the earlier: a result may take its first operand's register.
    """

    def __init__(self, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> None:
        self._combine = combine
        self._partial: list[tuple[int, ir.Value]] = []
        """How many values each stands for, and their fold; the weights fall."""

    def add(self, value: ir.Value) -> None:
        weight = 1
        while self._partial and self._partial[-1][0] == weight:
            value = self._combine(value, self._partial.pop()[1])
            weight *= 2
        self._partial.append((weight, value))

    def total(self) -> ir.Value:
        total = self._partial[-1][1]
        for _, value in reversed(self._partial[:-1]):
            total = self._combine(total, value)
        return total


def fold_depth(count: int) -> int:
    """Most combinations that one of `count` values takes part in."""
    return count.bit_length()
