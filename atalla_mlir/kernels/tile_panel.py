"""The tiles of a panel: the next operands move, and results leave, while the array computes.

For each tile a loop over the steps of the depth adds the results of one step while the array works on the next one, and
fetches one step of the block that is needed next. In the last iteration the array begins with the following tile, whose
place is computed with selections instead of branches: all tiles of a panel are one loop. The epilogue writes results to
a staging area that is sent to DRAM under the next tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Buffer, Loop
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.tile_cost import plans_in_steps
from atalla_mlir.codegen.tile_schedule import TileSchedule
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.early_columns import EarlyColumns
from atalla_mlir.kernels.late_results import LateResults
from atalla_mlir.kernels.tile_addresses import Panel, TileAddresses
from atalla_mlir.kernels.tile_moves import take
from atalla_mlir.kernels.tile_results import TileResults
from atalla_mlir.kernels.tile_rows import Rows, TileRows
from atalla_mlir.kernels.tile_sums import Begun, TileSums
from atalla_mlir.kernels.tile_walk import Plan, State, TileWalk


class PanelKernel(Protocol):
    """What a panel knows of its product."""

    builder: Builder
    schedule: TileSchedule
    pads: int
    rows: TileRows
    buffers: dict[Buffer, ir.Value]
    operands: list[ir.Value]
    resident: Sequence[ir.Value]
    has_columns: bool
    early: EarlyColumns | None


@dataclass
class _Tile:
    """What the loop over tiles carries.

    `staged`, what comes for the epilogue, is the offset of its buffer, then tokens; empty where nothing comes.
    """

    state: State
    begun: Begun
    staged: list[ir.Value]
    late: list[ir.Value]
    """Of the tile before, where that is finished beside this one; else empty."""


class TilePanel:
    """All tiles of `count` inner blocks from block `first` on; `panel` says what the one before has left."""

    def __init__(
        self, kernel: PanelKernel, batch: dict[Loop, Index], first: Index, count: int, panel: Panel | None = None
    ) -> None:
        self.kernel, self.count = kernel, count
        self.builder, self.schedule, self.pads = kernel.builder, kernel.schedule, kernel.pads
        self.results = [*kernel.rows.epilogue.stored, *kernel.rows.epilogue.staged_reads]
        has_columns = bool(kernel.rows.epilogue.column_reads)
        self.addresses = TileAddresses(
            self.builder,
            self.schedule,
            kernel.buffers,
            kernel.operands,
            batch,
            first,
            count,
            self.results,
            kernel.resident,
            panel,
        )
        rows = kernel.rows
        self.walk = TileWalk(
            self.addresses,
            has_columns=has_columns,
            kept=rows.kept,
            images=rows.images,
            is_filled=kernel.has_columns,
        )
        self.moves = self.walk.moves
        self.plans_in_steps = plans_in_steps(self.schedule, kernel.rows.epilogue.cost)
        """Whether the addresses of the next tile are computed anew in each step, where scalar instructions are free."""
        self.joins = self.schedule.joins_tiles
        """Whether a tile ends with the second step of the following one: the array works while rows are finished."""
        self.sums = TileSums(kernel.rows)
        self.finish = TileResults(kernel.rows, self.addresses, kernel.buffers, begins_totals=self.sums.adds_to_pads)
        each = rows.epilogue.late_rows(self.schedule)
        self.late = LateResults(self.finish, each) if each else None
        self.num_tiles = self.schedule.outer.num_blocks * count

    def emit(self) -> None:
        walk, builder = self.walk, self.builder
        if not self.kernel.has_columns:
            self.moves.fill()
        first = walk.plan(self.addresses.first())
        fetched = self.moves.fetch_first(first.tile.moves)
        early = self.kernel.early
        num_sent = len(self.finish.sends()) + (early.num_transfers if early is not None else 0)
        idle = [builder.ready() for _ in range(num_sent)]
        following = self._following(first)
        staged = self.finish.fetch_staged(first.tile, builder.index_constant(0))
        if self.sums.adds_to_pads:
            self.sums.begin_totals(first.tile)
        block, totals = (
            [builder.zero() for _ in range(self.schedule.rows.rows * is_carried)]
            for is_carried in (self.schedule.depth.has_two_levels, self.sums.has_two_blocks)
        )
        products = self._slice(first.tile.rows, first.tile.cols)
        begun = self._begin(first, following, lambda: fetched, block, totals, products)
        state = State(first.tile, first.ahead, following, idle)
        late = [] if self.late is None else self.late.first(first.tile)
        sizes = [len(begun.sums), len(begun.block), len(begun.terms), len(begun.steps), len(staged), len(late)]

        def unpack(values: Sequence[ir.Value]) -> _Tile:
            rest = iter(values)
            sums, block, terms, steps, staged, late = (take(rest, size) for size in sizes)
            return _Tile(walk.unpack(list(rest)), Begun(sums, block, terms, steps), staged, late)

        def tile(number: Index, carried: list[ir.Value]) -> list[ir.Value]:
            following = self._tile(unpack(carried))
            if early is not None:
                following.state.sent.extend(early.fetch(number, self.num_tiles))
            return self._pack(following)

        last = unpack(builder.loop(self.num_tiles, self._pack(_Tile(state, begun, staged, late)), tile))
        tokens = walk.unpack_steps(last.begun.steps).tokens if self.joins else last.begun.steps
        sent = [] if self.late is None else self.late.finish(last.late, last.state.tile)
        builder.wait([*tokens, *last.staged[1:], *last.state.sent, *sent])

    def _pack(self, tile: _Tile) -> list[ir.Value]:
        begun = tile.begun
        return [*begun.sums, *begun.block, *begun.terms, *begun.steps, *tile.staged, *tile.late, *tile.state.pack()]

    def _following(self, plan: Plan) -> Plan:
        """The plan of the tile after one; a place for it where it is made in the steps, and not needed before."""
        if self.plans_in_steps and not (self.joins and self.schedule.depth.steps == 2):
            return plan
        return self.walk.plan(plan.ahead)

    def _begin(
        self, plan: Plan, following: Plan, fetch: Callable[[], list[ir.Value]], block: Rows, totals: Rows, first: Rows
    ) -> Begun:
        """What the loop over the steps of a tile starts from. `first` are the products of its first step.

        `fetch` starts what comes before the first iteration, and gives its tokens; `block` and `totals` are sums of the
        tile before.
        """
        tile, walk = plan.tile, self.walk
        if not self.joins:
            fetched = fetch()
            return Begun(totals if self.sums.has_two_blocks else self.sums.initial(tile), block, first, fetched)
        if self.kernel.rows.epilogue.initial is None:
            steps = walk.first_steps(tile, [])
            sums, terms = self._slice(steps.rows, steps.cols), first
        else:
            sums = self.sums.started(tile, first)
            # products may now take the registers of those before
            steps = walk.first_steps(tile, [])
            terms = self._slice(steps.rows, steps.cols)
        second = walk.step(steps, tile.moves, following.tile, fetches=False)
        second.tokens = fetch()
        return Begun(sums, block, terms, second.pack())

    # Tiles

    def _slice(self, row_bytes: ir.Value, column_bytes: ir.Value) -> Rows:
        """Products of all rows of a tile with a step of its columns, which begin that many bytes into the pads."""
        schedule, builder, lanes = self.schedule, self.builder, self.schedule.depth.lanes
        rows, cols = self.addresses.parts((row_bytes, column_bytes))
        for col in reversed(range(LANES)):
            if col < schedule.cols.width:
                pad, at = schedule.cols.place(col)
                builder.push(builder.tile_load(cols[pad], Index(at), lanes))
            else:
                builder.push(builder.splat(0.0))
        products: dict[int, ir.Value] = {}
        for row in schedule.rows.order:
            pad, at = schedule.rows.place(row)
            products[row] = builder.gemm(builder.tile_load(rows[pad], Index(at), lanes))
        return [products[row] for row in range(schedule.rows.rows)]

    def _tile(self, present: _Tile) -> _Tile:
        """Finish the tile whose first step is in `terms`, and begin with the following one.

        Each iteration adds the step before: the array's results are then there long before they are needed.
        """
        walk, builder, depth, state = self.walk, self.builder, self.schedule.depth, present.state
        count, size, begun = self.schedule.rows.rows, len(state.plan.pack()), present.begun
        if depth.steps == 1:
            builder.wait(begun.steps)

        def further(carried: list[ir.Value]) -> tuple[Rows, list[ir.Value]]:
            """Products of the next step, and what is carried besides sums and terms."""
            steps, kept = walk.unpack_steps(carried[size:]), carried[:size]
            plan = walk.plan(state.following) if self.plans_in_steps else walk.unpack_plan(kept)
            at = plan.tile if depth.steps == 1 else steps
            computed = self._slice(at.rows, at.cols)
            return computed, [*plan.pack(), *walk.step(steps, state.tile.moves, plan.tile).pack()]

        def step(number: Index, carried: list[ir.Value]) -> list[ir.Value]:
            sums, terms = carried[:count], carried[count : 2 * count]
            added = self.sums.add(sums, terms)
            computed, rest = further(carried[2 * count :])
            if self.late is not None:
                self.late.step(number, present.late, state.tile)
            return [*added, *computed, *rest]

        steps = begun.steps if self.joins else walk.first_steps(state.tile, begun.steps).pack()
        carried = [*begun.terms, *state.plan.pack(), *steps]
        block: Rows = []
        totals: Rows = []
        total: Rows = []
        if self.sums.overlaps_blocks:
            totals, carried = self.sums.sum_blocks(state.tile, begun, carried, step, further)
            block, carried = carried[:count], carried[count:]
            total = self.sums.add(totals, block)
        elif depth.has_two_levels:
            total, carried = self.sums.sum_blocks_apart(begun, carried, step)
            block, carried = carried[:count], carried[count:]
        else:
            extent, carried = depth.steps - int(self.joins), [*begun.sums, *carried]
            carried = builder.loop(extent, carried, step)
            total, carried = carried[:count], carried[count:]
        first, carried = carried[:count], carried[count:]
        plan, tokens = walk.unpack_plan(carried[:size]), walk.unpack_steps(carried[size:]).tokens
        buffer, *staged_tokens = present.staged or [builder.index_constant(0)]
        builder.wait([*([] if self.joins else tokens), *staged_tokens, *state.sent])
        other = builder.differ(buffer, self.kernel.rows.staged_bytes)
        late: list[ir.Value] = []
        if self.late is not None:
            staged, sent = [], self.late.send(present.late, state.tile)
            late = self.late.following(present.late, state.tile, total)
        elif self.kernel.rows.epilogue.in_loop(self.schedule):
            # nothing can be computed while a transfer waits for the one before on its pad, so results go first
            sent = self.finish.finish(state.tile, plan.tile, buffer, total)
            staged = self.finish.fetch_staged(plan.tile, other)
        else:
            staged = self.finish.fetch_staged(plan.tile, other)
            sent = self.finish.finish(state.tile, plan.tile, buffer, total)

        def fetch() -> list[ir.Value]:
            if self.joins:
                # what the last step has fetched is needed in the steps of the next tile, not before
                builder.wait(tokens)
            # results are there before the pads are free again, and transfers of a pad are in order
            return self.moves.fetch_first(plan.tile.moves)

        following = self._following(plan)
        next_begun = self._begin(plan, following, fetch, block, totals, first)
        return _Tile(State(plan.tile, plan.ahead, following, sent), next_begun, staged, late)
