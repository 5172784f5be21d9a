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


def affine_map(num_dims: int, forms: Sequence[tuple[int, Sequence[tuple[int, int]]]]) -> ir.AffineMapAttr:
    """The map whose results are `forms`: constant + sum(coefficient * dim), the terms as pairs (dim, coefficient)."""
    dims = [ir.AffineExpr.get_dim(at) for at in range(num_dims)]
    results: list[ir.AffineExpr] = []
    for constant, terms in forms:
        expression = ir.AffineExpr.get_constant(constant)
        for dim, coefficient in terms:
            expression = dims[dim] * coefficient + expression
        results.append(expression)
    return ir.AffineMapAttr.get(ir.AffineMap.get(num_dims, 0, results))


def signed_word(value: int) -> int:
    bits = value & 0xFFFFFFFF
    return bits - (1 << 32) if bits >> 31 else bits


def constant_index(value: ir.Value) -> int | None:
    """The value of an `arith.constant`; None of anything else."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "arith.constant":
        return None
    return signed_word(ir.IntegerAttr(owner.operation.attributes["value"]).value)
