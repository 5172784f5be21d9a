"""The first columns of a product, fetched while the product before it computes: some steps of them with each tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.tile_schedule import TileSchedule
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.tile_addresses import ELEMENT_BYTES, ROW_BYTES
from atalla_mlir.target.encoding import DmaShape


@dataclass(frozen=True)
class EarlyColumns:
    """`schedule` is that of the later product, `operands` are its tiles, one for each pad; `matrix` is its buffer.

    Each tile of the product before fetches `each` steps of the first block of columns.
    """

    builder: Builder
    schedule: TileSchedule
    operands: Sequence[ir.Value]
    matrix: ir.Value
    each: int

    @property
    def num_transfers(self) -> int:
        """Of a tile."""
        return self.each * self.schedule.cols.num_pieces

    def fetch(self, tile: Index, num_tiles: int) -> list[ir.Value]:
        """Tokens of what tile number `tile` of `num_tiles` fetches; steps that do not exist move one element."""
        builder, steps = self.builder, self.schedule.depth.steps
        tokens: list[ir.Value] = []
        for at in range(self.each):
            step = builder.index_value(tile.scaled(self.each) + at)
            exists = builder.index_constant(-1)
            if num_tiles * self.each > steps:
                exists = builder.is_negative(builder.plus(step, -steps))
            tokens += [self._fetch_piece(piece, step, exists) for piece in range(self.schedule.cols.num_pieces)]
        return tokens

    def _fetch_piece(self, piece: int, step: ir.Value, exists: ir.Value) -> ir.Value:
        builder, schedule, blocks, access = self.builder, self.schedule, self.schedule.cols, self.schedule.pushed
        pad, rows = piece % blocks.pads, blocks.rows_of_piece(piece)
        shape = DmaShape(pad, rows, LANES, blocks.pitch(access) if rows > 1 else LANES).encode()
        row = schedule.outer_base + piece // blocks.pads * blocks.piece_rows
        target = builder.plus(builder.times(step, blocks.rows_per_pad * ROW_BYTES), row * ROW_BYTES)
        first = (access.offset + blocks.piece_offset(piece, access)) * ELEMENT_BYTES
        address = builder.plus(builder.address(self.matrix), first)
        nothing = builder.index_constant(DmaShape(pad, 1, 1, 1).encode())
        return builder.transfer(
            "fetch",
            self.operands[pad],
            builder.select_bits(exists, target, builder.index_constant(schedule.sink_row * ROW_BYTES)),
            builder.plus(address, builder.both(exists, builder.times(step, LANES * ELEMENT_BYTES))),
            builder.select_bits(exists, builder.index_constant(shape), nothing),
            [self.matrix],
            rows=rows,
            cols=LANES,
        )
