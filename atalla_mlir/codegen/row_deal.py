"""How the rows of a block of an attention are dealt out over the pads: in order, or from both halves in turn."""

from __future__ import annotations

from dataclasses import dataclass

from atalla_mlir.codegen.pad_images import HALVES

PADS = 4


@dataclass(frozen=True)
class RowDeal:
    """Row r of a block lies in pad r mod 4.

    In order, that is row r from where the block begins. Where rows lie in two halves of `half` rows, as those of a
    matrix that stays in the pads do, even rows of a block are of the upper half and odd ones of the lower half: a block
    of 64 rows is 32 rows of each half.
    """

    half: int = 0
    """Zero where rows are in order."""

    @property
    def sides(self) -> int:
        return HALVES if self.half else 1

    @property
    def step(self) -> int:
        """Rows in DRAM from a row of a pad to the next one."""
        return PADS // self.sides

    def first(self, pad: int) -> int:
        """The first row of a pad, in DRAM, from where the block begins."""
        return pad % self.sides * self.half + pad // self.sides


IN_ORDER = RowDeal()
