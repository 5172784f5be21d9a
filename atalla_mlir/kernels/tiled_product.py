"""Products tile by tile: the next operands move, and results leave, while the array computes.

For each tile a loop over the steps of the depth adds the results of one step while the array works on the next one, and
fetches one step of the block that is needed next. In the last iteration the array begins with the following tile, whose
place is computed with selections instead of branches: all tiles of a panel are one loop. The epilogue writes results to
a staging area that is sent to DRAM under the next tile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage
from atalla_mlir.codegen.product_plan import LANES, ProductPlan
from atalla_mlir.codegen.row_plan import RowPlan, SumOrder
from atalla_mlir.codegen.tile_cost import num_additions, num_operations, overlaps_blocks, plans_in_steps
from atalla_mlir.codegen.tile_epilogue import tile_epilogue
from atalla_mlir.codegen.tile_schedule import SINK_ROWS, TileSchedule
from atalla_mlir.codegen.turn_plan import ColumnTurn
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.column_turning import ColumnTurning
from atalla_mlir.kernels.early_columns import EarlyColumns
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.flow_loops import Area
from atalla_mlir.kernels.integer_builder import IntegerBuilder
from atalla_mlir.kernels.row_body import RowBody
from atalla_mlir.kernels.row_places import Place
from atalla_mlir.kernels.rows import RowKernel
from atalla_mlir.kernels.tile_addresses import ELEMENT_BYTES, KEPT_PART, ROW_BYTES, TileAddresses
from atalla_mlir.kernels.tile_moves import take
from atalla_mlir.kernels.tile_walk import KeptRows, Plan, State, TilePlan, TileWalk

Rows = list[ir.Value]


@dataclass
class StagedRows(RowKernel):
    """The epilogue's view of memory: rows of the tile that is being finished, in staging areas."""

    staging: dict[tuple[Buffer, int], list[ir.Value]] = field(default_factory=dict)
    """By buffer and offset of an access: a tile for each pad."""
    columns: dict[tuple[Buffer, int], ir.Value] = field(default_factory=dict)
    """Rows that all rows of the tile share, by buffer and offset."""
    at: tuple[int, Index] = (0, Index())
    """Pad and row there of the present row."""

    def load(self, access: Access, place: Place) -> Evaluated:
        key = (access.buffer, access.offset)
        if key in self.columns:
            return Evaluated(self.columns[key], False)
        pad, row = self.at
        return Evaluated(self.builder.tile_load(self.staging[key][pad], row, LANES), False)

    def store(self, access: Access, place: Place, value: ir.Value) -> None:
        pad, row = self.at
        tile = self.staging[access.buffer, access.offset][pad]
        self.builder.tile_store(self.builder.as_row(value), tile, row, LANES)


class TiledProduct:
    """Emits one product with its epilogue. `buffers` are the kernel's DRAM arguments by buffer.

    Its own rows of the pads begin at `base`. What is `kept` stays in the pads; `resident` are the tiles, one for each
    pad, in which a product before has left the streamed operand; it `has_columns` when that has fetched the first block
    of the other one, too.
    """

    def __init__(
        self,
        builder: Builder,
        product: Stage,
        epilogue: Sequence[Stage],
        plan: ProductPlan,
        schedule: TileSchedule,
        buffers: dict[Buffer, ir.Value],
        block: ir.Block,
        *,
        base: int = 0,
        kept: KeptRows | None = None,
        resident: Sequence[ir.Value] = (),
        has_columns: bool = False,
    ) -> None:
        self.builder, self.product, self.schedule = builder, product, schedule
        self.plan, self.buffers, self.block, self.base = plan, buffers, block, base
        self.kept, self.resident, self.has_columns = kept, resident, has_columns
        self.early: EarlyColumns | None = None
        """Columns that its tiles fetch for the product behind it."""
        self.pads = schedule.rows.pads
        self.epilogue = tile_epilogue(plan, product, epilogue, buffers, kept.access.buffer if kept else None)
        self.initial = self.epilogue.initial
        self.finished = product if self.initial is None else epilogue[0]
        """The stage that the accumulators are the result of."""
        outer = (*plan.batch, *plan.rows, *plan.cols)
        leaving = {**buffers, kept.access.buffer: kept.tiles[0]} if kept else buffers
        stages, rows = self.epilogue.stages, RowPlan(plan.lane, outer, 1, 1)
        self.rows_kernel = StagedRows(builder, stages, rows, leaving, block)

    def sum_orders(self) -> dict[Stage, SumOrder]:
        """Steps in blocks; in detail only when they are slices of one row in ascending order."""
        depth, is_started = self.schedule.depth, self.initial is not None
        block = depth.steps_in_sequence
        blocks = -(-depth.steps // block)
        if self.plan.depth or depth.has_tail or self.schedule.footprints is not None:
            order = SumOrder("any", 1, block + blocks + 2 + is_started)
        else:
            order = SumOrder("slices", block, is_started=is_started)
        if not is_started:
            return {self.product: order}
        return {self.product: order, self.finished: SumOrder("initial", 1, blocks if blocks > 1 else block)}

    def emit(self) -> None:
        self._clear_tail_lanes()
        self._load_columns([read for read in self.epilogue.column_reads if not self._is_of_batch(read)], {})
        self._batch(list(self.plan.batch), {})

    # Pads

    def allocate(self) -> None:
        """Take the rows of the pads; comes before `emit`."""
        rows, spare = self.epilogue.area(self.schedule)
        base = self.base
        with ir.InsertionPoint.at_block_begin(self.block):
            self.operands = self._tiles(base, self.schedule.operand_rows)
            base += self.schedule.operand_rows
            self.raw: list[Area] = []
            """What columns are turned from, and rows that nobody reads."""
            if self.schedule.turn is not None:
                sink = base + self.schedule.raw_rows - SINK_ROWS
                self.raw = [Area(self._tiles(at, rows), at) for at, rows in ((base, sink - base), (sink, SINK_ROWS))]
            base += self.schedule.raw_rows
            for access in self.epilogue.stored:
                self.rows_kernel.staging[access.buffer, access.offset] = self._tiles(base, rows, spare)
                base += rows + 2 * spare
            self.staged_bytes = rows * ROW_BYTES
            """From one buffer of what comes for the epilogue to the other one."""
            self.staged_tiles: dict[int, list[ir.Value]] = {}
            for access in self.epilogue.staged_reads:
                self.staged_tiles[id(access)] = self._tiles(base, 2 * rows, spare)
                base += 2 * (rows + spare)
            self.totals: list[ir.Value] = []
            """Sums of a tile, where they do not stay in registers."""
            if self.epilogue.in_loop(self.schedule):
                self.totals = self._tiles(base, rows, spare)
                base += rows + 2 * spare
            self.column_tiles: list[ir.Value] = []
            for at, _ in enumerate(self.epilogue.column_reads):
                pad = at % self.pads
                self.column_tiles.append(self.builder.placed_tile(self.schedule.cols.num_blocks, pad, base))
                base += self.schedule.cols.num_blocks

    def _tiles(self, base: int, rows: int, spare: int = 0) -> list[ir.Value]:
        return [self.builder.placed_tile(rows, pad, base, spare=spare) for pad in range(self.pads)]

    def _clear_tail_lanes(self) -> None:
        """Transfers write only the lanes that the tail of the depth has; the array reads all 32."""
        schedule = self.schedule
        if not schedule.depth.has_tail:
            return
        inner = schedule.block_rows(schedule.inner)
        blocks = [(0, inner, schedule.panel_blocks, schedule.inner.rows_per_pad)]
        blocks.append((schedule.outer_base, schedule.block_rows(schedule.outer), 2, schedule.outer.rows_per_pad))
        zero = self.builder.splat(0.0)
        for base, size, count, rows in blocks:

            def clear(block: Index, base: int = base, size: int = size, rows: int = rows) -> None:
                for row in range(rows):
                    for tile in self.operands:
                        self.builder.tile_store(zero, tile, block.scaled(size) + (base + row), LANES)

            self.builder.repeat(count, clear)

    def _is_of_batch(self, access: Access) -> bool:
        """Whether each part of the batch has an operand of its own."""
        return any(access.stride(loop) for loop in self.plan.batch)

    def _load_columns(self, accesses: Sequence[Access], at: Mapping[Loop, Index]) -> None:
        """Operands that are one row for all: 32 elements a block of columns, the last ending with the operand."""
        tokens: list[ir.Value] = []
        cols = self.schedule.cols
        for access in accesses:
            tile = self.column_tiles[self.epilogue.column_reads.index(access)]
            begin = Index(access.offset)
            for loop, index in at.items():
                begin = begin + index.scaled(access.stride(loop))
            aligned = cols.num_blocks - (1 if cols.excess else 0)
            starts = [(first, min(LANES, aligned - first), first * cols.width) for first in range(0, aligned, LANES)]
            if cols.excess:
                starts.append((aligned, 1, cols.extent - cols.width))
            for first, count, start in starts:
                tokens.append(
                    self.builder.dma(
                        "dma_load",
                        tile,
                        self.buffers[access.buffer],
                        Index(first),
                        begin + start,
                        rows=count,
                        cols=cols.width,
                        pitch=cols.width,
                    )
                )
        self.builder.wait(tokens)

    # Panels

    def _batch(self, loops: list[Loop], at: dict[Loop, Index]) -> None:
        if loops:
            self.builder.repeat(loops[0].extent, lambda i: self._batch(loops[1:], {**at, loops[0]: i}))
            return
        self._load_columns([read for read in self.epilogue.column_reads if self._is_of_batch(read)], at)
        schedule = self.schedule
        if schedule.turn is not None:
            self._turn_columns(schedule.turn, at)
        whole, rest = divmod(schedule.inner.num_blocks, schedule.panel_blocks)
        size = schedule.panel_blocks
        self.builder.repeat(whole, lambda panel: _Panel(self, at, panel.scaled(size), size).emit())
        if rest:
            _Panel(self, at, Index(whole * size), rest).emit()

    def _turn_columns(self, turn: ColumnTurn, at: Mapping[Loop, Index]) -> None:
        """Bring all columns of a part of the batch to the pads, turned."""
        builder, access = self.builder, turn.source
        assert isinstance(builder, IntegerBuilder)
        begin = Index(access.offset)
        for loop, index in at.items():
            begin = begin + index.scaled(access.stride(loop))
        buffer = self.buffers[access.buffer]
        start = builder.plus(builder.address(buffer), builder.index_value(begin.scaled(ELEMENT_BYTES)))
        ColumnTurning(builder, turn, Area(self.operands, self.base), *self.raw).emit(buffer, start)


@dataclass
class _Tile:
    """What the loop over tiles carries.

    `staged`, what comes for the epilogue, is the offset of its buffer, then tokens; empty where nothing comes.
    """

    state: State
    begun: _Begun
    staged: list[ir.Value]


@dataclass
class _Begun:
    """How far a tile is when the one before ends: its first step is computed, or the first one is added as well."""

    sums: Rows
    """Where sums have two levels, the totals that are kept in registers."""
    block: Rows
    """Where blocks overlap, the sums of one: what they hold is of the tile before."""
    terms: Rows
    """Products of the step that is added next."""
    steps: list[ir.Value]
    """What the loop over the steps carries besides; where it does all of them, tokens of what is fetched first."""


class _Panel:
    """All tiles of `count` inner blocks from block `first` on."""

    def __init__(self, kernel: TiledProduct, batch: dict[Loop, Index], first: Index, count: int) -> None:
        self.kernel, self.count = kernel, count
        self.builder, self.schedule, self.pads = kernel.builder, kernel.schedule, kernel.pads
        self.results = [*kernel.epilogue.stored, *kernel.epilogue.staged_reads]
        has_columns = bool(kernel.epilogue.column_reads)
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
        )
        self.walk = TileWalk(self.addresses, has_columns=has_columns, kept=kernel.kept)
        self.moves = self.walk.moves
        self.plans_in_steps = plans_in_steps(self.schedule, kernel.epilogue.cost)
        """Whether the addresses of the next tile are computed anew in each step, where scalar instructions are free."""
        self.joins = self.schedule.joins_tiles
        """Whether a tile ends with the second step of the following one: the array works while rows are finished."""
        self.adds_to_pads = self.schedule.depth.has_two_levels and not self.schedule.keeps_totals
        """Whether the totals of two-level sums lie in the pads."""
        depth = self.schedule.depth
        self.overlaps_blocks = overlaps_blocks(self.schedule, kernel.epilogue.cost)
        """Whether the sums of a block are added to totals in registers under the first step of the next one."""
        self.has_two_blocks = self.overlaps_blocks and depth.steps <= 2 * depth.steps_in_sequence
        """Whether totals are the sums of one block, which they take over when the other one begins."""
        self.num_tiles = self.schedule.outer.num_blocks * count

    def emit(self) -> None:
        walk, builder = self.walk, self.builder
        if not self.kernel.has_columns:
            self.moves.fill()
        first = walk.plan(self.addresses.first())
        fetched = self.moves.fetch_first(first.tile.moves)
        early = self.kernel.early
        num_sent = len(self._sends()) + (early.num_transfers if early is not None else 0)
        idle = [builder.ready() for _ in range(num_sent)]
        following = self._following(first)
        staged = self._fetch_staged(first.tile, builder.index_constant(0))
        if self.adds_to_pads:
            self._begin_totals(first.tile)
        block, totals = (
            [builder.zero() for _ in range(self.schedule.rows.rows * is_carried)]
            for is_carried in (self.overlaps_blocks, self.has_two_blocks)
        )
        begun = self._begin(first, following, fetched, block, totals, self._slice(first.tile.rows, first.tile.cols))
        state = State(first.tile, first.ahead, following, idle)
        sizes = [len(begun.sums), len(begun.block), len(begun.terms), len(begun.steps), len(staged)]

        def unpack(values: Sequence[ir.Value]) -> _Tile:
            rest = iter(values)
            sums, block, terms, steps, staged = (take(rest, size) for size in sizes)
            return _Tile(walk.unpack(list(rest)), _Begun(sums, block, terms, steps), staged)

        def tile(number: Index, carried: list[ir.Value]) -> list[ir.Value]:
            following = self._tile(unpack(carried))
            if early is not None:
                following.state.sent.extend(early.fetch(number, self.num_tiles))
            return self._pack(following)

        last = unpack(builder.loop(self.num_tiles, self._pack(_Tile(state, begun, staged)), tile))
        tokens = walk.unpack_steps(last.begun.steps).tokens if self.joins else last.begun.steps
        builder.wait([*tokens, *last.staged[1:], *last.state.sent])

    def _pack(self, tile: _Tile) -> list[ir.Value]:
        begun = tile.begun
        return [*begun.sums, *begun.block, *begun.terms, *begun.steps, *tile.staged, *tile.state.pack()]

    def _following(self, plan: Plan) -> Plan:
        """The plan of the tile after one; a place for it where it is made in the steps, and not needed before."""
        if self.plans_in_steps and not (self.joins and self.schedule.depth.steps == 2):
            return plan
        return self.walk.plan(plan.ahead)

    def _begin(
        self, plan: Plan, following: Plan, fetched: list[ir.Value], block: Rows, totals: Rows, first: Rows
    ) -> _Begun:
        """What the loop over the steps of a tile starts from. `first` are the products of its first step.

        `block` and `totals` are sums of the tile before.
        """
        tile, walk = plan.tile, self.walk
        if not self.joins:
            return _Begun(totals if self.has_two_blocks else self._initial(tile), block, first, fetched)
        if self.kernel.initial is None:
            steps = walk.first_steps(tile, fetched)
            sums, terms = self._slice(steps.rows, steps.cols), first
        else:
            sums = self._started(tile, first)
            # products may now take the registers of those before
            steps = walk.first_steps(tile, fetched)
            terms = self._slice(steps.rows, steps.cols)
        return _Begun(sums, block, terms, walk.step(steps, tile.moves, following.tile, fetches=False).pack())

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
        places = [schedule.rows.place(row) for row in range(schedule.rows.rows)]
        return [builder.gemm(builder.tile_load(rows[pad], Index(at), lanes)) for pad, at in places]

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

        def step(_: Index, carried: list[ir.Value]) -> list[ir.Value]:
            sums, terms = carried[:count], carried[count : 2 * count]
            added = self._add(sums, terms)
            computed, rest = further(carried[2 * count :])
            return [*added, *computed, *rest]

        steps = begun.steps if self.joins else walk.first_steps(state.tile, begun.steps).pack()
        carried = [*begun.terms, *state.plan.pack(), *steps]
        block: Rows = []
        totals: Rows = []
        total: Rows = []
        if self.overlaps_blocks:
            totals, carried = self._sum_blocks(state.tile, begun, carried, step, further)
            block, carried = carried[:count], carried[count:]
            total = self._add(totals, block)
        elif depth.has_two_levels:
            total, carried = self._sum_blocks_apart(begun, carried, step)
        else:
            extent, carried = depth.steps - int(self.joins), [*begun.sums, *carried]
            carried = builder.loop(extent, carried, step)
            total, carried = carried[:count], carried[count:]
        first, carried = carried[:count], carried[count:]
        plan, tokens = walk.unpack_plan(carried[:size]), walk.unpack_steps(carried[size:]).tokens
        buffer, *staged_tokens = present.staged or [builder.index_constant(0)]
        builder.wait([*tokens, *staged_tokens, *state.sent])
        other = builder.differ(buffer, self.kernel.staged_bytes)
        if self.kernel.epilogue.in_loop(self.schedule):
            # nothing can be computed while a transfer waits for the one before on its pad, so results go first
            sent = self._finish(state.tile, plan.tile, buffer, total)
            staged = self._fetch_staged(plan.tile, other)
        else:
            staged = self._fetch_staged(plan.tile, other)
            sent = self._finish(state.tile, plan.tile, buffer, total)
        # results are there before the pads are free again, and transfers of a pad are in order
        fetched = self.moves.fetch_first(plan.tile.moves)
        following = self._following(plan)
        next_begun = self._begin(plan, following, fetched, block, totals, first)
        return _Tile(State(plan.tile, plan.ahead, following, sent), next_begun, staged)

    def _sum_blocks(
        self,
        tile: TilePlan,
        begun: _Begun,
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
                totals = self._started(tile, sums)
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

    def _sum_blocks_apart(
        self, begun: _Begun, carried: list[ir.Value], step: Callable[[Index, list[ir.Value]], list[ir.Value]]
    ) -> tuple[Rows, list[ir.Value]]:
        """Add the steps in blocks, and then the sums of each to totals, in registers or in the pads.

        Gives the totals in registers, and what is carried besides sums.
        """
        depth, builder = self.schedule.depth, self.builder
        count, kept = self.schedule.rows.rows, len(begun.sums)

        def summed(size: int, values: list[ir.Value]) -> list[ir.Value]:
            totals, values = values[:kept], values[kept:]
            values = builder.loop(size, [*(builder.zero() for _ in range(count)), *values], step)
            sums, values = values[:count], values[count:]
            if self.adds_to_pads:
                self._add_to_totals(sums)
                return values
            return [*self._add(totals, sums), *values]

        whole, last = divmod(depth.steps, depth.steps_in_sequence)
        values = [*begun.sums, *carried]
        values = builder.loop(whole, values, lambda _, values: summed(depth.steps_in_sequence, values))
        values = summed(last, values) if last else values
        return values[:kept], values[kept:]

    def _started(self, tile: TilePlan, sums: Rows) -> Rows:
        """The first sums of a tile with what they start from."""
        if self.kernel.initial is None:
            one = self.builder.constant(1.0)
            return [self.builder.binary("mul", row, one) for row in sums]
        rows = self._initial_rows(tile)
        return self._add([rows[row % 2] for row in range(len(sums))], sums)

    def _begin_totals(self, tile: TilePlan) -> None:
        """Start the totals in the pads."""
        initial, totals = self._initial_row(tile), self.kernel.totals

        def begin(row: Index) -> None:
            for pad in totals:
                self.builder.tile_store(initial, pad, row, LANES)

        self.builder.repeat(self.schedule.results.rows_per_pad, begin)

    def _add_to_totals(self, sums: Rows) -> None:
        """Add to the totals in the pads."""
        rows, builder, totals = self.schedule.results, self.builder, self.kernel.totals
        places = [rows.place(row) for row in range(rows.rows)]
        old = [builder.tile_load(totals[pad], Index(row), LANES) for pad, row in places]
        for (pad, row), total in zip(places, self._add(old, sums), strict=True):
            builder.tile_store(total, totals[pad], Index(row), LANES)

    def _add(self, left: Rows, right: Rows) -> Rows:
        return [self.builder.binary("add", a, b) for a, b in zip(left, right, strict=True)]

    def _initial(self, tile: TilePlan) -> Rows:
        """What the sums of a tile start from, when they stay in registers."""
        if self.adds_to_pads:
            return []
        rows = range(self.schedule.rows.rows)
        if self.kernel.initial is None:
            return [self.builder.zero() for _ in rows]
        copies = self._initial_rows(tile)
        # where the adder still has sums to add, or more to do for the results, the multiplier makes three of four: the
        # others come last, while results are read from the pads
        stages = self.kernel.epilogue.stages
        is_busy = self.kernel.epilogue.in_loop(self.schedule) or 2 * num_additions(stages) > num_operations(stages)
        return [self.builder.copy(copies[row % 2], multiplies=is_busy and row % 2 == 0) for row in rows]

    def _initial_rows(self, tile: TilePlan) -> Rows:
        """The row that sums start from in two registers, in banks that are read side by side."""
        return [self._initial_row(tile) for _ in range(2)]

    def _initial_row(self, tile: TilePlan) -> ir.Value:
        initial = self.kernel.initial
        return self._column(initial, tile) if initial is not None else self.builder.zero()

    def _column(self, access: Access, tile: TilePlan) -> ir.Value:
        """The row of a tile's columns."""
        rows = self.kernel.column_tiles[self.kernel.epilogue.column_reads.index(access)]
        part = self.builder.tile_at(rows, tile.column[0], "block")
        return self.builder.tile_load(part, Index(), self.schedule.cols.width)

    # Results

    def _sends(self) -> list[tuple[Access, int]]:
        """A transfer for each result and each piece of a block of rows."""
        return [
            (access, piece)
            for access in self.kernel.epilogue.stored
            for piece in range(self.schedule.results.num_pieces)
        ]

    def _move_staged(
        self, kind: str, tiles: Sequence[ir.Value], access: Access, piece: int, address: ir.Value
    ) -> ir.Value:
        rows, builder = self.schedule.results, self.builder
        pad, cols = piece % self.pads, self.schedule.cols.width
        shape = self.addresses.shape(rows, access, piece, cols)
        return builder.transfer(
            kind,
            tiles[pad],
            builder.index_constant(piece // self.pads * rows.piece_rows * ROW_BYTES),
            builder.plus(address, rows.piece_offset(piece, access) * ELEMENT_BYTES),
            builder.index_constant(shape.encode()),
            [self.kernel.buffers[access.buffer]],
            rows=shape.rows,
            cols=cols,
        )

    def _fetch_staged(self, tile: TilePlan, buffer: ir.Value) -> list[ir.Value]:
        """Fetch operands of the epilogue that differ from row to row, a tile ahead; the buffer, and tokens."""
        tokens: list[ir.Value] = []
        for access in self.kernel.epilogue.staged_reads:
            address = tile.results[self.results.index(access)]
            tiles = self._staged_part(access, buffer, "following")
            pieces = range(self.schedule.results.num_pieces)
            tokens.extend(self._move_staged("fetch", tiles, access, piece, address) for piece in pieces)
        return [buffer, *tokens] if tokens else []

    def _staged_part(self, access: Access, buffer: ir.Value, use: str) -> list[ir.Value]:
        return [self.builder.tile_at(tile, buffer, use) for tile in self.kernel.staged_tiles[id(access)]]

    def _finish(self, tile: TilePlan, following: TilePlan, buffer: ir.Value, total: Rows) -> list[ir.Value]:
        """Run the epilogue on the rows of a tile and send the results."""
        schedule, kernel = self.schedule, self.kernel
        rows_kernel = kernel.rows_kernel
        for access in kernel.epilogue.column_reads:
            if access is not kernel.initial:
                rows_kernel.columns[access.buffer, access.offset] = self._column(access, tile)
        for access in kernel.epilogue.staged_reads:
            rows_kernel.staging[access.buffer, access.offset] = self._staged_part(access, buffer, "present")
        if kernel.kept is not None:
            kept = kernel.kept.access
            places = [self.builder.tile_at(rows, tile.kept[0], KEPT_PART) for rows in kernel.kept.tiles]
            rows_kernel.staging[kept.buffer, kept.offset] = places
        if kernel.epilogue.in_loop(schedule):
            for row, value in enumerate(total):
                pad, number = schedule.results.place(row)
                self.builder.tile_store(value, kernel.totals[pad], Index(number), LANES)
            self._finish_in_loop(following)
        else:
            for row, value in enumerate(total):
                pad, number = schedule.results.place(row)
                self._finish_row((pad, Index(number)), value)
        return [
            self._move_staged("send", rows_kernel.staging[access.buffer, access.offset], access, piece, address)
            for access, piece in self._sends()
            for address in [tile.results[self.results.index(access)]]
        ]

    def _finish_row(self, at: tuple[int, Index], value: ir.Value) -> None:
        kernel, rows_kernel = self.kernel, self.kernel.rows_kernel
        finished, place = kernel.finished.write, Place({}, LANES)
        rows_kernel.at = at
        if finished.buffer in rows_kernel.buffers:
            rows_kernel.store(finished, place, value)
        body = RowBody(rows_kernel, [place])
        body.values[0][finished.buffer] = Evaluated(value, False)
        body.emit()

    def _finish_in_loop(self, following: TilePlan) -> None:
        """From the pads: unrolled, a long epilogue would not fit the instruction cache.

        Rows that a block does not have are computed too, from whatever lies there. Totals in the pads begin anew.
        """
        rows, builder, together = self.schedule.results, self.builder, self.kernel.epilogue.rows_together(self.schedule)

        initial = self._initial_row(following) if self.adds_to_pads else None

        def finish(index: Index) -> None:
            for row in range(together):
                for pad in range(min(self.pads, rows.num_pieces)):
                    at = index.scaled(together) + row
                    self._finish_row((pad, at), builder.tile_load(self.kernel.totals[pad], at, LANES))
                    if initial is not None:
                        builder.tile_store(initial, self.kernel.totals[pad], at, LANES)

        builder.repeat(-(-rows.rows_per_pad // together), finish)
