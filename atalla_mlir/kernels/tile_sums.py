"""How the sums of a tile come about, step by step: in registers, and where there are many steps in two levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.tile_cost import num_additions, num_operations, overlaps_blocks
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.tile_rows import Rows, TileRows
from atalla_mlir.kernels.tile_walk import TilePlan


@dataclass
class Begun:
    """How far a tile is when the one before ends: its first step is computed, or the first one is added as well."""

    sums: Rows
    """Where sums have two levels, the totals that are kept in registers."""
    block: Rows
    """Where sums have two levels, those of one block: where blocks overlap what they hold is of the tile before."""
    terms: Rows
    """Products of the step that is added next."""
    steps: list[ir.Value]
    """What the loop over the steps carries besides; where it does all of them, tokens of what is fetched first."""


class TileSums:
    """Adds the products of steps."""

    def __init__(self, rows: TileRows) -> None:
        self.rows, self.builder, self.schedule = rows, rows.builder, rows.schedule
        self.adds_to_pads = self.schedule.depth.has_two_levels and not self.schedule.keeps_totals
        """Whether the totals of two-level sums lie in the pads."""
        depth = self.schedule.depth
        self.overlaps_blocks = overlaps_blocks(self.schedule, rows.epilogue.cost)
        """Whether the sums of a block are added to totals in registers under the first step of the next one."""
        self.has_two_blocks = self.overlaps_blocks and depth.steps <= 2 * depth.steps_in_sequence
        """Whether totals are the sums of one block, which they take over when the other one begins."""

    def sum_blocks(
        self,
        tile: TilePlan,
        begun: Begun,
        carried: list[ir.Value],
        step: Callable[[Index, list[ir.Value]], list[ir.Value]],
        further: Callable[[list[ir.Value]], tuple[Rows, list[ir.Value]]],
    ) -> tuple[Rows, list[ir.Value]]:
        """Add the steps in blocks, and the sums of all but the last one to totals in registers.

        Gives the totals and what is carried: first the sums of the last block. The first step of a block adds the sums
        of the block before to the totals, and the products of the second one take their place: blocks follow each other
        without a gap. In a tile's first block that addition is switched off, or, where there are but two blocks, its
        result means nothing.
        """
        depth, builder, count = self.schedule.depth, self.builder, self.schedule.rows.rows

        def summed(size: int, values: list[ir.Value]) -> list[ir.Value]:
            adds, totals, sums = values[0], values[1 : count + 1], values[count + 1 : 2 * count + 1]
            terms, values = values[2 * count + 1 : 3 * count + 1], values[3 * count + 1 :]
            if self.has_two_blocks:
                totals = self.started(tile, sums)
            else:
                mask = builder.lanes_of(adds)
                totals = [builder.masked_add(mask, *pair) for pair in zip(totals, sums, strict=True)]
            sums, values = further(values)
            values = builder.loop(size - 1, [*sums, *terms, *values], step)
            return [builder.index_constant(-1), *totals, *values]

        whole, last = divmod(depth.steps, depth.steps_in_sequence)
        values = [builder.index_constant(0), *begun.sums, *begun.block, *carried]
        values = builder.loop(whole, values, lambda _, values: summed(depth.steps_in_sequence, values))
        values = summed(last, values) if last else values
        return values[1 : count + 1], values[count + 1 :]

    def sum_blocks_apart(
        self, begun: Begun, carried: list[ir.Value], step: Callable[[Index, list[ir.Value]], list[ir.Value]]
    ) -> tuple[Rows, list[ir.Value]]:
        """Add the steps in blocks, and then the sums of each to totals, in registers or in the pads.

        Gives the totals in registers, and what is carried: first the sums of a block, which are cleared beside
        the addition.
        """
        depth, builder = self.schedule.depth, self.builder
        count, kept = self.schedule.rows.rows, len(begun.sums)

        def summed(size: int, values: list[ir.Value]) -> list[ir.Value]:
            totals, values = values[:kept], values[kept:]
            values = builder.loop(size, values, step)
            sums, values = values[:count], values[count:]
            if self.adds_to_pads:
                return [*self.add_to_totals(sums), *values]
            totals, sums = self.add(totals, sums), [builder.zero(exponential=True) for _ in sums]
            return [*totals, *sums, *values]

        whole, last = divmod(depth.steps, depth.steps_in_sequence)
        values = [*begun.sums, *begun.block, *carried]
        values = builder.loop(whole, values, lambda _, values: summed(depth.steps_in_sequence, values))
        values = summed(last, values) if last else values
        return values[:kept], values[kept:]

    def started(self, tile: TilePlan, sums: Rows) -> Rows:
        """The first sums of a tile with what they start from."""
        if self.rows.epilogue.initial is None:
            one = self.builder.constant(1.0)
            return [self.builder.binary("mul", row, one) for row in sums]
        rows = self.initial_rows(tile)
        return self.add([rows[row % 2] for row in range(len(sums))], sums)

    def begin_totals(self, tile: TilePlan) -> None:
        """Start the totals in the pads."""
        initial, totals = self.rows.initial_row(tile), self.rows.totals

        def begin(row: Index) -> None:
            for pad in totals:
                self.builder.tile_store(initial, pad, row, LANES)

        self.builder.repeat(self.schedule.results.rows_per_pad, begin)

    def add_to_totals(self, sums: Rows) -> Rows:
        """Add to the totals in the pads; gives the sums cleared."""
        rows, builder, totals = self.schedule.results, self.builder, self.rows.totals
        cleared: Rows = []
        for number, row in enumerate(sums):
            pad, at = rows.place(number)
            total = builder.binary("add", builder.tile_load(totals[pad], Index(at), LANES), row)
            builder.tile_store(total, totals[pad], Index(at), LANES)
            cleared.append(builder.zero(exponential=True))
        return cleared

    def add(self, left: Rows, right: Rows) -> Rows:
        return [self.builder.binary("add", a, b) for a, b in zip(left, right, strict=True)]

    def initial(self, tile: TilePlan) -> Rows:
        """What the sums of a tile start from, when they stay in registers."""
        if self.adds_to_pads:
            return []
        rows = range(self.schedule.rows.rows)
        if self.rows.epilogue.initial is None:
            return [self.builder.zero() for _ in rows]
        copies = self.initial_rows(tile)
        # where the adder has more to do for the results, the multiplier makes three of four: the others come last
        stages = self.rows.epilogue.stages
        is_busy = not self.rows.epilogue.in_loop(self.schedule) and 2 * num_additions(stages) > num_operations(stages)
        return [self.builder.copy(copies[row % 2], multiplies=is_busy and row % 2 == 0) for row in rows]

    def initial_rows(self, tile: TilePlan) -> Rows:
        """The row that sums start from in two registers, in banks that are read side by side."""
        return [self.rows.initial_row(tile) for _ in range(2)]
