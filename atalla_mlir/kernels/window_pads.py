"""Where in the pads windows find what they look at (`kernels.windows`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Stage
from atalla_mlir.codegen.phase_plan import ring_rows
from atalla_mlir.codegen.row_plan import LANES, MAX_DMA_ROWS
from atalla_mlir.codegen.window_layout import RESULT_SLOTS, WindowPlan
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import PADS, ROW_BYTES, Pads

Tap = tuple[int, int]
"""Line and column in a window."""


@dataclass(frozen=True)
class FixedRow:
    """A row that all results of a plane share: its pad, and the row of its first chunk in the pad's tile."""

    access: Access
    offset: int
    pad: int
    row: int


@dataclass(frozen=True)
class ResultRing:
    """Where a result that leaves the kernel waits for that: a slot for each iteration."""

    write: Access
    tile: ir.Value
    pad: int
    slot_bytes: int

    @property
    def mask(self) -> int:
        """Of byte offsets into the ring."""
        return self.slot_bytes * RESULT_SLOTS - 1


class WindowPads:
    """The tiles of a plan: the ring of lines, a ring for each result that leaves, and rows that results share.

    The result `kept` does not leave.
    """

    def __init__(
        self,
        builder: Builder,
        stages: Sequence[Stage],
        plan: WindowPlan,
        buffers: dict[Buffer, ir.Value],
        block: ir.Block,
        *,
        kept: Buffer | None = None,
    ) -> None:
        self.builder, self.plan, self.buffers = builder, plan, buffers
        pads = Pads(builder, block)
        self.lines = self._lines(pads)
        self.results: list[ResultRing] = []
        for stage in stages:
            if stage.write.buffer in buffers and stage.write.buffer is not kept:
                pad, rows = pads.quiet(1)[0], ring_rows(plan.group)
                tile = pads.tile(plan.results_rows, pad, 2.0 * plan.group)
                self.results.append(ResultRing(stage.write, tile, pad, rows * ROW_BYTES))
        self.fixed = self._place_fixed(stages, pads)
        """By (stage, read, tap): rows for each tap of a window, and those of the stages that follow."""
        counts = [sum(fixed.pad == pad for fixed in self.fixed.values()) for pad in range(PADS)]
        self.fixed_tiles = [pads.tile(plan.chunks * max(1, count), pad, 0.0) for pad, count in enumerate(counts)]

    def _lines(self, pads: Pads) -> list[ir.Value]:
        """The ring of lines in each pad, or all lines of an image that is there."""
        plan, work = self.plan, self.plan.group * self.plan.taps / self.plan.pads
        if plan.dealt is None:
            return [pads.tile(plan.ring_pad_rows, pad, work) for pad in range(plan.pads)]
        place = self.buffers[plan.image.buffer]
        assert isinstance(place, ir.BlockArgument)
        with ir.InsertionPoint.at_block_begin(pads.block):
            tiles = [self.builder.image_tile(plan.dealt.rows, pad, 0, place) for pad in plan.dealt.pads]
        pads.work = [used + work for used in pads.work]
        return tiles

    def _place_fixed(self, stages: Sequence[Stage], pads: Pads) -> dict[object, FixedRow]:
        window, *others = stages
        written = {stage.write.buffer for stage in stages}
        wanted = [
            ((window, at, tap), read, self._tap_offset(read, tap))
            for at, read in enumerate(window.reads)
            if read is not self.plan.image
            for tap in taps_of(self.plan)
        ]
        wanted += [
            ((stage, at, None), read, read.offset)
            for stage in others
            for at, read in enumerate(stage.reads)
            if read.buffer not in written
        ]
        placed: dict[object, FixedRow] = {}
        counts = [0] * PADS
        for key, access, offset in wanted:
            pad = pads.quiet(1)[0]
            placed[key] = FixedRow(access, offset, pad, counts[pad] * self.plan.chunks)
            counts[pad] += 1
            pads.work[pad] += 1.0
        return placed

    def _tap_offset(self, access: Access, tap: Tap) -> int:
        loops = (self.plan.lines.taps_loop, self.plan.columns.taps_loop)
        return access.offset + sum(
            at * access.stride(loop) for at, loop in zip(tap, loops, strict=True) if loop is not None
        )

    def load_fixed(self) -> None:
        """Bring the rows that planes share, of all chunks."""
        plan, builder = self.plan, self.builder
        builder.wait(
            [
                builder.dma(
                    "dma_load",
                    self.fixed_tiles[fixed.pad],
                    self.buffers[fixed.access.buffer],
                    builder.at(fixed.row + row),
                    builder.at(fixed.offset + element),
                    rows=rows,
                    cols=plan.cols,
                    pitch=plan.cols,
                )
                for fixed in self.fixed.values()
                for row, rows, element in _runs(plan)
            ]
        )

    def fill_frame(self) -> None:
        """Put the number around the image beside the lines of the ring, and into the line behind it."""
        plan, builder = self.plan, self.builder
        if plan.frame is None:
            return
        number = builder.splat(plan.frame)
        rows = [(self.lines[at % plan.pads], at // plan.pads) for at in plan.columns.framed]

        def beside(line: Index) -> None:
            for tile, row in rows:
                builder.tile_store(number, tile, line.scaled(plan.line_rows) + row, LANES)

        def behind(row: Index) -> None:
            for tile in self.lines:
                builder.tile_store(number, tile, row + plan.frame_row, LANES)

        if rows:
            builder.repeat(plan.frame_row // plan.line_rows, beside)
        if plan.lines.framed:
            builder.repeat(plan.seen_rows, behind)


def _runs(plan: WindowPlan) -> Iterator[tuple[int, int, int]]:
    """Chunks that lie behind one another as (first chunk, chunks, first channel)."""
    step, full = plan.even_step, plan.lane.extent // LANES
    if step is not None and step != LANES:
        yield from ((chunk, 1, chunk * step) for chunk in range(plan.chunks))
        return
    for first in range(0, full, MAX_DMA_ROWS):
        yield first, min(MAX_DMA_ROWS, full - first), first * LANES
    if full < plan.chunks:
        yield full, 1, plan.lane.extent - plan.cols


def taps_of(plan: WindowPlan) -> Iterator[Tap]:
    """The taps of a window, line by line."""
    for line in range(plan.lines.taps):
        for column in range(plan.columns.taps):
            yield line, column
