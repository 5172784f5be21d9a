"""Functions made of e^x: the logistic function, tanh, erf, GELU and e^x - 1.

They share two ideas. Quotients with a denominator 1 + e, e in [0, 1], need no range reduction: a quadratic in e is
within one per cent of 1 / (1 + e), and one correction does the rest. The correction's residue, n - p - e p, is formed
so that the denominator is never rounded. Near zero, where 1 - e cancels, odd functions are polynomials x + x p(x^2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.functions.bound import TINY, UNIT, FunctionBound
from atalla_mlir.kernels.functions.polynomial import polynomial

SIGMOID = FunctionBound(1.65 * UNIT, TINY)
TANH = FunctionBound(1.8 * UNIT, TINY)
ERF = FunctionBound(2.4 * UNIT, TINY)
EXPM1 = FunctionBound(1.8 * UNIT, TINY)
GELU = FunctionBound(4.0 * UNIT, 1.25 * 2.0**-16)
GELU_TANH = FunctionBound(3.7 * UNIT, 2.0**-16)

# Coefficients ascend. 1 / (1 + e) on [0, 1], relative error 1 / 99.
_INVERSE = (98 / 99, -80 / 99, 32 / 99)
# f(x) / x - 1 in powers of x^2 below _NEAR_ZERO, relative error of f below 2^-13
_NEAR_ZERO = 0.6
_TANH_SERIES = (0.0, -0.33085944, 0.11005034)
_ERF_SERIES = (0.12834303, -0.37433605, 0.09935916)
# (e^x - 1) / x - 1 below 0.5
_EXPM1_SERIES = (0.0, 0.50007128, 0.16839463, 0.04155017)
# log(Phi(x) / Phi(-x)) / x in powers of x^2, Phi the normal distribution; the error for x < 4 is 0.002
_NORMAL_LOGIT = (1.59678686, 0.0738422515, -0.000737369397)
# log(2 Phi(x)) - x for x < 0, in powers of x: fitted to the error of GELU as it is rounded
_NORMAL_TAIL = (0.0, -0.220703125, -0.357421875, 0.01318359375)
# the same for GELU with approximate="tanh": -log((1 + e^-z) / 2) - x for x < 0, z = 2 sqrt(2 / pi) (x + 0.044715 x^3)
_TANH_TAIL = (0.0, -0.2119140625, -0.353515625, 0.0036163330078125, -0.004608154296875)
_LOGIT_END = 5.5


def sigmoid(builder: Builder, row: ir.Value) -> ir.Value:
    """1 / (1 + e^-x). 7 ALU, 6 MUL and two EXP operations; the second one stands for a copy."""
    b = builder
    positive = b.compare("gt", row, b.constant(0.0))
    power = b.exp(b.masked_mul(positive, b.again(row), b.constant(-1.0)))
    part = b.exp(b.select(positive, b.constant(0.0), b.again(row)))
    return _share(b, part, power)


def tanh(builder: Builder, row: ir.Value) -> ir.Value:
    """(1 - e) / (1 + e) with e = e^-2|x|, and the sign of x."""
    b = builder
    positive = b.compare("gt", row, b.constant(0.0))
    minus = b.masked_mul(positive, row, b.constant(-1.0))
    square = b.binary("mul", row, row)
    return _odd(b, row, positive, minus, square, b.exp(b.binary("mul", minus, b.constant(2.0))), _TANH_SERIES)


def error_function(builder: Builder, row: ir.Value) -> ir.Value:
    """2 Phi(sqrt(2) x) - 1, as a quotient like that of tanh."""
    b = builder
    positive = b.compare("gt", row, b.constant(0.0))
    minus = b.masked_mul(positive, row, b.constant(-1.0))
    square = b.binary("mul", row, row)
    slopes = [coefficient * math.sqrt(2.0) * 2.0**power for power, coefficient in enumerate(_NORMAL_LOGIT)]
    limited = _at_most(b, square, _LOGIT_END**2 / 2)
    power = b.exp(b.binary("mul", minus, polynomial(b, limited, slopes)))
    return _odd(b, row, positive, minus, square, power, _ERF_SERIES)


def gelu(builder: Builder, row: ir.Value) -> ir.Value:
    """x Phi(x), Phi the normal distribution. 6 ALU, 6 MUL and two EXP operations."""
    return _gated(builder, row, _NORMAL_TAIL)


def gelu_tanh(builder: Builder, row: ir.Value) -> ir.Value:
    """x / (1 + e^-z) with a cubic z. 7 ALU, 7 MUL and two EXP operations."""
    return _gated(builder, row, _TANH_TAIL)


def _gated(builder: Builder, row: ir.Value, tail: Sequence[float]) -> ir.Value:
    """x E for x < 0, x (1 - E) above, where E is a function of -|x|, and `tail` a polynomial for log 2 E + |x|.

    |x| is taken away because e^-|x| has an exact operand, and the rest is small where it matters: little is seen of
    the operands' rounding, which the exponential would multiply by them. Halving is exact. An infinite x meets
    1 - E = 1, or E = 0, of which the product is NaN as in PyTorch. x is loaded again where that keeps registers from
    being written over, or from being needed for long, and compared again for the same reason.
    """
    b, zero = builder, builder.constant(0.0)
    late = b.again(row)
    positive = b.compare("gt", row, zero)
    if b.saves_adder:
        minus, above = b.masked_mul(positive, b.again(row), b.constant(-1.0)), positive
    else:
        minus, above = b.masked_rsub(positive, b.again(row), b.splat(0.0)), None
    rest = b.binary("mul", b.exp(polynomial(b, minus, tail)), b.constant(0.5))
    share = b.binary("mul", rest, b.exp(minus))
    above = b.compare("gt", late, zero) if above is None else above
    return b.binary("mul", b.masked_rsub(above, share, b.splat(1.0)), late)


def expm1(builder: Builder, row: ir.Value) -> ir.Value:
    """e^x - 1."""
    b = builder
    far = b.binary("sub", b.exp(row), b.constant(1.0))
    near = b.binary("add", row, b.binary("mul", row, polynomial(b, row, _EXPM1_SERIES)))
    above = b.select(b.compare("gt", row, b.constant(-0.5)), near, far)
    return b.select(b.compare("gt", row, b.constant(0.5)), far, above)


def _at_most(b: Builder, row: ir.Value, limit: float) -> ir.Value:
    return b.select(b.compare("gt", row, b.constant(limit)), b.constant(limit), row)


def _share(b: Builder, part: ir.Value, power: ir.Value) -> ir.Value:
    """part / (1 + power) for power in [0, 1]."""
    estimate = polynomial(b, power, _INVERSE)
    quotient = b.binary("mul", estimate, part)
    residue = b.binary("sub", b.binary("sub", part, quotient), b.binary("mul", power, quotient))
    return b.binary("add", quotient, b.binary("mul", estimate, residue))


def _odd(
    b: Builder,
    row: ir.Value,
    positive: ir.Value,
    minus: ir.Value,
    square: ir.Value,
    power: ir.Value,
    series: Sequence[float],
) -> ir.Value:
    """(1 - power) / (1 + power) with the sign of `row`; x + x series(x^2) near zero. `minus` is -|x|."""
    part = b.masked_mul(positive, b.binary("sub", power, b.constant(1.0)), b.constant(-1.0))
    near = b.binary("add", row, b.binary("mul", row, polynomial(b, square, series)))
    return b.select(b.compare("gt", minus, b.constant(-_NEAR_ZERO)), near, _share(b, part, power))
