"""Causal masks of attention without a mask in memory: rows that limit scores, one below the other like stairs.

Row x of the stairs is +inf in lanes up to x and -inf in the others; a score is the smaller of itself and its limit. Of
a block of queries and a tile of keys the limits are rows of the stairs that follow one another, from the first one on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_plan import LANES, AttentionPlan
from atalla_mlir.codegen.attention_strata import VisibleTiles
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_transfers import Tiles
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import ROW_BYTES
from atalla_mlir.kernels.walks import Walk

STAIRS = "stairs"
HUGE = 2.0**127
"""Whose square is infinite."""
EDGE_ROWS = 8
"""Rows without or with all keys that are stored in an iteration."""


class StairWalk(Walk):
    """The first row of the stairs for each block of queries and tile of keys, beginning at row `start`.

    There are as many rows without keys before the stairs, and with all keys behind them, as a block has queries.
    """

    def __init__(self, builder: Builder, plan: AttentionPlan, start: ir.Value) -> None:
        self.plan = plan
        blocks, tiles = plan.queries, plan.keys
        super().__init__(
            builder,
            (plan.heads, blocks.count, tiles.count),
            {STAIRS: (0, blocks.size * ROW_BYTES, -tiles.size * ROW_BYTES)},
            keeps_levels=True,
            starts={STAIRS: builder.times(start, ROW_BYTES)},
        )

    def offsets(self, carried: Sequence[ir.Value]) -> dict[str, ir.Value]:
        """Within the stairs, which go on alike beyond both ends."""
        builder, blocks, tiles = self.builder, self.plan.queries, self.plan.keys
        row = super().offsets(carried)[STAIRS]
        for loop, parts, early in ((1, blocks, -blocks.excess), (2, tiles, tiles.excess)):
            if early:
                is_last = builder.equal_bits(self.counter(carried, loop), parts.count - 1)
                row = builder.plus(row, builder.both(is_last, early * ROW_BYTES))
        row = builder.at_least(builder.at_most(row, (LANES - 1) * ROW_BYTES), -blocks.size * ROW_BYTES)
        return {STAIRS: builder.plus(row, blocks.size * ROW_BYTES)}


def stair_places(plan: AttentionPlan, visible: VisibleTiles) -> list[int]:
    """The first row for the blocks and tiles that are seen, in bytes, where all keys come at once."""
    size, reach = plan.queries.size, plan.reach
    assert reach is not None
    rows = [plan.queries.start(block) + reach - plan.keys.start(tile) for block, tile in visible.points]
    return [(min(max(row, -size), LANES - 1) + size) * ROW_BYTES for row in rows]


def store_stairs(builder: Builder, plan: AttentionPlan, tiles: Tiles) -> None:
    """Fill the stairs, in each pad."""
    size = plan.queries.size
    hidden, shown = builder.splat(-math.inf), builder.splat(math.inf)
    edges = [(0, hidden), (size + LANES, shown)]

    def store(row: ir.Value, at: Index) -> None:
        for tile in tiles.pads:
            builder.tile_store(row, tile, at, LANES)

    def store_edges(start: Index, count: int) -> None:
        for first, row in edges:
            for at in range(count):
                store(row, start + (first + at))

    whole, rest = divmod(size, EDGE_ROWS)
    builder.repeat(whole, lambda index: store_edges(index.scaled(EDGE_ROWS), EDGE_ROWS))
    store_edges(Index(whole * EDGE_ROWS), rest)
    for lane in range(LANES):
        # lanes that are not loaded are zero; a mask for each row would be more masks than there are
        visible = builder.tile_load(tiles.pads[0], Index(size + LANES), lane + 1)
        lowered = builder.binary("sub", visible, builder.splat(HUGE))
        store(builder.binary("mul", lowered, builder.splat(HUGE)), Index(size + lane))
