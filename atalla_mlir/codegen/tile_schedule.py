"""How a product walks its result tiles: which operand stays in the pads, and what moves during computation.

The result is cut into tiles of a block of rows x a block of columns. One operand, the *inner* one, stays in the pads
for a whole panel of tiles; the *outer* one is held in two buffers, of which one is filled while the other is in use.
Tiles are visited with the inner blocks running fastest. While a tile is computed, at most one block moves: during the
first outer block the next inner one, during the last inner block of a panel the next outer one.

The depth is a sequence of *steps*, each at most 32 lanes: the taps of a window are steps like the slices of a row, so a
block in the pads holds what each step needs of each row, and DRAM is read as the window asks for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.iteration import Access, Loop, Stage
from atalla_mlir.codegen.product_plan import LANES, MAX_SEQUENTIAL_SLICES, ProductPlan

MAX_BLOCK_ROWS = 64
"""Result rows of a tile: twice the lane additions of a slice then just cover the array's time for it (10.2)."""
MAX_TWO_LEVEL_ROWS = 56
"""The same where sums of blocks take registers too."""
ARRAY_SWAP_CYCLES = 63
"""From the last row of a slice to the first of the next one: 31 to drain, 32 to push (10.2)."""
PIECE_CYCLES = 7
"""What a second piece on the same pad costs in each step: its transfer waits for the first one's."""
MAX_PITCH = 1 << 20
MAX_PIECES = 8
SINK_ROWS = 1
"""Rows for transfers that are switched off: they move one element there."""


@dataclass(frozen=True)
class Blocks:
    """Rows on a grid of two loops, cut into blocks of `lines` x `width`.

    The last block along a loop ends with it, so it may overlap the one before. Lines are cut into pieces, each of which
    is one transfer: piece p lies in pad p mod `pads`.
    """

    line_loop: Loop | None
    loop: Loop | None
    lines: int
    width: int
    pads: int

    @property
    def num_lines(self) -> int:
        return self.line_loop.extent if self.line_loop is not None else 1

    @property
    def extent(self) -> int:
        return self.loop.extent if self.loop is not None else 1

    @property
    def blocks_across(self) -> int:
        """Blocks side by side along a line."""
        return -(-self.extent // self.width)

    @property
    def num_blocks(self) -> int:
        return -(-self.num_lines // self.lines) * self.blocks_across

    @property
    def excess_lines(self) -> int:
        """Lines by which the last block would stick out."""
        return -self.num_lines % self.lines

    @property
    def excess(self) -> int:
        """Rows by which the last block of a line would stick out."""
        return -self.extent % self.width

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return self.lines * self.width

    @property
    def pieces_of_a_line(self) -> int:
        return max(1, min(self.pads // self.lines, self.width))

    @property
    def num_pieces(self) -> int:
        return self.lines * self.pieces_of_a_line

    @property
    def piece_rows(self) -> int:
        """Rows of the largest piece."""
        return -(-self.width // self.pieces_of_a_line)

    @property
    def rows_per_pad(self) -> int:
        """Rows that one step of a block takes of each pad."""
        return -(-self.num_pieces // self.pads) * self.piece_rows

    def rows_of_piece(self, piece: int) -> int:
        return len(range(piece % self.pieces_of_a_line, self.width, self.pieces_of_a_line))

    def place(self, row: int) -> tuple[int, int]:
        """Pad of a row of a block, and the row there."""
        line, at = divmod(row, self.width)
        piece = line * self.pieces_of_a_line + at % self.pieces_of_a_line
        return piece % self.pads, piece // self.pads * self.piece_rows + at // self.pieces_of_a_line

    def strides(self, access: Access) -> tuple[int, int]:
        """Elements from line to line, and from row to row in a line."""
        along = [access.stride(loop) if loop is not None else 0 for loop in (self.line_loop, self.loop)]
        return along[0], along[1]

    def piece_offset(self, piece: int, access: Access) -> int:
        """Elements from a block's first row to the first one of a piece."""
        lines, rows = self.strides(access)
        line, first = divmod(piece, self.pieces_of_a_line)
        return line * lines + first * rows

    def pitch(self, access: Access) -> int:
        """Elements from row to row of a piece."""
        return self.strides(access)[1] * self.pieces_of_a_line

    def can_move(self, access: Access, lanes: int) -> bool:
        """Whether one transfer can take a piece: its rows must not overlap, nor lie too far apart."""
        return self.piece_rows == 1 or lanes <= self.pitch(access) <= MAX_PITCH


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

    @property
    def steps(self) -> int:
        return math.prod(level.extent for level in self.levels)

    @property
    def has_tail(self) -> bool:
        return self.first_lanes < self.lanes

    @property
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
    depth: Depth
    rows_inside: bool
    """Whether blocks of rows are the inner ones, which stay in the pads."""
    panel_blocks: int

    @property
    def inner(self) -> Blocks:
        return self.rows if self.rows_inside else self.cols

    @property
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
    def tail_offset(self) -> int:
        """Elements from the begin of a row to its first step: a tail lies at the end."""
        return (self.depth.steps - 1) * LANES if self.depth.has_tail else 0

    def block_rows(self, blocks: Blocks) -> int:
        """Rows of one pad that a block takes."""
        return self.depth.steps * blocks.rows_per_pad

    @property
    def operand_rows(self) -> int:
        """Rows of one pad that hold operands: the panel, two outer blocks and the sink."""
        return self.outer_base + 2 * self.block_rows(self.outer) + SINK_ROWS

    @property
    def outer_base(self) -> int:
        return self.panel_blocks * self.block_rows(self.inner)

    @property
    def sink_row(self) -> int:
        return self.operand_rows - SINK_ROWS

    @property
    def num_panels(self) -> int:
        return -(-self.inner.num_blocks // self.panel_blocks)


def choose_tile_schedule(
    plan: ProductPlan, product: Stage, epilogue: Sequence[Stage], stored: Sequence[Access], *, pads: int, pad_rows: int
) -> TileSchedule | None:
    """A schedule for a product whose operands and results are rows in DRAM; None for any other.

    `pad_rows` are the rows of each pad that it may use.
    """
    if len(plan.rows) > 2 or len(plan.cols) != 1 or plan.lane is None:
        return None
    streamed, pushed = product.reads[plan.streamed], product.reads[plan.pushed]
    depth = _depth(plan, streamed, pushed)
    if depth is None:
        return None
    cols = Blocks(None, plan.lane, 1, min(LANES, plan.lane.extent), pads)
    if not cols.can_move(pushed, depth.lanes):
        return None
    reads = outside_reads(product, epilogue)
    columns = [read for read in reads if is_column_read(read, plan)]
    moved = [*stored, *(read for read in reads if read not in columns)]
    if not _is_plain(epilogue, plan) or any(access.stride(plan.lane) != 1 for access in moved):
        return None
    limit = MAX_BLOCK_ROWS if depth.steps <= MAX_SEQUENTIAL_SLICES else MAX_TWO_LEVEL_ROWS
    found = [
        rows
        for rows in _row_blocks(plan.rows, limit, pads)
        if rows.can_move(streamed, depth.lanes) and all(rows.can_move(access, cols.width) for access in moved)
    ]
    if not found:
        return None
    rows = min(found, key=_block_cost)
    free = pad_rows - len(moved) * rows.rows_per_pad - len(columns) * cols.num_blocks
    return _fit(streamed, pushed, rows, cols, depth, free)


def _depth(plan: ProductPlan, streamed: Access, pushed: Access) -> Depth | None:
    """The steps of a depth that lies along the lanes of both operands."""
    lane = plan.depth_lane
    if lane is None or streamed.stride(lane) != 1 or pushed.stride(lane) != 1:
        return None
    slices, tail = -(-lane.extent // LANES), lane.extent % LANES
    if slices > 1 and tail and plan.depth:
        return None
    levels = [DepthLevel(loop.extent, streamed.stride(loop), pushed.stride(loop)) for loop in plan.depth]
    levels.append(DepthLevel(slices, LANES, LANES))
    lanes = min(LANES, lane.extent)
    return Depth(_merged(levels), lanes, tail if slices > 1 and tail else lanes)


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


def _row_blocks(loops: Sequence[Loop], limit: int, pads: int) -> list[Blocks]:
    """Ways to cut rows into blocks of at most `limit`: as few as possible, of about equal size."""
    line_loop, loop = (loops[0], loops[1]) if len(loops) == 2 else (None, loops[0] if loops else None)
    num_lines, extent = (line_loop.extent if line_loop else 1), (loop.extent if loop else 1)
    found: list[Blocks] = []
    for across in range(-(-extent // limit), extent + 1):
        width = -(-extent // across)
        lines = -(-num_lines // -(-num_lines // (limit // width)))
        blocks = Blocks(line_loop, loop, lines, width, pads)
        if blocks.num_pieces <= MAX_PIECES:
            found.append(blocks)
    return found


def _block_cost(blocks: Blocks) -> tuple[int, int]:
    """Cycles of one step of all blocks, then transfers."""
    waits = max(0, blocks.num_pieces - blocks.pads) * PIECE_CYCLES
    return (blocks.num_blocks * (max(2 * blocks.rows, blocks.rows + ARRAY_SWAP_CYCLES) + waits), blocks.num_pieces)


def _is_plain(epilogue: Sequence[Stage], plan: ProductPlan) -> bool:
    """Whether the epilogue works on the rows of a tile."""
    allowed = {*plan.batch, *plan.rows, *plan.cols}
    return all(not stage.reduced and set(stage.loops) <= allowed for stage in epilogue)


def outside_reads(product: Stage, epilogue: Sequence[Stage]) -> list[Access]:
    """What the epilogue reads that the kernel does not compute."""
    written = {stage.write.buffer for stage in (product, *epilogue)}
    return [read for stage in epilogue for read in stage.reads if read.buffer not in written]


def is_column_read(read: Access, plan: ProductPlan) -> bool:
    """Whether an operand is one row that all rows of all tiles share."""
    return set(read.strides) == {plan.lane} and read.stride(plan.lane) == 1 if plan.lane is not None else False


def _fit(
    streamed: Access, pushed: Access, rows: Blocks, cols: Blocks, depth: Depth, pad_rows: int
) -> TileSchedule | None:
    """The order with the least traffic whose operands fit; the smaller operand inside when both orders move as much."""
    found: list[tuple[int, int, TileSchedule]] = []
    for rows_inside in (True, False):
        inner, outer = (rows, cols) if rows_inside else (cols, rows)
        one = TileSchedule(streamed, pushed, rows, cols, depth, rows_inside, 1)
        room = (pad_rows - one.operand_rows) // one.block_rows(inner) + 1
        if room < 1:
            continue
        panels = -(-inner.num_blocks // min(room, inner.num_blocks))
        schedule = TileSchedule(streamed, pushed, rows, cols, depth, rows_inside, -(-inner.num_blocks // panels))
        inner_rows = inner.num_blocks * inner.rows
        found.append((inner_rows + schedule.num_panels * outer.num_blocks * outer.rows, inner_rows, schedule))
    return min(found, key=lambda item: item[:2])[2] if found else None
