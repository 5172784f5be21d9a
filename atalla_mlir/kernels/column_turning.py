"""Columns of a product that lie along the rows of their operand: the array turns them, in the pads.

As in `kernels.turned_tiles`, unit rows met by the rows of a tile give its columns, and where an element is infinite or
a NaN, all tiles are turned once more in the transpose unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_plan import PADS
from atalla_mlir.codegen.flow_plan import turning_feed
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.turn_plan import ColumnTurn
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_moves import ELEMENT_BYTES, Flow, FlowLoop, Level
from atalla_mlir.kernels.flow_loops import Area, ahead, fence, run_beside
from atalla_mlir.kernels.integer_builder import IntegerBuilder
from atalla_mlir.kernels.rings import ROW_BYTES
from atalla_mlir.kernels.turned_tiles import tiles_again, unit_rows
from atalla_mlir.kernels.walks import Walk

TILE_ROWS = LANES // PADS
TILE_BYTES = TILE_ROWS * ROW_BYTES
"""Of a tile in each pad."""


@dataclass(frozen=True)
class ColumnTurning:
    """Fetches tiles to `raw` and turns them to `cols`; both hold all slices of a block of columns, then the next one.

    Transfers that are switched off write to `sink`.
    """

    builder: IntegerBuilder
    turn: ColumnTurn
    cols: Area
    raw: Area
    sink: Area

    def emit(self, buffer: ir.Value, start: ir.Value) -> None:
        """From the operand that begins at address `start` of `buffer`."""
        builder, tiles = self.builder, self.turn.tiles
        flow = self._flow(buffer, start)
        FlowLoop(builder, flow).before()
        fence(builder, self.sink, buffer)
        units, zero = unit_rows(builder)
        walks = [Walk(builder, (tiles,), {name: (TILE_BYTES,)}) for name in ("raw", "cols")]

        def turn(offsets: dict[str, ir.Value], carried: Sequence[ir.Value]) -> list[ir.Value]:
            raw = self.raw.parts(builder, offsets["raw"], ahead("raw"))
            cols = self.cols.parts(builder, offsets["cols"], ahead("turned"))
            for row in reversed(range(LANES)):
                builder.push(builder.tile_load(raw[row % PADS], Index(row // PADS), LANES))
            for col, unit in enumerate(units):
                builder.tile_store(builder.gemm(unit), cols[col % PADS], Index(col // PADS), LANES)
            return [builder.binary("add", carried[0], builder.gemm(zero))]

        beside = [] if turning_feed(tiles).is_before else [flow]
        (flaws,) = run_beside(builder, walks, beside, [builder.zero()], turn)
        fence(builder, self.sink, buffer)
        self._turn_again(tiles_again(builder, flaws, tiles))
        fence(builder, self.sink, buffer)

    def _flow(self, buffer: ir.Value, start: ir.Value) -> Flow:
        turn, feed = self.turn, turning_feed(self.turn.tiles)
        pitch, excess = turn.source.stride(turn.depth), turn.blocks * LANES - turn.columns
        place = turn.blocks * turn.slices * TILE_BYTES
        levels = [
            Level(turn.blocks, LANES * ELEMENT_BYTES, turn.slices * TILE_BYTES, excess * ELEMENT_BYTES),
            Level(turn.slices, LANES * pitch * ELEMENT_BYTES, TILE_BYTES),
        ]
        for loop, count in reversed(turn.group):
            levels.insert(0, Level(count, turn.source.stride(loop) * ELEMENT_BYTES, place))
            place *= count
        sink = (self.sink.base - self.raw.base) * ROW_BYTES
        return Flow(
            "raw", "fetch", buffer, start, self.raw.tiles, sink, tuple(levels), TILE_ROWS, pitch, feed.first, feed.each
        )

    def _turn_again(self, tiles: ir.Value) -> None:
        """The first tiles, so many of them, in the transpose unit."""
        builder = self.builder

        def turn(_: object, carried: list[ir.Value]) -> list[ir.Value]:
            (offset,) = carried
            raw, cols = (area.parts(builder, offset, "again") for area in (self.raw, self.cols))
            for row in range(LANES):
                builder.transpose_push(builder.tile_load(raw[row % PADS], Index(row // PADS), LANES))
            for col in range(LANES):
                builder.tile_store(builder.transpose_pop(), cols[col % PADS], Index(col // PADS), LANES)
            return [builder.plus(offset, TILE_BYTES)]

        builder.counted_loop(tiles, [builder.index_constant(0)], turn)
