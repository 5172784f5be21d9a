"""Columns of a flowing product that lie along the rows of their operand: the array turns them, in the pads.

As in `kernels.turned_tiles`, unit rows met by the rows of a tile give its columns, and where an element is infinite or
a NaN, all tiles are turned once more in the transpose unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_plan import PADS
from atalla_mlir.codegen.flow_plan import FlowPlan
from atalla_mlir.codegen.product_plan import LANES
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
    """Fetches the tiles of a panel to `raw` and turns them to `cols`; both have the same order."""

    builder: IntegerBuilder
    plan: FlowPlan
    cols: Area
    raw: Area
    sink: Area

    def emit(self, buffer: ir.Value, start: ir.Value) -> None:
        """From the operand that begins at address `start` of `buffer`."""
        builder, tiles = self.builder, self.plan.turned_tiles
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

        beside = [] if self.plan.col_feed.is_before else [flow]
        (flaws,) = run_beside(builder, walks, beside, [builder.zero()], turn)
        fence(builder, self.sink, buffer)
        self._turn_again(tiles_again(builder, flaws, tiles))
        fence(builder, self.sink, buffer)

    def _flow(self, buffer: ir.Value, start: ir.Value) -> Flow:
        plan, source, feed = self.plan, self.plan.source, self.plan.col_feed
        assert source is not None
        depth = next(loop for loop in source.strides if loop not in (plan.col_loop, *self._batch))
        pitch = source.stride(depth)
        place = plan.cols.count * plan.slices * TILE_BYTES
        levels = [
            Level(plan.cols.count, LANES * ELEMENT_BYTES, plan.slices * TILE_BYTES, plan.cols.excess * ELEMENT_BYTES),
            Level(plan.slices, LANES * pitch * ELEMENT_BYTES, TILE_BYTES),
        ]
        for loop, count in reversed(plan.group):
            levels.insert(0, Level(count, source.stride(loop) * ELEMENT_BYTES, place))
            place *= count
        sink = (self.sink.base - self.raw.base) * ROW_BYTES
        return Flow(
            "raw", "fetch", buffer, start, self.raw.tiles, sink, tuple(levels), TILE_ROWS, pitch, feed.first, feed.each
        )

    @property
    def _batch(self) -> set[object]:
        return {*self.plan.outside, *(loop for loop, _ in self.plan.group)}

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
