"""Rounding to integers, exact: numbers from 128 on are integers, and |x| + 128 rounds smaller ones to nearest even."""

from __future__ import annotations

from atalla_mlir._mlir import ir
from atalla_mlir.kernels.builder import Builder

_ALL_INTEGERS = 128.0


def round_even(builder: Builder, row: ir.Value) -> ir.Value:
    """The nearest integer; of two, the even one."""
    b = builder
    negative = b.compare("lt", row, b.constant(0.0))
    magnitude = b.masked_mul(negative, row, b.constant(-1.0))
    moved = b.binary("sub", b.binary("add", magnitude, b.constant(_ALL_INTEGERS)), b.constant(_ALL_INTEGERS))
    nearest = b.masked_mul(negative, moved, b.constant(-1.0))
    return b.select(b.compare("lt", magnitude, b.constant(_ALL_INTEGERS)), nearest, row)


def floor(builder: Builder, row: ir.Value) -> ir.Value:
    b = builder
    nearest = round_even(b, row)
    return b.masked_add(b.compare("gt", nearest, row), nearest, b.constant(-1.0))


def ceil(builder: Builder, row: ir.Value) -> ir.Value:
    b = builder
    nearest = round_even(b, row)
    return b.masked_add(b.compare("lt", nearest, row), nearest, b.constant(1.0))
