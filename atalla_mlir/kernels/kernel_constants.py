"""Constants of a kernel: registers that are set once, at the top of its function."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np

from atalla_mlir._mlir import ir
from atalla_mlir.dialects.ax01_builder import Builder
from atalla_mlir.target.encoding import IMM12, IMM25U
from atalla_mlir.target.registers import ALL_ONES_MASK, RegisterFile

NUM_ZEROS = 4
NUM_VANISHING_ROWS = 2
VANISHING = -256.0
"""Its exponential is far below half of the smallest BF16 number, 2^-133, so that it rounds to +0.0."""
_SCALAR, _VECTOR, _MASK = RegisterFile.SCALAR, RegisterFile.VECTOR, RegisterFile.MASK


def float_bits(value: float) -> int:
    """The content of a scalar register that holds a BF16 number."""
    bits = int(np.asarray(value, np.float32).astype(ml_dtypes.bfloat16).view(np.uint16))
    return bits << 16


class KernelConstants:
    """Makes each constant when it is first asked for, before the operation `top`."""

    def __init__(self, builder: Builder) -> None:
        self.b = builder
        self.x0 = builder.get_register(_SCALAR, 0)
        self.v0 = builder.get_register(_VECTOR, 0)
        self.m0 = builder.get_register(_MASK, 0)
        self.m1 = builder.get_register(_MASK, ALL_ONES_MASK)
        self.top: ir.Operation | None = None
        """Set once there is an operation behind the fixed registers."""
        self.integers: dict[int, ir.Value] = {0: self.x0}
        self.lane_masks: dict[int, ir.Value] = {}
        self.zeros: list[ir.Value] = []
        self.zero_rows: list[ir.Value] = []
        self.vanishing_rows: list[ir.Value] = []
        self.one_row: ir.Value | None = None

    def _at_top(self, make: Callable[[], ir.Value]) -> ir.Value:
        assert self.top is not None
        outer, self.b.ip = self.b.ip, ir.InsertionPoint(self.top)
        try:
            return make()
        finally:
            self.b.ip = outer

    def integer(self, value: int) -> ir.Value:
        if value not in self.integers:
            self.integers[value] = self._at_top(lambda: self._load_immediate(value))
        return self.integers[value]

    def _load_immediate(self, value: int) -> ir.Value:
        """`addi.s`, or `lui.s` and, unless the low seven bits are 0, `addi.s`."""
        if IMM12.fits(value):
            return self.b.addi_s(self.x0, value)
        low = value & 0x7F
        upper = self.b.lui_s((value >> 7) & IMM25U.maximum)
        return self.b.addi_s(upper, low) if low else upper

    def lane_mask(self, bits: int) -> ir.Value:
        if bits == 0xFFFFFFFF:
            return self.m0
        if bits not in self.lane_masks:
            source = self.integer(bits)
            self.lane_masks[bits] = self._at_top(lambda: self.b.mv_stm(source))
        return self.lane_masks[bits]

    def low_lanes(self, count: int) -> ir.Value:
        return self.lane_mask((1 << count) - 1)

    def ones(self) -> ir.Value:
        """A row of ones: copies by it leave the scalar ports to loads and stores."""
        if self.one_row is None:
            one = self.integer(float_bits(1.0))
            self.one_row = self._at_top(lambda: self.b.add_vs(self.v0, one, self.m0))
        return self.one_row

    def zero(self) -> ir.Value:
        """A scalar register that holds 0, in turn one of several: a packet reads each bank once (5.3)."""
        if not self.zeros:
            self.zeros = [self.x0, *(self._at_top(lambda: self.b.lui_s(0)) for _ in range(NUM_ZEROS - 1))]
        self.zeros.append(self.zeros.pop(0))
        return self.zeros[0]

    def zero_row(self) -> ir.Value:
        if not self.zero_rows:
            self.zero_rows = [self.v0, self._at_top(lambda: self.b.mul_vs(self.v0, self.x0, self.m1))]
        self.zero_rows.append(self.zero_rows.pop(0))
        return self.zero_rows[0]

    def vanishing_row(self) -> ir.Value:
        """A row whose exponential is +0.0, in turn one of two."""
        if not self.vanishing_rows:
            scalar = self.integer(float_bits(VANISHING))
            self.vanishing_rows = [
                self._at_top(lambda: self.b.add_vs(self.v0, scalar, self.m0)) for _ in range(NUM_VANISHING_ROWS)
            ]
        self.vanishing_rows.append(self.vanishing_rows.pop(0))
        return self.vanishing_rows[0]

    def plus(self, base: ir.Value, distance: int) -> ir.Value:
        """A register plus a constant; `base` itself where the constant is 0."""
        if distance == 0:
            return base
        if IMM12.fits(distance):
            return self.b.addi_s(base, distance)
        return self.b.add_s(base, self.integer(distance))
