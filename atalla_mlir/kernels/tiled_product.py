"""Products tile by tile: where operands lie in the pads, and panels of them one after the other (`tile_panel`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage
from atalla_mlir.codegen.packed_runs import PackedBlocks
from atalla_mlir.codegen.product_plan import LANES, ProductPlan
from atalla_mlir.codegen.row_plan import RowPlan, SumOrder
from atalla_mlir.codegen.tile_cost import turns_back
from atalla_mlir.codegen.tile_epilogue import tile_epilogue
from atalla_mlir.codegen.tile_schedule import SINK_ROWS, TileSchedule
from atalla_mlir.codegen.turn_plan import ColumnTurn
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.column_turning import ColumnTurning
from atalla_mlir.kernels.early_columns import EarlyColumns
from atalla_mlir.kernels.flow_loops import Area
from atalla_mlir.kernels.image_rows import DealtRows, ImageRows, ProductImages
from atalla_mlir.kernels.integer_builder import IntegerBuilder
from atalla_mlir.kernels.tile_addresses import ELEMENT_BYTES, Panel
from atalla_mlir.kernels.tile_panel import TilePanel
from atalla_mlir.kernels.tile_rows import StagedRows, TileRows
from atalla_mlir.kernels.tile_walk import KeptRows


class TiledProduct:
    """Emits one product with its epilogue. `buffers` are the kernel's DRAM arguments by buffer.

    Its own rows of the pads begin at `base`. What is `kept` stays in the pads; `resident` are the tiles, one for each
    pad, in which a product before has left the streamed operand; it `has_columns` when that has fetched the first block
    of the other one, too. `images` are what stays in the pads between kernels.
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
        images: ProductImages | None = None,
    ) -> None:
        self.builder, self.product, self.schedule = builder, product, schedule
        self.plan, self.buffers, self.block, self.base = plan, buffers, block, base
        self.resident, self.has_columns = resident, has_columns
        self.early: EarlyColumns | None = None
        """Columns that its tiles fetch for the product behind it."""
        self.pads = schedule.rows.pads
        self.images = images
        self.epilogue = (
            tile_epilogue(plan, product, epilogue, buffers, kept.access.buffer if kept else None)
            if images is None
            else images.epilogue
        )
        outer = (*plan.batch, *plan.rows, *plan.cols)
        leaving = {**buffers, kept.access.buffer: kept.tiles[0]} if kept else buffers
        staged = StagedRows(builder, self.epilogue.stages, RowPlan(plan.lane, outer, 1, 1), leaving, block)
        finished = product if self.epilogue.initial is None else epilogue[0]
        in_pads: Sequence[ImageRows | DealtRows] = ()
        if images is not None:
            self.resident, in_pads = images.operand_tiles or resident, images.rows
        self.rows = TileRows(builder, schedule, self.epilogue, staged, finished, kept, in_pads)

    def sum_orders(self) -> dict[Stage, SumOrder]:
        """Steps in blocks; in detail only when they are slices of one row in ascending order."""
        depth, is_started = self.schedule.depth, self.epilogue.initial is not None
        block = depth.steps_in_sequence
        blocks = -(-depth.steps // block)
        if self.plan.depth or depth.has_tail or self.schedule.footprints is not None:
            order = SumOrder("any", 1, block + blocks + 2 + is_started)
        else:
            order = SumOrder("slices", block, is_started=is_started)
        if not is_started:
            return {self.product: order}
        return {self.product: order, self.rows.finished: SumOrder("initial", 1, blocks if blocks > 1 else block)}

    def emit(self) -> None:
        self._clear_tail_lanes()
        if isinstance(self.schedule.rows, PackedBlocks):
            self._clear_short_steps(self.schedule.rows)
        self._load_columns([read for read in self.epilogue.column_reads if not self._is_of_batch(read)], {})
        self._batch(list(self.plan.batch), {})
        if self.images is not None and self.images.edges is not None:
            self.images.edges.emit()

    # Pads

    def allocate(self) -> None:
        """Take the rows of the pads; comes before `emit`."""
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
            self.rows.allocate(base, self._tiles)

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

    def _clear_short_steps(self, rows: PackedBlocks) -> None:
        """The same for packed runs, where some steps have fewer lanes than others."""
        schedule, zero = self.schedule, self.builder.splat(0.0)
        outer = (schedule.outer_base, schedule.block_rows(rows), 2, rows.rows_per_pad)
        inner = (0, schedule.block_rows(schedule.cols), schedule.panel_blocks, schedule.cols.rows_per_pad)
        for number, step in enumerate(rows.packed.steps):
            for base, size, count, height in (inner, outer) if step.lanes < LANES else ():

                def clear(index: Index, first: Index) -> None:
                    for tile in self.operands:
                        self.builder.tile_store(zero, tile, first + index, LANES)

                first = self.base + base + number * height
                self.builder.repeat(
                    count,
                    lambda block, first=first, size=size, height=height: self.builder.repeat(
                        height, lambda index: clear(index, block.scaled(size) + first)
                    ),
                )

    def _is_of_batch(self, access: Access) -> bool:
        """Whether each part of the batch has an operand of its own."""
        return any(access.stride(loop) for loop in self.plan.batch)

    def _load_columns(self, accesses: Sequence[Access], at: Mapping[Loop, Index]) -> None:
        """Operands that are one row for all: 32 elements a block of columns, the last ending with the operand."""
        tokens: list[ir.Value] = []
        cols = self.schedule.cols
        for access in accesses:
            tile = self.rows.column_tiles[self.epilogue.column_reads.index(access)]
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
        self.builder.repeat(whole, lambda panel: self._panel(at, panel, size))
        if rest:
            self._panel(at, Index(whole), rest)

    def _panel(self, at: dict[Loop, Index], number: Index, count: int) -> None:
        """Panel `number`, which has `count` inner blocks."""
        builder, first = self.builder, number.scaled(self.schedule.panel_blocks)
        panel: Panel | None = None
        if turns_back(self.schedule):
            value = builder.index_value(number)
            is_later = builder.differ(builder.equal_bits(value, 0), -1)
            panel = Panel(is_later, builder.minus(builder.index_constant(0), builder.both(value, 1)))
        TilePanel(self, at, first, count, panel).emit()

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
