"""Values of attention turned through the array, tile by tile: unit rows met by the rows of a tile give its columns."""

from __future__ import annotations

from collections.abc import Mapping

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_plan import LANES, PADS, AttentionPlan
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_images import OperandRows
from atalla_mlir.kernels.attention_moves import ahead
from atalla_mlir.kernels.attention_transfers import Tiles
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import ROW_BYTES
from atalla_mlir.kernels.walks import Walk

TILE_ROWS = LANES // PADS
"""Rows of a tile in each pad."""


class ValueTurning:
    """Turns some tiles in each iteration of a loop, from `values` to `turned`.

    In iterations beyond the tiles, the last one is turned into rows that nobody reads.
    """

    def __init__(
        self, builder: Builder, plan: AttentionPlan, values: OperandRows, turned: Tiles, scratch: Tiles
    ) -> None:
        self.builder, self.plan, self.values, self.turned = builder, plan, values, turned
        self.units = _unit_rows(builder, scratch.pads[0])

    def walk(self, iterations: int, starts: Mapping[str, ir.Value]) -> Walk:
        """Through all tiles; `starts` are bytes to those of a group of heads, where there are several."""
        begins = {"values": self.values.begin * ROW_BYTES}
        plan, values, together = self.plan, self.values, self.plan.turned_together
        if plan.has_run_of_values:
            steps = {"values": (together * values.block * ROW_BYTES,), "turned": (together * TILE_ROWS * ROW_BYTES,)}
            return Walk(self.builder, (iterations,), steps, begins=begins, starts=starts)
        tiles, parts = plan.key_tiles, plan.width_tiles
        # those that are turned together are of one slice, or of two where each has but one
        extents = (parts, tiles // together) if tiles % together == 0 else (parts // together, tiles)
        count, across = parts // extents[0], tiles // extents[1]
        moved = (*values.heads, count * values.slice, across * values.block)
        turned = (*plan.head_strides(parts * tiles * TILE_ROWS), count * tiles * TILE_ROWS, across * TILE_ROWS)
        return Walk(
            self.builder,
            (*plan.head_extents, *extents),
            {"values": values.bytes_of(*moved), "turned": values.bytes_of(*turned)},
            begins=begins,
            starts=starts,
        )

    @property
    def _piece_rows(self) -> int:
        """Of values, from one to the next of those that are turned together."""
        plan, values = self.plan, self.values
        is_of_a_slice = plan.has_run_of_values or plan.key_tiles % plan.turned_together == 0
        return values.block if is_of_a_slice else values.slice

    def emit(self, offsets: Mapping[str, ir.Value]) -> None:
        """One iteration."""
        plan, builder = self.plan, self.builder
        values_end = self.values.image_rows or plan.value_pieces * self.values.block
        limits = {
            "values": values_end - self.values.block,
            "turned": plan.value_pieces * TILE_ROWS,
        }
        values, turned = (
            [builder.tile_at(tile, self._limited(offsets[name], limits[name]), ahead(name)) for tile in tiles.pads]
            for name, tiles in (("values", self.values.tiles), ("turned", self.turned))
        )
        for piece in range(plan.turned_together):
            for key in reversed(range(LANES)):
                if key >= plan.keys.size:
                    builder.push(builder.splat(0.0))
                    continue
                row = Index(piece * self._piece_rows + key // len(values))
                builder.push(builder.tile_load(values[key % len(values)], row, LANES))
            for lane in range(LANES):
                row = piece * TILE_ROWS + lane // PADS
                builder.tile_store(builder.gemm(self.units[lane]), turned[lane % PADS], Index(row), LANES)

    def _limited(self, offset: ir.Value, last: int) -> ir.Value:
        """Not beyond a row."""
        return self.builder.at_most(offset, last * ROW_BYTES) if self.plan.turns_beside else offset


def _unit_rows(builder: Builder, tile: ir.Value) -> list[ir.Value]:
    """Rows with a one in lane k: differences of rows whose first lanes are ones; `tile` has a row for these."""
    units: list[ir.Value] = []
    builder.tile_store(builder.splat(1.0), tile, Index(), LANES)
    before = None
    for lane in range(LANES):
        ones = builder.tile_load(tile, Index(), lane + 1)
        units.append(ones if before is None else builder.binary("sub", ones, before))
        before = ones
    return units
