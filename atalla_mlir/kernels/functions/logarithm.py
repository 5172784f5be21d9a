"""Logarithms: the power of two is taken off exactly, under masks, and counted; a polynomial does the rest."""

from __future__ import annotations

import math

from atalla_mlir._mlir import ir
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.functions.bound import TINY, UNIT, FunctionBound
from atalla_mlir.kernels.functions.polynomial import polynomial

LOG = FunctionBound(1.9 * UNIT, 0.0)
LOG1P = FunctionBound(1.9 * UNIT, TINY)

_HALF = math.sqrt(0.5)
"""The mantissa is brought to [_HALF, 2 * _HALF), where its logarithm is smallest."""
_LARGEST = float.fromhex("0x1.fep127")
# log(1 + f) / f - 1 for f in that interval minus one, relative error of the logarithm 2^-14
_SERIES = (0.0, -0.49953582, 0.33570743, -0.26991704, 0.17840812)
_LOG_2 = 177 / 256
"""log(2) rounded to BF16; the rest is a term of its own."""


def log(builder: Builder, row: ir.Value) -> ir.Value:
    """log(x) of every number, subnormal ones included; 0 gives -inf, negative numbers NaN."""
    b = builder
    mantissa, exponent = _split(b, row)
    result = _assembled(b, b.binary("sub", mantissa, b.constant(1.0)), exponent)
    return _with_ends(b, row, row, result)


def log1p(builder: Builder, row: ir.Value) -> ir.Value:
    """log(1 + x) with what 1 + x loses by rounding added to the mantissa of the sum, in the sum's scale."""
    b = builder
    total = b.binary("add", row, b.constant(1.0))
    lost = b.binary("sub", row, b.binary("sub", total, b.constant(1.0)))
    mantissa, exponent = _split(b, total)
    scale = b.exp(b.binary("mul", exponent, b.constant(-math.log(2.0))))
    fraction = b.binary("add", b.binary("sub", mantissa, b.constant(1.0)), b.binary("mul", lost, scale))
    return _with_ends(b, row, total, _assembled(b, fraction, exponent))


def _split(b: Builder, row: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Mantissa in [_HALF, 2 * _HALF) and exponent of positive finite numbers."""
    exponent = b.splat(0.0)
    for lift in (126, 8):  # the second for subnormal numbers
        small = b.compare("lt", row, b.constant(_HALF))
        row = b.masked_mul(small, row, b.constant(2.0**lift))
        exponent = b.masked_add(small, exponent, b.constant(-lift))
    for step in (64, 32, 16, 8, 4, 2, 1):
        reached = b.compare("gt", row, b.constant(_HALF * 2.0**step))
        row = b.masked_mul(reached, row, b.constant(2.0**-step))
        exponent = b.masked_add(reached, exponent, b.constant(step))
    return row, exponent


def _assembled(b: Builder, fraction: ir.Value, exponent: ir.Value) -> ir.Value:
    """exponent * log(2) + log(1 + fraction)."""
    correction = b.binary("mul", fraction, polynomial(b, fraction, _SERIES))
    low = b.binary("add", b.binary("mul", exponent, b.constant(math.log(2.0) - _LOG_2)), correction)
    return b.binary("add", b.binary("mul", exponent, b.constant(_LOG_2)), b.binary("add", fraction, low))


def _with_ends(b: Builder, row: ir.Value, operand: ir.Value, result: ir.Value) -> ir.Value:
    """`result` but for the ends: infinity of an infinite `row`, and by the sign of the logarithm's `operand`."""
    result = b.select(b.compare("gt", row, b.constant(_LARGEST)), b.constant(math.inf), result)
    result = b.select(b.compare("eq", operand, b.constant(0.0)), b.constant(-math.inf), result)
    return b.select(b.compare("lt", operand, b.constant(0.0)), b.constant(math.nan), result)
