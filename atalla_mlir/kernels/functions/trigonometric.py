"""Sine and cosine of moderate angles.

First the magnitude is brought below 100.5 by taking off multiples of 100.5, which is 32 pi but for 1/32 and a small
rest. Then sin(x) = +-sin(x - h pi) with h whole, cos(x) = +-sin(x - h pi) with h half of an odd number. pi is taken as
3 + 1/8 + 1/64 + rest: for |h| <= 42 the products with the first three are exact, and so are the differences in this
order but for small x, where sin(r) is flat.
"""

from __future__ import annotations

import math

from atalla_mlir._mlir import ir
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.functions.bound import TINY, UNIT, FunctionBound
from atalla_mlir.kernels.functions.polynomial import polynomial

LIMIT = 1600.0
"""The largest angle; sine and cosine of greater ones are NaN."""
SINE = FunctionBound(2 * UNIT, TINY)
COSINE = FunctionBound(2 * UNIT, 2.0**-15)

_TO_INTEGER = 192.0
"""The sum of this and a number below 64 in magnitude is rounded to an integer."""
_CIRCLES = 100.5
_MORE = 2.0**-5
_LESS = _CIRCLES + _MORE - 32 * math.pi
_PARTS = (3.0, 2.0**-3, 2.0**-6)
_REST = math.pi - sum(_PARTS)
# sin(r) / r - 1 in powers of r^2 for |r| < 1.59, relative error 2^-12
_SERIES = (0.0, -0.16610184, 0.00763994)


def sine(builder: Builder, row: ir.Value) -> ir.Value:
    """sin(x) for |x| <= LIMIT."""
    b = builder
    negative = b.compare("lt", row, b.constant(0.0))
    result = _sine(b, b.masked_mul(negative, row, b.constant(-1.0)), is_cosine=False)
    return b.masked_mul(negative, result, b.constant(-1.0))


def cosine(builder: Builder, row: ir.Value) -> ir.Value:
    """cos(x) for |x| <= LIMIT, as sin(|x| + pi / 2)."""
    b = builder
    negative = b.compare("lt", row, b.constant(0.0))
    return _sine(b, b.masked_mul(negative, row, b.constant(-1.0)), is_cosine=True)


def _sine(b: Builder, angle: ir.Value, *, is_cosine: bool) -> ir.Value:
    """sin(angle) or sin(angle + pi/2) for angles that are not negative."""
    rest, circles = angle, b.splat(0.0)
    for step in (8.0, 4.0, 2.0, 1.0):
        reached = b.compare("gt", rest, b.constant(step * _CIRCLES * (1 - 2.0**-8)))
        rest = b.masked_add(reached, rest, b.constant(-step * _CIRCLES))
        circles = b.masked_add(reached, circles, b.constant(step))
    excess = b.binary("mul", circles, b.constant(_MORE))
    turns = b.binary("mul", b.binary("sub", rest, excess), b.constant(1 / math.pi))
    turns = _nearest(b, b.binary("add", turns, b.constant(0.5)) if is_cosine else turns)
    multiple = b.binary("sub", turns, b.constant(0.5)) if is_cosine else turns
    for part in _PARTS:
        rest = b.binary("sub", rest, b.binary("mul", multiple, b.constant(part)))
    rest = b.binary("add", b.binary("sub", rest, excess), b.binary("mul", circles, b.constant(_LESS)))
    rest = b.binary("sub", rest, b.binary("mul", multiple, b.constant(_REST)))
    series = polynomial(b, b.binary("mul", rest, rest), _SERIES)
    result = b.binary("add", rest, b.binary("mul", rest, series))
    half = b.binary("mul", turns, b.constant(0.5))
    result = b.masked_mul(b.compare("ne", half, _nearest(b, half)), result, b.constant(-1.0))
    return b.select(b.compare("gt", angle, b.constant(LIMIT)), b.constant(math.nan), result)


def _nearest(b: Builder, row: ir.Value) -> ir.Value:
    return b.binary("sub", b.binary("add", row, b.constant(_TO_INTEGER)), b.constant(_TO_INTEGER))
