"""How a product walks its result tiles: which operand stays in the pads, and what moves during computation.

The result is cut into tiles of a block of rows x a block of columns. One operand, the *inner* one, stays in the pads
for a whole panel of tiles; the *outer* one is held in two buffers, of which one is filled while the other is in use.
Tiles are visited with the inner blocks running fastest. While a tile is computed, at most one block moves: during the
first outer block the next inner one, during the last inner block of a panel the next outer one. An outer block that
takes longer than a tile comes in two halves, during the last two inner blocks.

The depth is a sequence of *steps*, each at most 32 lanes: the taps of a window are steps like the slices of a row. A
block in the pads holds what each step needs of each row, and DRAM is read as the window asks for; or it holds the
footprint of its windows once (`footprints`), slice by slice, of which the taps are addresses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from atalla_mlir.codegen.footprints import FootprintBlocks, Window, footprint_blocks, run_window_of, window_of
from atalla_mlir.codegen.iteration import Access, Stage
from atalla_mlir.codegen.lane_functions import is_long
from atalla_mlir.codegen.packed_runs import PackedBlocks, Runs, packed_blocks, runs_of
from atalla_mlir.codegen.product_plan import LANES, MAX_SEQUENTIAL_SLICES, ProductPlan
from atalla_mlir.codegen.row_blocks import MAX_PIECES, Blocks, row_blocks
from atalla_mlir.codegen.turn_plan import ColumnTurn, can_turn_columns

MAX_ROW_LOOPS = 3
"""Pictures, lines and pixels."""
MAX_BLOCK_ROWS = 100
"""Result rows of a tile: sums, the terms that are added and those that the array computes share the registers."""
MAX_ROWS_WITH_TOTALS = 64
"""Result rows of a tile, at most, whose totals stay in the registers, beside sums and terms."""
MIN_JOINED_STEPS = 3
"""Transfers are then waited for in an iteration before the one that uses them."""
MAX_JOINED_ROWS = 64
"""Rows of a tile whose sums may still be in registers while the next one has sums and terms."""
MAX_JOINED_ROWS_WITH_OPERANDS = 56
"""The same where the epilogue reads operands that differ from row to row."""
MIN_EQUAL_LANES = 8
"""Lanes of equal slices, at least, into which the runs of a window are cut that are no multiple of 32."""
MAX_ROWS_TOGETHER = 4
"""Rows of each pad that an iteration of a loop over staged rows finishes."""
SPARE_ITERATIONS = 2
"""By which such a loop may run beyond them at both ends."""
STAGING_MARGIN = (1 + 2 * SPARE_ITERATIONS) * MAX_ROWS_TOGETHER - 1
"""Rows of each pad beside the staged ones."""
SINK_ROWS = 1
"""Rows for transfers that are switched off: they move one element there."""


@dataclass(frozen=True)
class DepthLevel:
    """A loop over steps: its extent, and elements from one iteration to the next in the streamed and pushed operand."""

    extent: int
    streamed: int
    pushed: int


@dataclass(frozen=True)
class Depth:
    """The steps of a depth: levels, outermost first, of which the last are slices of `lanes`.

    A depth of one level that is no multiple of 32 begins with its tail of `first_lanes`.
    """

    levels: tuple[DepthLevel, ...]
    lanes: int
    first_lanes: int

    @cached_property
    def steps(self) -> int:
        return math.prod(level.extent for level in self.levels)

    @property
    def has_tail(self) -> bool:
        return self.first_lanes < self.lanes

    @cached_property
    def has_two_levels(self) -> bool:
        """Whether sums of blocks of steps are added to totals."""
        return self.steps > MAX_SEQUENTIAL_SLICES

    @cached_property
    def steps_in_sequence(self) -> int:
        """Steps whose results are added one after the other; the sums of such blocks are then added likewise.

        Blocks of equal size are preferred: a remainder is a loop of its own.
        """
        if self.steps <= MAX_SEQUENTIAL_SLICES:
            return self.steps
        fewest = -(-self.steps // MAX_SEQUENTIAL_SLICES)
        equal = (self.steps // count for count in range(fewest, 2 * fewest) if self.steps % count == 0)
        return next(equal, -(-self.steps // fewest))


@dataclass(frozen=True)
class TileSchedule:
    """The walk over the tiles of one product, and where its operands lie in every pad.

    A panel is `panel_blocks` inner blocks; a step of a block takes `rows_per_pad` rows.
    """

    streamed: Access
    pushed: Access
    rows: Blocks
    cols: Blocks
    results: Blocks
    """The rows again, as results and operands of the epilogue lie in their staging areas."""
    depth: Depth
    rows_inside: bool
    """Whether blocks of rows are the inner ones, which stay in the pads."""
    panel_blocks: int
    resident_step: int = 0
    """Rows of each pad from step to step of blocks of rows that lie in the pads already; 0 where they are fetched."""
    reads_rows: bool = False
    """Whether the epilogue reads operands that differ from row to row."""
    turn: ColumnTurn | None = None
    """What `pushed` is a copy of, where the array turns all columns in the pads before the walk."""

    @cached_property
    def inner(self) -> Blocks:
        return self.rows if self.rows_inside else self.cols

    @cached_property
    def outer(self) -> Blocks:
        return self.cols if self.rows_inside else self.rows

    def access(self, blocks: Blocks) -> Access:
        return self.streamed if blocks is self.rows else self.pushed

    def jumps(self, blocks: Blocks) -> list[int]:
        """Elements to the next step: the last one, and that of each level that goes on as those inside begin again."""
        levels = [
            (level.extent, level.streamed if blocks is self.rows else level.pushed) for level in self.depth.levels
        ]
        outer = [stride - extent * inner for (_, stride), (extent, inner) in itertools.pairwise(levels)]
        return [*outer, levels[-1][1]]

    @property
    def keeps_totals(self) -> bool:
        """Whether the totals of a tile with two levels of sums are in registers: the pads hold those of larger ones."""
        return self.depth.has_two_levels and self.rows.rows <= MAX_ROWS_WITH_TOTALS

    @cached_property
    def joins_tiles(self) -> bool:
        """Whether the second step of a tile is computed while the one before is finished.

        The rows of both are then in registers, and their code is one block, which should not be too long.
        """
        fits = self.rows.rows <= MAX_JOINED_ROWS and self._comes_in_time
        if self.reads_rows:
            # they come while the rows are finished, and their addresses must not take longer than that
            fits = fits and self.rows.rows <= MAX_JOINED_ROWS_WITH_OPERANDS and self.rows.line_loop is None
        return fits and self.depth.steps >= MIN_JOINED_STEPS and not self.depth.has_two_levels

    @property
    def _comes_in_time(self) -> bool:
        """Whether what the first step of a tile reads is fetched before the last step of the one before.

        The first tap of a window reads all lines of its slice, of which a step fetches one.
        """
        lines = self.fetched_footprints
        return lines is None or lines.transfers < self.depth.steps

    @property
    def footprints(self) -> FootprintBlocks | None:
        """The blocks of rows, where they lie in the pads as what their windows see."""
        return self.rows if isinstance(self.rows, FootprintBlocks) else None

    @property
    def fetched_footprints(self) -> FootprintBlocks | None:
        """The same, where they are fetched block by block."""
        found = self.footprints
        return None if found is None or found.is_resident else found

    def target_jumps(self, blocks: Blocks) -> list[int]:
        """Rows of a pad from where a step is fetched to to the next one, as `jumps`."""
        if isinstance(blocks, FootprintBlocks):
            return [blocks.slice_rows - blocks.seen.num_taps * blocks.piece_rows, blocks.piece_rows]
        return [0] * (len(self.depth.levels) - 1) + [blocks.rows_per_pad]

    @property
    def tail_offset(self) -> int:
        """Elements from the begin of a row to its first step: a tail lies at the end."""
        return (self.depth.steps - 1) * LANES if self.depth.has_tail else 0

    @cached_property
    def moving_pieces(self) -> int:
        """Pieces of the blocks that come while tiles are computed: the most that one has."""
        counts = (self.inner, self.panel_blocks), (self.outer, self.outer.num_blocks)
        moving = [blocks.num_pieces for blocks, count in counts if count > 1 and not self.is_resident(blocks)]
        return max(moving, default=0)

    def is_resident(self, blocks: Blocks) -> bool:
        """Whether blocks are in the pads before the walk begins."""
        return self._is_elsewhere(blocks) or (self.turn is not None and blocks is self.cols)

    def _is_elsewhere(self, blocks: Blocks) -> bool:
        """Whether blocks lie where another product has left them."""
        is_image = isinstance(self.rows, FootprintBlocks) and self.rows.is_resident
        return (self.resident_step > 0 or is_image) and blocks is self.rows

    def step_rows(self, blocks: Blocks) -> int:
        """Rows of one pad from a step of a block to the next one."""
        return self.resident_step if self.resident_step and blocks is self.rows else blocks.rows_per_pad

    def block_rows(self, blocks: Blocks) -> int:
        """Rows of one pad that a block takes."""
        if isinstance(blocks, FootprintBlocks):
            return blocks.depth_rows
        return self.depth.steps * self.step_rows(blocks)

    @property
    def operand_rows(self) -> int:
        """Rows of one pad that hold operands: the panel, two outer blocks and the sink."""
        return self.outer_base + 2 * self.block_rows(self.outer) + SINK_ROWS

    @property
    def outer_base(self) -> int:
        return 0 if self._is_elsewhere(self.inner) else self.panel_blocks * self.block_rows(self.inner)

    @property
    def raw_rows(self) -> int:
        """Rows of one pad that hold columns before they are turned, and what nobody reads meanwhile."""
        return self.panel_blocks * self.block_rows(self.cols) + SINK_ROWS if self.turn is not None else 0

    @property
    def sink_row(self) -> int:
        return self.operand_rows - SINK_ROWS

    @cached_property
    def num_panels(self) -> int:
        return -(-self.inner.num_blocks // self.panel_blocks)

    @property
    def inner_rows(self) -> int:
        return self.inner.num_blocks * self.inner.rows


def tile_schedules(
    plan: ProductPlan,
    product: Stage,
    epilogue: Sequence[Stage],
    stored: Sequence[Access],
    *,
    pads: int,
    pad_rows: int,
    source: Access | None = None,
) -> Iterator[TileSchedule]:
    """All walks for a product whose operands and results are rows in DRAM; none for any other.

    `pad_rows` are the rows of each pad that it may use. `source` is what the pushed operand is a turned copy of, if the
    array is to turn all of it in the pads.
    """
    if len(plan.rows) > MAX_ROW_LOOPS or len(plan.cols) != 1 or plan.lane is None:
        return
    streamed, pushed = product.reads[plan.streamed], product.reads[plan.pushed]
    depth = depth_of(plan, streamed, pushed)
    if depth is None:
        return
    cols = Blocks(None, plan.lane, 1, min(LANES, plan.lane.extent), pads)
    if not cols.can_move(pushed, depth.lanes):
        return
    turn = _column_turn(plan, depth, source, pads)
    if source is not None and turn is None:
        return
    reads = outside_reads(product, epilogue)
    columns = [read for read in reads if is_column_read(read, plan)]
    moved = [*stored, *(read for read in reads if read not in columns)]
    if not is_plain(epilogue, plan) or any(access.stride(plan.lane) != 1 for access in moved):
        return
    # operands of the epilogue have two buffers, as results that are made under the next tile; totals have one
    num_staged = (1 + is_long(epilogue)) * len(stored) + 2 * (len(moved) - len(stored)) + 1
    runs = _shorter_runs(plan, streamed, pushed, depth)
    for grid, window in _grids(plan, streamed, pushed, depth.lanes, pads):
        results = _result_blocks(grid, moved)
        if results is None or not all(results.can_move(access, cols.width) for access in moved):
            continue
        free = pad_rows - num_staged * (results.rows_per_pad + STAGING_MARGIN) - len(columns) * cols.num_blocks
        reads_rows = len(moved) > len(stored)
        walk = TileSchedule(streamed, pushed, grid, cols, results, depth, True, 1, reads_rows=reads_rows, turn=turn)
        for rows in (grid, grid.in_a_run(streamed)) if window is None or not window.goes_down else ():
            if rows is None or rows.num_pieces > MAX_PIECES or not rows.can_move(streamed, depth.lanes):
                continue
            yield from fitting(replace(walk, rows=rows), free)
        if window is not None and turn is None:
            for rows in footprint_blocks(grid, window):
                yield from fitting(replace(walk, rows=rows, depth=window_depth(window)), free)
        packed = packed_blocks(grid, runs, streamed) if runs is not None and turn is None else None
        if packed is not None:
            yield from fitting(replace(walk, rows=packed, depth=_packed_depth(packed.packed)), free)


def _grids(
    plan: ProductPlan, streamed: Access, pushed: Access, lanes: int, pads: int
) -> Iterator[tuple[Blocks, Window | None]]:
    """Ways to cut the rows of the result, and the window that footprints of such blocks belong to."""
    window, loops = window_of(plan, streamed, pushed), plan.rows[-2:]
    pictures = plan.rows[0] if len(plan.rows) == MAX_ROW_LOOPS else None
    for grid in row_blocks(loops, MAX_BLOCK_ROWS, pads, pictures):
        yield grid, window
    runs = run_window_of(plan, streamed, pushed, lanes) if window is None else None
    for grid in row_blocks(loops[::-1], MAX_BLOCK_ROWS, pads, pictures) if runs is not None else ():
        yield grid, runs


def _column_turn(plan: ProductPlan, depth: Depth, source: Access | None, pads: int) -> ColumnTurn | None:
    """How the array turns columns, if a source of them is given and has the form for it."""
    lane, loop = plan.lane, plan.depth_lane
    if source is None or lane is None or loop is None or plan.depth or depth.lanes != LANES or depth.has_tail:
        return None
    if depth.has_two_levels or not can_turn_columns(source, lane, loop, pads):
        return None
    return ColumnTurn(source, loop, lane.extent, depth.steps)


def resident_schedule(
    plan: ProductPlan,
    product: Stage,
    epilogue: Sequence[Stage],
    stored: Sequence[Access],
    staged: Sequence[Access],
    rows: Blocks,
    step_rows: int,
) -> TileSchedule | None:
    """The walk for a product whose streamed operand lies in the pads as `rows`, step by step; None where it cannot.

    `stored` results go to DRAM, `staged` operands of the epilogue, which differ from row to row, come from there.
    """
    if len(plan.cols) != 1 or plan.lane is None or plan.batch:
        return None
    streamed, pushed = product.reads[plan.streamed], product.reads[plan.pushed]
    depth = depth_of(plan, streamed, pushed)
    cols = Blocks(None, plan.lane, 1, min(LANES, plan.lane.extent), rows.pads)
    if depth is None or len(depth.levels) != 1 or depth.lanes != LANES or depth.has_tail:
        return None
    if not cols.can_move(pushed, depth.lanes) or not is_plain(epilogue, plan):
        return None
    moved = [*stored, *staged]
    if any(access.stride(plan.lane) != 1 for access in moved):
        return None
    results = _result_blocks(rows, moved)
    if results is None or not all(results.can_move(access, cols.width) for access in moved):
        return None
    return TileSchedule(
        streamed, pushed, rows, cols, results, depth, True, rows.num_blocks, step_rows, reads_rows=bool(staged)
    )


def _result_blocks(grid: Blocks, moved: Sequence[Access]) -> Blocks | None:
    """How a block of results, and of operands of the epilogue, is cut: in one run only when nothing lies between."""
    runs = {grid.in_a_run(access) for access in moved}
    run = next(iter(runs)) if len(runs) == 1 else None
    results = run if run is not None and run.line_pitch == run.width else grid
    return results if results.num_pieces <= MAX_PIECES else None


def depth_of(plan: ProductPlan, streamed: Access, pushed: Access) -> Depth | None:
    """The steps of a depth that lies along the lanes of both operands."""
    lane = plan.depth_lane
    if lane is None or streamed.stride(lane) != 1 or pushed.stride(lane) != 1:
        return None
    slices, tail = -(-lane.extent // LANES), lane.extent % LANES
    levels = [DepthLevel(loop.extent, streamed.stride(loop), pushed.stride(loop)) for loop in plan.depth]
    if slices > 1 and tail and plan.depth:
        # a tail in each run would have to be told from the slices: equal ones instead
        lanes = max(size for size in range(1, LANES) if lane.extent % size == 0)
        if lanes < MIN_EQUAL_LANES:
            return None
        levels.append(DepthLevel(lane.extent // lanes, lanes, lanes))
        return Depth(_merged(levels), lanes, lanes)
    levels.append(DepthLevel(slices, LANES, LANES))
    lanes = min(LANES, lane.extent)
    return Depth(_merged(levels), lanes, tail if slices > 1 and tail else lanes)


def window_depth(window: Window) -> Depth:
    """Slices, and under each of them the taps: image lines and columns are then fetched in the same order."""
    slices = DepthLevel(window.slices, window.lanes, window.lanes)
    if window.num_taps == 1:
        return Depth((slices,), window.lanes, window.lanes)
    taps = DepthLevel(window.num_taps, window.strides[0], window.tap_stride)
    return Depth((slices, taps), window.lanes, window.lanes)


def _shorter_runs(plan: ProductPlan, streamed: Access, pushed: Access, depth: Depth) -> Runs | None:
    """The runs of a product if packing them takes fewer steps, and there is more than one block of columns."""
    runs = runs_of(plan, streamed, pushed)
    if runs is None or len(runs.steps) >= depth.steps or plan.lane is None or plan.lane.extent <= LANES:
        return None
    return runs


def _packed_depth(runs: Runs) -> Depth:
    """One level, of whose steps only the moves know what they consist of."""
    return Depth((DepthLevel(len(runs.steps), LANES, LANES),), LANES, LANES)


def _merged(levels: Sequence[DepthLevel]) -> tuple[DepthLevel, ...]:
    """Levels that both operands walk as one run are one; levels of one iteration are dropped."""
    merged: list[DepthLevel] = []
    for level in (level for level in levels if level.extent > 1):
        if merged:
            outer, run = merged[-1], (level.extent * level.streamed, level.extent * level.pushed)
            if (outer.streamed, outer.pushed) == run:
                merged[-1] = DepthLevel(outer.extent * level.extent, level.streamed, level.pushed)
                continue
        merged.append(level)
    return tuple(merged or [DepthLevel(1, LANES, LANES)])


def is_plain(epilogue: Sequence[Stage], plan: ProductPlan) -> bool:
    """Whether the epilogue works on the rows of a tile."""
    allowed = {*plan.batch, *plan.rows, *plan.cols}
    return all(not stage.reduced and set(stage.loops) <= allowed for stage in epilogue)


def outside_reads(product: Stage, epilogue: Sequence[Stage]) -> list[Access]:
    """What the epilogue reads that the kernel does not compute."""
    written = {stage.write.buffer for stage in (product, *epilogue)}
    return [read for stage in epilogue for read in stage.reads if read.buffer not in written]


def is_column_read(read: Access, plan: ProductPlan) -> bool:
    """Whether an operand is one row that all rows of the tiles of one part of the batch share."""
    others = set(read.strides) - {plan.lane}
    return plan.lane is not None and read.stride(plan.lane) == 1 and others <= set(plan.batch)


def fitting(walk: TileSchedule, pad_rows: int) -> Iterator[TileSchedule]:
    """Both orders, as far as their operands fit into that many rows of each pad; turned columns all stay there."""
    if walk.turn is not None:
        whole = replace(walk, rows_inside=False, panel_blocks=walk.cols.num_blocks)
        if whole.operand_rows + whole.raw_rows <= pad_rows:
            yield whole
        return
    if isinstance(walk.rows, PackedBlocks):
        # rows come under two tiles, so columns all stay
        whole = replace(walk, rows_inside=False, panel_blocks=walk.cols.num_blocks)
        if whole.operand_rows <= pad_rows:
            yield whole
        return
    for rows_inside in (True, False):
        is_this = walk.rows_inside == rows_inside and walk.panel_blocks == 1
        one = walk if is_this else replace(walk, rows_inside=rows_inside, panel_blocks=1)
        room = (pad_rows - one.operand_rows) // one.block_rows(one.inner) + 1
        if room >= 1:
            panels = -(-one.inner.num_blocks // min(room, one.inner.num_blocks))
            panel_blocks = -(-one.inner.num_blocks // panels)
            yield one if panel_blocks == 1 else replace(one, panel_blocks=panel_blocks)
