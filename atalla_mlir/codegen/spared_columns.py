"""Blocks of columns of which the pads that rows are read from hold but a few: a pad reads one row in three cycles."""

from __future__ import annotations

from dataclasses import dataclass

from atalla_mlir.codegen.iteration import Access
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.row_blocks import Blocks

FEW, MANY = 4, 12
"""Columns in each pad of the spared pair, and in each of the others."""


@dataclass(frozen=True)
class SparedColumns(Blocks):
    """32 columns a block: piece p lies in pad p, the first columns in pads 0 and 1 in turn, the others in pads 2 and 3.

    The pair of pads from `spared` on holds few.
    """

    spared: int = 0

    @property
    def pieces_of_a_line(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.pads

    @property
    def num_pieces(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.pads

    @property
    def piece_rows(self) -> int:
        return MANY

    @property
    def rows_per_pad(self) -> int:
        return MANY

    @property
    def moved_by_pad(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tuple(map(self.rows_of_piece, range(self.pads)))

    def is_spared(self, pad: int) -> bool:
        return self.spared <= pad < self.spared + 2

    def rows_of_piece(self, piece: int) -> int:
        return FEW if self.is_spared(piece) else MANY

    def place(self, row: int) -> tuple[int, int]:
        pair = 0 if row < self._second_pair else 2
        return pair + row % 2, (row - (self._second_pair if pair else 0)) // 2

    def piece_offset(self, piece: int, access: Access) -> int:
        first = piece % 2 + (self._second_pair if piece >= 2 else 0)
        return first * self.strides(access)[1]

    @property
    def _second_pair(self) -> int:
        """The first column in pads 2 and 3."""
        return 2 * self.rows_of_piece(0)

    def pitch(self, access: Access) -> int:
        return 2 * self.strides(access)[1]


def spared_columns(cols: Blocks, first_pad: int) -> Blocks:
    """Such blocks for rows that lie in two pads from `first_pad` on; the same blocks where that cannot be."""
    if cols.width != LANES or cols.pads != 4:  # pairs of pads
        return cols
    return SparedColumns(cols.line_loop, cols.loop, cols.lines, cols.width, cols.pads, spared=first_pad)
