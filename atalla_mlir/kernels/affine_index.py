"""Affine expressions of loop variables, and known values of indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir


@dataclass(frozen=True)
class Index:
    """An affine expression of loop variables: constant + sum(coefficient * variable)."""

    constant: int = 0
    terms: tuple[tuple[ir.Value, int], ...] = ()

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.constant + other, self.terms)
        merged = dict(self.terms)
        for variable, coefficient in other.terms:
            merged[variable] = merged.get(variable, 0) + coefficient
        return Index(self.constant + other.constant, tuple(merged.items()))

    def scaled(self, factor: int) -> Index:
        return Index(self.constant * factor, tuple((variable, factor * c) for variable, c in self.terms))


def affine_map(indices: Sequence[Index]) -> tuple[ir.AffineMapAttr, list[ir.Value]]:
    """The map (variables) -> indices, and the variables in the order of its dims."""
    variables = list(dict.fromkeys(variable for index in indices for variable, _ in index.terms))
    dims = {variable: ir.AffineExpr.get_dim(at) for at, variable in enumerate(variables)}
    results = []
    for index in indices:
        expression = ir.AffineExpr.get_constant(index.constant)
        for variable, coefficient in index.terms:
            expression = dims[variable] * coefficient + expression
        results.append(expression)
    return ir.AffineMapAttr.get(ir.AffineMap.get(len(variables), 0, results)), variables


def signed_word(value: int) -> int:
    bits = value & 0xFFFFFFFF
    return bits - (1 << 32) if bits >> 31 else bits


def constant_index(value: ir.Value) -> int | None:
    """The value of an `arith.constant`; None of anything else."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "arith.constant":
        return None
    return signed_word(ir.IntegerAttr(owner.operation.attributes["value"]).value)
