"""Plan products of a few slices as one loop over all tiles, whose iterations overlap.

An iteration pushes 32 columns, streams a block of rows, and does so for each slice of the depth; sums stay in
registers. Operands come and results go beside it, piece by piece, so that neither tiles nor parts of a batch have to be
waited for. All operands and results of a panel lie in the pads: row r of a block in pad r mod 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.attention_plan import PADS, Blocks
from atalla_mlir.codegen.decision import Decision, Fields, fastest
from atalla_mlir.codegen.iteration import Access, Loop, Stage
from atalla_mlir.codegen.lane_functions import LONG_EPILOGUE, epilogue_operations
from atalla_mlir.codegen.product_plan import LANES, ProductPlan
from atalla_mlir.codegen.tile_schedule import is_column_read, outside_reads
from atalla_mlir.codegen.turn_plan import MAX_PITCH, ColumnTurn, can_turn_columns, turning_cycles

FORM_NAME = "flowing product"
STAGES = 4
"""Iterations that may be in progress at once. Results go out so many iterations after they are there."""
LEAD = STAGES + 1
"""Iterations by which a piece comes before its use."""
MIN_ITERATIONS = 8
"""Filling and draining the loop takes as long as two or three."""
SLICES = 2
"""Of the depth: with one the array waits for transfers, with more an iteration is too long."""
MIN_BLOCK_ROWS, MAX_BLOCK_ROWS = 16, 72
MAX_INSTRUCTIONS = 760
"""Of an iteration: longer ones are hard to schedule, and their code must stay in the cache."""
CUTS = (1, 2, 4)
"""Pieces that a slice of a block may come in."""
ARRAY_SWAP_CYCLES = 68
"""From the last row of a slice to the first of the next one: 63 (machine reference 10.2), and what a loop wastes."""
LANE_INTERVAL = 2
PAD_INTERVAL = 3
PAD_ROW_CYCLES = 7
"""A row of a transfer into a pad."""
ROW_CHANNEL_CYCLES = 2.0
TRANSFER_START_CYCLES = 10
COUNTING, PIECE_COUNTING = 30, 40
"""Scalar instructions of an iteration, and of each piece of four transfers that it moves."""
SLOTS_FILLED = 3.0
PACKING, PACKING_CYCLES = 1.1, 15
"""What an iteration takes beyond its busiest unit, roughly."""
LONG_PACKING = 1.45
"""The same with a long epilogue."""
START_CYCLES = 1000
PANEL_CYCLES, FILLING = 1100, 1.3
"""Before the loop over a panel and after it; what fetching takes beyond the DRAM channel there."""
ENTRY_CYCLES = 5
"""For each instruction of an iteration: code that runs once and cold, which holds two iterations."""
ENTERED = 2


@dataclass(frozen=True)
class Feed:
    """How an operand comes: pieces of `rows` rows and one slice, `each` of them in an iteration, `first` ahead."""

    rows: int
    each: int
    first: int
    pieces: int
    """Of a panel."""

    @property
    def is_before(self) -> bool:
        """Whether all of it comes before the loop."""
        return self.first * self.each >= self.pieces

    @property
    def moved_before(self) -> int:
        """Pieces that come before the loop."""
        return min(self.pieces, self.first * self.each)


@dataclass(frozen=True)
class FlowPlan:
    """A panel is `group` (loops of the batch, and how many iterations of each) x `panel` blocks of rows x all columns.

    `outside` are loops around all panels. Tiles are walked with the columns running fastest.
    """

    streamed: Access
    pushed: Access
    outside: tuple[Loop, ...]
    group: tuple[tuple[Loop, int], ...]
    row_loop: Loop
    col_loop: Loop
    rows: Blocks
    cols: Blocks
    panel: int
    slices: int
    row_feed: Feed
    col_feed: Feed
    source: Access | None = None
    """What `pushed` is a copy of, whose columns lie along its rows: the array turns those of a panel before its tiles.
    The feed is then that of the loop that does so, one tile of 32x32 elements in an iteration."""

    @property
    def parts(self) -> int:
        """Of the batch, in a panel."""
        return math.prod(count for _, count in self.group)

    @property
    def panels(self) -> int:
        """Along the rows; the last one ends with them and so may overlap the one before."""
        return -(-self.rows.count // self.panel)

    @property
    def rounds(self) -> int:
        """How often a panel is worked on."""
        inside = math.prod(loop.extent // count for loop, count in self.group)
        return self.panels * inside * math.prod(loop.extent for loop in self.outside)

    @property
    def panel_rows(self) -> Blocks:
        """Blocks of the rows of a panel."""
        return Blocks(self.rows.extent if self.panels == 1 else self.panel * self.rows.size, self.rows.size)

    @property
    def iterations(self) -> int:
        """Of a panel."""
        return self.parts * self.panel * self.cols.count

    @property
    def turn(self) -> ColumnTurn | None:
        """What the array turns before the tiles of a panel."""
        if self.source is None:
            return None
        batch = {*self.outside, *(loop for loop, _ in self.group)}
        (depth,) = (loop for loop in self.source.strides if loop is not self.col_loop and loop not in batch)
        return ColumnTurn(self.source, depth, self.cols.extent, self.slices, self.group)

    @property
    def turned_tiles(self) -> int:
        """Of 32x32 elements, in a panel."""
        return self.turn.tiles if self.turn is not None else 0

    @property
    def beside(self) -> tuple[Feed, ...]:
        """Feeds of operands that come beside the tiles."""
        feeds = (self.row_feed,) if self.source is not None else (self.row_feed, self.col_feed)
        return tuple(feed for feed in feeds if not feed.is_before)

    @property
    def piece_rows(self) -> int:
        """Rows of each pad that a block of rows takes."""
        return self.rows.size // PADS

    def pad_rows(self, stored: int, staged: int, columns: int) -> int:
        """Rows of each pad that a panel takes: operands, results and operands of the epilogue."""
        cols = self.cols.count * LANES // PADS * self.slices
        operands = self.panel * self.piece_rows * self.slices + cols * (2 if self.source is not None else 1)
        results = self.panel * self.piece_rows * self.cols.count * (stored + staged)
        return self.parts * (operands + results + columns * self.cols.count) + 1


def choose_flow_plan(
    plan: ProductPlan,
    product: Stage,
    epilogue: Sequence[Stage],
    stored: Sequence[Access],
    *,
    pads: int,
    pad_rows: int,
    wanted: Fields,
    source: Access | None = None,
) -> tuple[FlowPlan, Decision] | None:
    """The plan that is predicted to take the fewest cycles, of those that are as `wanted`.

    None where the product does not have the form, or is too small. `pad_rows` are the rows of each pad that it may use.
    `source` is what the pushed operand is a turned copy of, if the array is to turn it.
    """
    if pads != PADS:
        return None
    found, counts = list(_plans(plan, product, epilogue, stored, pad_rows, source)), epilogue_operations(epilogue)
    others = len(stored) + sum(not is_column_read(read, plan) for read in outside_reads(product, epilogue))
    chosen = fastest(FORM_NAME, found, flow_fields, lambda way: _cycles(way, counts, others), wanted)
    if chosen is None:
        return None
    best, cycles, ways = chosen
    facts = {"iterations": best.iterations, "rounds": best.rounds, "turned_tiles": best.turned_tiles}
    return best, Decision(FORM_NAME, flow_fields(best), facts, round(cycles), ways)


def flow_fields(plan: FlowPlan) -> Fields:
    """What of a plan a user may fix."""
    return {"rows": plan.rows.size}


def _plans(
    plan: ProductPlan,
    product: Stage,
    epilogue: Sequence[Stage],
    stored: Sequence[Access],
    pad_rows: int,
    source: Access | None,
) -> Iterator[FlowPlan]:
    """One for each size of the blocks of rows."""
    streamed, pushed, depth = product.reads[plan.streamed], product.reads[plan.pushed], plan.depth_lane
    if depth is None or plan.depth or depth.extent != SLICES * LANES:
        return
    if streamed.stride(depth) != 1 or pushed.stride(depth) != 1:
        return
    if len(plan.rows) != 1 or len(plan.cols) != 1 or plan.lane is None or plan.lane.extent < LANES:
        return
    row_loop, reads = plan.rows[0], outside_reads(product, epilogue)
    columns = [read for read in reads if is_column_read(read, plan)]
    staged = [read for read in reads if read not in columns]
    if source is not None and not can_turn_columns(source, plan.lane, depth, PADS):
        return
    if not _is_plain(plan, epilogue) or not _can_move(plan, streamed, pushed, [*stored, *staged]):
        return
    cols, counts = Blocks(plan.lane.extent, LANES), epilogue_operations(epilogue)
    for size in _block_sizes(row_loop.extent):
        rows = Blocks(row_loop.extent, size)
        unfed = Feed(size, 1, 0, 0)
        whole = FlowPlan(
            streamed, pushed, plan.batch, (), row_loop, plan.lane, rows, cols, rows.count, SLICES, unfed, unfed, source
        )
        if _num_instructions(whole, counts, len(stored) + len(staged)) > MAX_INSTRUCTIONS:
            continue
        panel = _panel(whole, pad_rows, len(stored), len(staged), len(columns))
        if panel is not None and panel.iterations >= MIN_ITERATIONS:
            yield from _fed(panel)


def _is_plain(plan: ProductPlan, epilogue: Sequence[Stage]) -> bool:
    """Whether the epilogue works on the rows of a tile."""
    known = {*plan.batch, *plan.rows, *plan.cols}
    return not any(stage.reduced or not set(stage.loops) <= known for stage in epilogue)


def _can_move(plan: ProductPlan, streamed: Access, pushed: Access, moved: Sequence[Access]) -> bool:
    """Whether a transfer can take every fourth row of each operand and result."""
    row_loop, lane = plan.rows[0], plan.lane
    assert lane is not None
    if any(access.indirect or access.stride(lane) != 1 for access in moved):
        return False
    pitches = [streamed.stride(row_loop), pushed.stride(lane), *(access.stride(row_loop) for access in moved)]
    return all(LANES <= PADS * pitch <= MAX_PITCH for pitch in pitches)


def _block_sizes(extent: int) -> list[int]:
    """Multiples of the number of pads; of those that give the same number of blocks the least."""
    most = min(MAX_BLOCK_ROWS, extent // PADS * PADS)
    sizes = range(MIN_BLOCK_ROWS, most + 1, PADS)
    return sorted({min(size, -(-extent // (PADS * -(-extent // size))) * PADS) for size in sizes})


def _panel(whole: FlowPlan, pad_rows: int, stored: int, staged: int, columns: int) -> FlowPlan | None:
    """The largest panel that fits: as much of the batch as there is room for, or some of the rows of one part."""

    def fits(plan: FlowPlan) -> bool:
        return plan.pad_rows(stored, staged, columns) <= pad_rows

    best = None
    outside, group = list(whole.outside), list[tuple[Loop, int]]()
    if fits(whole):
        best = whole
        while outside:
            loop = outside.pop()
            counts = (count for count in range(loop.extent, 1, -1) if loop.extent % count == 0)
            ways = (replace(whole, outside=(*outside,), group=((loop, count), *group)) for count in counts)
            larger = next((way for way in ways if fits(way)), None)
            if larger is None:
                break
            best, group = larger, [*larger.group]
            if group[0][1] < loop.extent:
                break
        return best
    smaller = (replace(whole, panel=-(-whole.rows.count // panels)) for panels in range(2, whole.rows.count + 1))
    return next((plan for plan in smaller if fits(plan)), None)


def _fed(panel: FlowPlan) -> Iterator[FlowPlan]:
    """The panel with ways to fetch its operands."""
    per_part = panel.panel * panel.cols.count
    row_pieces, col_pieces = panel.panel * panel.slices, panel.cols.count * panel.slices
    # a row of tiles needs a block of rows from its first tile on, the first row each block of columns from its tile on
    rows_needed = {at * panel.cols.count: (at + 1) * panel.slices for at in range(panel.panel)}
    cols_needed = {at: (at + 1) * panel.slices for at in range(panel.cols.count)}
    row_feeds = list(_feeds(panel, row_pieces, per_part, rows_needed, panel.rows.size))
    if panel.source is None:
        col_feeds = list(_feeds(panel, col_pieces, per_part, cols_needed, LANES))
    else:
        col_feeds = [turning_feed(panel.turned_tiles)]
    for row_feed in row_feeds:
        for col_feed in col_feeds:
            yield replace(panel, row_feed=row_feed, col_feed=col_feed)


def turning_feed(tiles: int) -> Feed:
    """How tiles of 32x32 elements come that are turned one in an iteration."""
    return Feed(LANES, 1, min(LEAD + 1, tiles), tiles)


def _feeds(panel: FlowPlan, pieces: int, iterations: int, needed: Mapping[int, int], rows: int) -> Iterator[Feed]:
    """Of an operand with so many pieces of `rows` rows in a part of the batch, which has so many iterations.

    `needed` are pieces that iterations need, by the first one that needs so many.
    """
    for cut in CUTS:
        if rows % (PADS * cut):
            continue
        for each in range(1, panel.slices * cut + 1):
            if each * iterations < pieces * cut:
                continue
            first = max(-(-count * cut // each) - at for at, count in needed.items()) + LEAD
            yield Feed(rows // cut, each, first, panel.parts * pieces * cut)
            if each * iterations == pieces * cut:
                break


def _num_pieces(plan: FlowPlan, others: int) -> int:
    """That an iteration moves, those of `others` results and operands of the epilogue included."""
    return others + sum(feed.each for feed in plan.beside)


def _num_instructions(plan: FlowPlan, counts: tuple[int, int], others: int) -> float:
    """Of an iteration, roughly; `counts` are operations on a row, `others` results and operands of the epilogue."""
    size, slices = plan.rows.size, plan.slices
    lanes = 2 * (size + LANES) * slices + size * (slices - 1 + sum(counts) + others)
    return lanes + COUNTING + PIECE_COUNTING * _num_pieces(plan, others)


def _cycles(plan: FlowPlan, counts: tuple[int, int], others: int) -> float:
    """Of all iterations and of starting, roughly; see `_num_instructions`."""
    size, slices = plan.rows.size, plan.slices
    alu, mul = counts
    pieces = _num_pieces(plan, others)
    instructions = _num_instructions(plan, counts, others)
    moved = others * size + sum(feed.each * feed.rows for feed in plan.beside)
    busy = max(
        slices * (size + ARRAY_SWAP_CYCLES),
        LANE_INTERVAL * size * max(alu + slices - 1, mul),
        ROW_CHANNEL_CYCLES * moved,
        PAD_INTERVAL * (slices * (size + LANES) + others * size) / PADS,
        PAD_ROW_CYCLES * moved / PADS + TRANSFER_START_CYCLES * pieces,
        COUNTING + PIECE_COUNTING * pieces,
        instructions / SLOTS_FILLED,
    )
    before = sum(
        feed.moved_before * max(FILLING * ROW_CHANNEL_CYCLES * feed.rows, PIECE_COUNTING)
        for feed in (plan.row_feed, plan.col_feed)
    )
    if plan.source is not None:
        before += turning_cycles(plan.turned_tiles)
    packing = LONG_PACKING if sum(counts) >= LONG_EPILOGUE else PACKING
    iterations = max(0, plan.iterations - ENTERED) * (packing * busy + PACKING_CYCLES)
    return START_CYCLES + plan.rounds * (iterations + before + PANEL_CYCLES + ENTRY_CYCLES * instructions)
