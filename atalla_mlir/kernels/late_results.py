"""Results of a tile that are made beside the steps of the following one.

In a step of a product the adder is busy with sums, while the multiplier has nothing to do. So a long epilogue, which
has more for the multiplier than for the adder, runs on some rows in each step of the next tile, and not in a loop of
its own. The sums wait in the pads; what is made of them has two staging areas, of which one is filled while the other
one is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.tile_cost import late_steps
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.tile_addresses import ROW_BYTES
from atalla_mlir.kernels.tile_moves import take
from atalla_mlir.kernels.tile_results import TileResults
from atalla_mlir.kernels.tile_rows import RowPlace, Rows
from atalla_mlir.kernels.tile_walk import TilePlan


@dataclass(frozen=True)
class LateResults:
    """Finishes the tile before the present one, `each` rows of each pad in a step.

    What the loop over tiles carries of it is the offset of its staging area, where its results go, and where the rows
    of its columns lie. The first tile has none before it: what its steps make of whatever lies in the pads goes where
    its own results will come to lie, ahead of these.
    """

    results: TileResults
    each: int

    def first(self, tile: TilePlan) -> list[ir.Value]:
        """What is carried into the first tile."""
        return [self.results.builder.index_constant(0), *tile.results, *tile.column]

    def step(self, number: Index, carried: Sequence[ir.Value], present: TilePlan) -> None:
        """The rows that an iteration of the steps of the present tile finishes; more of the last rows where all are."""
        builder, rows = self.results.builder, self.results.schedule.results
        last = max(0, rows.rows_per_pad - self.each)
        at = builder.index_value(number.scaled(self.each * ROW_BYTES))
        if self.each * late_steps(self.results.schedule) > rows.rows_per_pad:
            at = builder.at_most(at, last * ROW_BYTES)
        self._look_at(carried, present, "late", at)
        totals = [builder.tile_at(tile, at, "late") for tile in self.results.rows.totals]
        builder.saves_adder = True
        for row in range(self.each):
            for pad in range(min(self.results.pads, rows.num_pieces)):
                self.results.finish_row(RowPlace(pad, Index(row)), builder.tile_load(totals[pad], Index(row), LANES))
        builder.saves_adder = False

    def send(self, carried: Sequence[ir.Value], present: TilePlan) -> list[ir.Value]:
        """Finish the rows that are left behind the steps, and send the tile; tokens."""
        results, schedule = self.results, self.results.schedule
        self._look_at(carried, present, "sent")
        for row in range(schedule.rows.rows):
            pad, number = schedule.results.place(row)
            if number >= self.each * late_steps(schedule):
                total = results.builder.tile_load(results.rows.totals[pad], Index(number), LANES)
                results.finish_row(RowPlace(pad, Index(number)), total)
        return results.send(self._tile(carried, present).results)

    def following(self, carried: Sequence[ir.Value], tile: TilePlan, total: Rows) -> list[ir.Value]:
        """Store the sums of a tile, which the next one finishes; what is carried for it."""
        results = self.results
        results.store_totals(total)
        other = results.builder.differ(carried[0], results.rows.result_bytes)
        return [other, *tile.results, *tile.column]

    def finish(self, carried: Sequence[ir.Value], last: TilePlan) -> list[ir.Value]:
        """Finish and send the last tile, which none follows; tokens."""
        self._look_at(carried, last, "last")
        self.results.finish_in_loop(last)
        return self.results.send(self._tile(carried, last).results)

    def _tile(self, carried: Sequence[ir.Value], present: TilePlan) -> TilePlan:
        """The tile before."""
        rest = iter(carried[1:])
        return replace(present, results=take(rest, len(present.results)), column=take(rest, len(present.column)))

    def _look_at(self, carried: Sequence[ir.Value], present: TilePlan, use: str, at: ir.Value | None = None) -> None:
        """Say where the rows of the tile before lie, from `at` bytes on."""
        results, builder = self.results, self.results.builder
        buffer = carried[0] if at is None else builder.plus(carried[0], at)
        results.look_at(self._tile(carried, present), carried[0])
        for access in results.rows.epilogue.stored:
            areas = results.rows.result_tiles[access.buffer, access.offset]
            parts = [builder.tile_at(area, buffer, use) for area in areas]
            results.rows.staged.staging[access.buffer, access.offset] = parts
