"""Products in one loop over all tiles (`codegen.flow_plan`): operands come and results go beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_plan import PADS, Blocks
from atalla_mlir.codegen.flow_plan import LEAD, STAGES, Feed, FlowPlan
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.row_plan import SumOrder
from atalla_mlir.codegen.tile_schedule import outside_reads
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_moves import ELEMENT_BYTES, Flow, FlowLoop, Level
from atalla_mlir.kernels.column_turning import ColumnTurning
from atalla_mlir.kernels.expression import Evaluated, Evaluator
from atalla_mlir.kernels.flow_loops import Area, ahead, fence, run_beside
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.integer_builder import IntegerBuilder
from atalla_mlir.kernels.rings import ROW_BYTES
from atalla_mlir.kernels.walks import Walk

COL_ROWS = LANES // PADS
"""Rows of each pad that a slice of 32 columns takes."""
NEAR_ROWS = 32
"""Rows that are reached with one address: one for many of them would be in use for too long."""
CHUNK_BYTES = LANES * ELEMENT_BYTES


@dataclass
class FlowingProduct:
    """Emits one product with its epilogue. `buffers` are the kernel's DRAM arguments by buffer."""

    builder: IntegerBuilder
    product: Stage
    epilogue: Sequence[Stage]
    plan: FlowPlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block
    expansions: dict[Stage, FunctionBound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        reads = outside_reads(self.product, self.epilogue)
        self.stored = [stage.write for stage in (self.product, *self.epilogue) if stage.write.buffer in self.buffers]
        self.column_reads = [read for read in reads if not read.stride(self.plan.row_loop)]
        self.staged_reads = [read for read in reads if read.stride(self.plan.row_loop)]

    def sum_order(self) -> SumOrder:
        return SumOrder("slices", self.plan.slices)

    def emit(self) -> None:
        self._allocate()
        self._outside([*((loop, 1) for loop in self.plan.outside), *self.plan.group], {})

    # Pads

    def _allocate(self) -> None:
        plan, self._used = self.plan, 0
        tiles = plan.parts * plan.panel * plan.cols.count * plan.piece_rows
        self.rows = self._area(plan.parts * plan.panel * plan.slices * plan.piece_rows)
        columns = plan.parts * plan.cols.count * plan.slices * COL_ROWS
        self.cols = self._area(columns)
        self.raw = self._area(columns) if plan.source is not None else None
        self.results = [self._area(tiles) for _ in self.stored]
        self.staged = [self._area(tiles) for _ in self.staged_reads]
        self.shared = [self._area(plan.parts * plan.cols.count) for _ in self.column_reads]
        self.sink = self._area(1)

    def _area(self, rows: int) -> Area:
        with ir.InsertionPoint.at_block_begin(self.block):
            area = Area([self.builder.placed_tile(rows, pad, self._used) for pad in range(PADS)], self._used)
        self._used += rows
        return area

    # Panels

    def _outside(self, loops: Sequence[tuple[Loop, int]], at: dict[Loop, Index]) -> None:
        """Loops around panels; they go on by as many iterations as a panel has of them."""
        builder, plan = self.builder, self.plan
        if not loops:
            builder.repeat(plan.panels, lambda panel: self._panel(at, panel))
            return
        (loop, count), *others = loops
        steps = loop.extent // count
        builder.repeat(steps, lambda i: self._outside(others, {**at, loop: i.scaled(count)}))

    def _panel(self, at: Mapping[Loop, Index], panel: Index) -> None:
        builder, plan = self.builder, self.plan
        starts = {id(access): self._start(access, at, panel) for access in self._moved()}
        feeds = [self._row_flow(starts)]
        if plan.source is None:
            feeds.append(self._col_flow(starts))
        staged = [
            self._tile_flow(f"staged{number}", "fetch", access, area, starts, 1 + LEAD)
            for number, (access, area) in enumerate(zip(self.staged_reads, self.staged, strict=True))
        ]
        results = [
            self._tile_flow(f"results{number}", "send", access, area, starts, -STAGES)
            for number, (access, area) in enumerate(zip(self.stored, self.results, strict=True))
        ]
        self._load_shared(at)
        if self.raw is not None and plan.turn is not None:
            source = plan.turn.source
            ColumnTurning(self.builder, plan.turn, self.cols, self.raw, self.sink).emit(
                self.buffers[source.buffer], self._start(source, at, panel)
            )
        for flow in (*feeds, *staged):
            FlowLoop(builder, flow).before()
        self._fence()
        beside = [flow for flow, feed in zip(feeds, (plan.row_feed, plan.col_feed), strict=False) if not feed.is_before]
        self._loop([*beside, *staged, *results])
        for flow in results:
            FlowLoop(builder, flow).after(plan.iterations)
        self._fence()

    def _moved(self) -> list[Access]:
        operands = [self.plan.streamed] if self.plan.source is not None else [self.plan.streamed, self.plan.pushed]
        return [*operands, *self.staged_reads, *self.stored]

    def _start(self, access: Access, at: Mapping[Loop, Index], panel: Index) -> ir.Value:
        """Address of the first element of a panel; the last panel ends with the rows."""
        builder, plan = self.builder, self.plan
        begin = Index(access.offset)
        for loop, index in at.items():
            begin = begin + index.scaled(access.stride(loop))
        address = builder.address(self.buffers[access.buffer])
        address = builder.plus(address, builder.index_value(begin.scaled(ELEMENT_BYTES)))
        if plan.panels == 1:
            return address
        rows = plan.panel * plan.rows.size
        first = builder.at_most(builder.index_value(panel.scaled(rows)), plan.rows.extent - rows)
        return builder.plus(address, builder.times(first, access.stride(plan.row_loop) * ELEMENT_BYTES))

    def _fence(self) -> None:
        fence(self.builder, self.sink, self.buffers[self.plan.streamed.buffer])

    def _load_shared(self, at: Mapping[Loop, Index]) -> None:
        """Operands that are one row for all rows of a part of the batch: 32 columns in a row of a pad."""
        for access, area in zip(self.column_reads, self.shared, strict=True):
            begin = Index(access.offset)
            for loop, index in at.items():
                begin = begin + index.scaled(access.stride(loop))
            self._load_shared_of(self.plan.group, access, area, begin, Index())

    def _load_shared_of(
        self, loops: Sequence[tuple[Loop, int]], access: Access, area: Area, begin: Index, part: Index
    ) -> None:
        """Those of all parts of the batch that `loops` go over; `part` counts the parts before."""
        if not loops:
            self._load_shared_row(access, area, begin, part.scaled(self.plan.cols.count))
            return
        (loop, count), *others = loops
        stride = access.stride(loop)
        self.builder.repeat(
            count,
            lambda i: self._load_shared_of(others, access, area, begin + i.scaled(stride), part.scaled(count) + i),
        )

    def _load_shared_row(self, access: Access, area: Area, begin: Index, row: Index) -> None:
        cols, tokens = self.plan.cols, list[ir.Value]()
        aligned = cols.count - (1 if cols.excess else 0)
        starts = [(first, min(LANES, aligned - first), first * LANES) for first in range(0, aligned, LANES)]
        if cols.excess:
            starts.append((aligned, 1, cols.extent - LANES))
        for first, count, start in starts:
            tokens.append(
                self.builder.dma(
                    "dma_load",
                    area.tiles[0],
                    self.buffers[access.buffer],
                    row + first,
                    begin + start,
                    rows=count,
                    cols=LANES,
                    pitch=LANES,
                )
            )
        self.builder.wait(tokens)

    # Flows

    def _row_flow(self, starts: Mapping[int, ir.Value]) -> Flow:
        plan = self.plan
        access, blocks = plan.streamed, plan.panel_rows
        inside = self._operand_levels(access, plan.row_loop, blocks, plan.row_feed)
        return self._flow("rows", access, self.rows, starts, inside, plan.row_loop, plan.row_feed)

    def _col_flow(self, starts: Mapping[int, ir.Value]) -> Flow:
        plan = self.plan
        inside = self._operand_levels(plan.pushed, plan.col_loop, plan.cols, plan.col_feed)
        return self._flow("cols", plan.pushed, self.cols, starts, inside, plan.col_loop, plan.col_feed)

    def _operand_levels(self, access: Access, loop: Loop, blocks: Blocks, feed: Feed) -> list[Level]:
        """Blocks, slices of a block, and parts of a slice."""
        pitch, rows = access.stride(loop) * ELEMENT_BYTES, blocks.size // PADS
        block = Level(blocks.count, pitch * blocks.size, self.plan.slices * rows * ROW_BYTES, pitch * blocks.excess)
        slices = Level(self.plan.slices, CHUNK_BYTES, rows * ROW_BYTES)
        return [block, slices, Level(blocks.size // feed.rows, pitch * feed.rows, feed.rows // PADS * ROW_BYTES)]

    def _flow(
        self,
        name: str,
        access: Access,
        area: Area,
        starts: Mapping[int, ir.Value],
        inside: Sequence[Level],
        loop: Loop,
        feed: Feed,
    ) -> Flow:
        levels = self._levels(access, inside)
        first = -(-feed.moved_before // feed.each)
        return self._moves(name, "fetch", access, area, starts, levels, loop, feed.rows // PADS, first, feed.each)

    def _tile_flow(
        self, name: str, kind: str, access: Access, area: Area, starts: Mapping[int, ir.Value], first: int
    ) -> Flow:
        """A flow of tiles in the order in which they are computed."""
        plan, rows, cols = self.plan, self.plan.panel_rows, self.plan.cols
        pitch, size = access.stride(plan.row_loop) * ELEMENT_BYTES, plan.piece_rows * ROW_BYTES
        inside = [
            Level(rows.count, pitch * rows.size, cols.count * size, pitch * rows.excess),
            Level(cols.count, CHUNK_BYTES, size, cols.excess * ELEMENT_BYTES),
        ]
        levels = self._levels(access, inside)
        return self._moves(name, kind, access, area, starts, levels, plan.row_loop, plan.piece_rows, first, 1)

    def _levels(self, access: Access, inside: Sequence[Level]) -> list[Level]:
        """The loops over the batch and those of `inside`."""
        place = inside[0].extent * inside[0].place
        batch: list[Level] = []
        for loop, count in reversed(self.plan.group):
            batch.insert(0, Level(count, access.stride(loop) * ELEMENT_BYTES, place))
            place *= count
        return [*batch, *inside]

    def _moves(
        self,
        name: str,
        kind: str,
        access: Access,
        area: Area,
        starts: Mapping[int, ir.Value],
        levels: Sequence[Level],
        loop: Loop,
        rows: int,
        first: int,
        each: int,
    ) -> Flow:
        return Flow(
            name,
            kind,
            self.buffers[access.buffer],
            starts[id(access)],
            area.tiles,
            (self.sink.base - area.base) * ROW_BYTES,
            tuple(levels),
            rows,
            access.stride(loop),
            first,
            each,
        )

    # Tiles

    def _loop(self, flows: Sequence[Flow]) -> None:
        """All tiles of a panel, with transfers beside them."""
        builder, plan = self.builder, self.plan
        block, col, tile = plan.piece_rows * plan.slices, COL_ROWS * plan.slices, plan.piece_rows
        extents = (plan.parts, plan.panel, plan.cols.count)
        operands = {"rows": (plan.panel * block, block, 0), "cols": (plan.cols.count * col, 0, col)}
        tiles = (plan.panel * plan.cols.count * tile, plan.cols.count * tile, tile)
        others = {"tiles": tiles, **({"shared": (plan.cols.count, 0, 1)} if self.shared else {})}
        # what comes late in an iteration has counters of its own
        walks = [
            Walk(builder, extents, {name: [step * ROW_BYTES for step in steps] for name, steps in names.items()})
            for names in (operands, others)
        ]

        def iteration(offsets: dict[str, ir.Value], _: Sequence[ir.Value]) -> list[ir.Value]:
            self._tile(offsets)
            return []

        run_beside(builder, walks, flows, [], iteration)

    def _tile(self, offsets: Mapping[str, ir.Value]) -> None:
        """Sum the products of all slices, run the epilogue and store the results."""
        builder, plan = self.builder, self.plan
        rows = self.rows.parts(builder, offsets["rows"], ahead("rows"))
        cols = self.cols.parts(builder, offsets["cols"], ahead("cols"))
        sums: list[ir.Value] = []
        for part in range(plan.slices):
            for col in reversed(range(LANES)):
                builder.push(builder.tile_load(cols[col % PADS], Index(part * COL_ROWS + col // PADS), LANES))
            terms = [
                builder.gemm(builder.tile_load(rows[row % PADS], Index(part * plan.piece_rows + row // PADS), LANES))
                for row in range(plan.rows.size)
            ]
            sums = [builder.binary("add", *pair) for pair in zip(sums, terms, strict=True)] if part else terms
        columns = {
            (access.buffer, access.offset): builder.tile_load(
                builder.tile_at(area.tiles[0], offsets["shared"], ahead(f"shared{number}")), Index(), LANES
            )
            for number, (access, area) in enumerate(zip(self.column_reads, self.shared, strict=True))
        }
        for first in range(0, plan.rows.size, NEAR_ROWS):
            self._finish(first, sums[first : first + NEAR_ROWS], offsets["tiles"], columns)

    def _finish(
        self,
        first: int,
        sums: Sequence[ir.Value],
        offset: ir.Value,
        columns: Mapping[tuple[Buffer, int], ir.Value],
    ) -> None:
        """Run the epilogue on rows of a tile from the first on, and store their results."""
        builder, number = self.builder, first // NEAR_ROWS
        staged = {
            (access.buffer, access.offset): area.parts(builder, offset, ahead(f"staged{at}.{number}"))
            for at, (access, area) in enumerate(zip(self.staged_reads, self.staged, strict=True))
        }
        stored = [area.parts(builder, offset, ahead(f"result{at}.{number}")) for at, area in enumerate(self.results)]
        for row, total in enumerate(sums, first):
            pad, place = row % PADS, Index(row // PADS)
            values = {self.product.write.buffer: total}
            for stage in self.epilogue:
                values[stage.write.buffer] = self._evaluate(stage, values, columns, staged, pad, place)
            for access, tiles in zip(self.stored, stored, strict=True):
                builder.tile_store(values[access.buffer], tiles[pad], place, LANES)

    def _evaluate(
        self,
        stage: Stage,
        values: Mapping[Buffer, ir.Value],
        columns: Mapping[tuple[Buffer, int], ir.Value],
        staged: Mapping[tuple[Buffer, int], Sequence[ir.Value]],
        pad: int,
        place: Index,
    ) -> ir.Value:
        def load(read: int) -> Evaluated:
            access = stage.reads[read]
            key = (access.buffer, access.offset)
            if access.buffer in values:
                return Evaluated(values[access.buffer], False)
            if key in columns:
                return Evaluated(columns[key], False)
            return Evaluated(self.builder.tile_load(staged[key][pad], place, LANES), False)

        evaluator = Evaluator(self.builder, load, broadcasts=True)
        found = evaluator.evaluate(stage.body)
        for bound in evaluator.expansions:
            self.expansions[stage] = bound
        return evaluator.row(found)
