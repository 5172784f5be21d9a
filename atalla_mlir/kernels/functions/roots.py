"""Reciprocal, square root and its reciprocal, of which the machine has scalar forms only.

Ranges are reduced exactly: masks tell which lanes to multiply by a power of two, and the same power goes into a running
scale. On what is left, a linear seed and Newton steps; the last step adds a correction, which costs one rounding less.
The bounds hold for every BF16 input whose magnitude is not subnormal (a test runs all of them); subnormal operands
count as small numbers, of which only the order of magnitude of the result is right.
"""

from __future__ import annotations

import math

from atalla_mlir._mlir import ir
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.functions.bound import TINY, UNIT, FunctionBound

RECIPROCAL = FunctionBound(1.4 * UNIT, TINY)
RECIPROCAL_ROOT = FunctionBound(1.2 * UNIT, 0.0)
SQUARE_ROOT = FunctionBound(1.6 * UNIT, TINY)

_SMALL = 2.0**126
"""Brings every normal number below one to one or above."""
_LARGEST = float.fromhex("0x1.fep127")
_BELOW_ONE = 1 - 2.0**-8
"""The greatest BF16 number below one: x > 2^s * this means x >= 2^s."""
# seeds on [1, 2) and [1, 4): first minus second times x
_RECIPROCAL_SEED = (1.4118, 0.4706)
_ROOT_SEED = (1.13, 0.14)


def reciprocal(builder: Builder, row: ir.Value) -> ir.Value:
    """1 / x in each lane; 0 gives +inf, infinities give +0. 12 ALU and 25 MUL operations."""
    b = builder
    negative = b.compare("lt", row, b.constant(0.0))
    magnitude = b.masked_mul(negative, row, b.constant(-1.0))
    reduced, scale = _reduce(b, magnitude, [2.0**s for s in (64, 32, 16, 8, 4, 2, 1)], _SMALL, _SMALL, power=1.0)
    minus = b.binary("mul", reduced, b.constant(-1.0))
    first, slope = _RECIPROCAL_SEED
    estimate = b.binary("add", b.binary("mul", minus, b.constant(slope)), b.constant(first))
    estimate = b.binary("mul", estimate, b.binary("add", b.binary("mul", minus, estimate), b.constant(2.0)))
    residue = b.binary("add", b.binary("mul", minus, estimate), b.constant(1.0))
    estimate = b.binary("add", estimate, b.binary("mul", estimate, residue))
    result = b.masked_mul(negative, b.binary("mul", estimate, scale), b.constant(-1.0))
    return b.select(b.compare("gt", magnitude, b.constant(_LARGEST)), b.constant(0.0), result)


def reciprocal_root(builder: Builder, row: ir.Value) -> ir.Value:
    """1 / sqrt(x) in each lane; 0 gives +inf, +inf gives +0, negative numbers NaN."""
    b = builder
    result = _root_of_reciprocal(b, row)
    result = b.select(b.compare("gt", row, b.constant(_LARGEST)), b.constant(0.0), result)
    result = b.select(b.compare("eq", row, b.constant(0.0)), b.constant(math.inf), result)
    return b.select(b.compare("lt", row, b.constant(0.0)), b.constant(math.nan), result)


def square_root(builder: Builder, row: ir.Value) -> ir.Value:
    """sqrt(x) in each lane, as x / sqrt(x); negative numbers give NaN."""
    b = builder
    result = b.binary("mul", row, _root_of_reciprocal(b, row))
    result = b.select(b.compare("gt", row, b.constant(_LARGEST)), b.constant(math.inf), result)
    return b.select(b.compare("lt", row, b.constant(0.0)), b.constant(math.nan), result)


def _root_of_reciprocal(b: Builder, row: ir.Value) -> ir.Value:
    """1 / sqrt(x) of positive finite numbers, finite at zero. 8 compares, 5 additions and about 26 products."""
    reduced, scale = _reduce(b, row, [4.0**s for s in (32, 16, 8, 4, 2, 1)], _SMALL, math.sqrt(_SMALL), power=0.5)
    half = b.binary("mul", reduced, b.constant(-0.5))
    first, slope = _ROOT_SEED
    estimate = b.binary("add", b.binary("mul", reduced, b.constant(-slope)), b.constant(first))
    for _ in range(2):
        square = b.binary("mul", b.binary("mul", half, estimate), estimate)
        estimate = b.binary("mul", estimate, b.binary("add", square, b.constant(1.5)))
    square = b.binary("mul", b.binary("mul", half, estimate), estimate)
    residue = b.binary("add", square, b.constant(0.5))
    estimate = b.binary("add", estimate, b.binary("mul", estimate, residue))
    return b.binary("mul", estimate, scale)


def _reduce(
    b: Builder, row: ir.Value, steps: list[float], lift: float, lift_scale: float, *, power: float
) -> tuple[ir.Value, ir.Value]:
    """`row` divided by those of `steps` (descending) that it reaches, and the product of (1 / step)^power of them.

    Numbers below one are multiplied by `lift` first, and their scale by `lift_scale`. All products are exact.
    """
    small = b.compare("lt", row, b.constant(1.0))
    reduced = b.masked_mul(small, row, b.constant(lift))
    scale = b.select(small, b.constant(lift_scale), b.splat(1.0))
    for step in steps:
        reached = b.compare("gt", reduced, b.constant(step * _BELOW_ONE))
        reduced = b.masked_mul(reached, reduced, b.constant(1.0 / step))
        scale = b.masked_mul(reached, scale, b.constant(step**-power))
    return reduced, scale
