"""Polynomials of rows."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.kernels.builder import Builder


def polynomial(b: Builder, row: ir.Value, coefficients: Sequence[float]) -> ir.Value:
    """Horner's rule; `coefficients` ascend, the first may be zero."""
    *rest, last = coefficients
    result = b.binary("mul", row, b.constant(last))
    for coefficient in reversed(rest[1:]):
        result = b.binary("mul", row, b.binary("add", result, b.constant(coefficient)))
    return b.binary("add", result, b.constant(rest[0])) if rest[0] else result
