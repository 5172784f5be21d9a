"""What a walk over tiles costs: cycles by a model of array, lanes, pads, transfers and instruction cache.

Rates are those of `ax01` (machine reference, section 10); what code of one kind takes beyond them was measured on the
simulator. Batches and the start of the kernel are left out: they are the same for all walks of one product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest

from atalla_mlir.codegen.decision import Decision, Fields, fastest
from atalla_mlir.codegen.footprints import FootprintBlocks
from atalla_mlir.codegen.halved_blocks import HalvedBlocks
from atalla_mlir.codegen.iteration import Access, Node, Stage
from atalla_mlir.codegen.lane_functions import LATE_ADDITIONS, expansion, is_long
from atalla_mlir.codegen.packed_runs import PackedBlocks
from atalla_mlir.codegen.pad_images import HALVES
from atalla_mlir.codegen.product_plan import LANES, ProductPlan
from atalla_mlir.codegen.row_blocks import Blocks
from atalla_mlir.codegen.spared_columns import FEW, SparedColumns
from atalla_mlir.codegen.tile_schedule import TileSchedule, is_column_read, outside_reads, tile_schedules
from atalla_mlir.codegen.turn_plan import turning_cycles
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.machine import AX01

FORM_NAME = "tiled product"
PANEL = "panel_blocks"
START_CYCLES = 700
"""Of a kernel: the firmware's pages, addresses, the last results on their way."""
ARRAY_SWAP_CYCLES = 63
"""From the last row of a slice to the first of the next one: 31 to drain, 32 to push (10.2)."""
PIECE_CYCLES = 4
"""What a piece costs in each step that shares its pad with another one: it is switched off in most."""
READ_PIECE_CYCLES = 18
"""Of a tile, for each transfer that brings an operand of its epilogue: results leave by the same pads."""
STEP_OVERHEAD = 2
STEPS_AHEAD = 2
"""Steps by which a transfer comes before its use, where steps are streamed: it has one of them to arrive."""
MIN_STREAMED_STEPS = 8
MIN_EARLY_TILES = 2
"""Tiles of the first outer block, if the first of them is to fetch some of that and the last of them the next one."""
ROW_TRANSFER_CYCLES = 7
"""A row of a transfer into a pad, of which the next one follows when it has arrived (6.4)."""
TRANSFER_START_CYCLES = 25
ROW_CHANNEL_CYCLES = 2.5
"""Of the DRAM channel, when all pads load (6.4)."""
CACHE_PACKETS = AX01.icache_bytes // PACKET_BYTES
MISS_CYCLES = 8.75
"""For each packet beyond the cache: two lines of 3.2 packets are fetched again, the one in excess and its rival."""
COLD_CYCLES = 4.4
"""A packet that is fetched each time it runs (5.6)."""
STEP_PACKETS = (50, 1.24)
"""Of a step's code: by itself, and for each row of a tile."""
PLAN_PACKETS = 140
"""Packets that hold the scalar instructions of a step and the plan of a tile: one in each."""
MIN_PLAN_PACKETS = 126
"""The same when each packet counts."""
FIRST_READ_CYCLES = 11
"""From the begin of a step to its first row from the pads."""
LEVEL_PACKETS = 10
"""Of these, for each further level of the depth, for blocks of rows that lie beside each other, and for pictures."""
BETWEEN_PACKETS = 75
"""Addresses of the next tile, transfers, loops."""
OPERAND_PACKETS = (15, 35)
"""Of these, for each operand of the epilogue that differs from row to row: in straight code, and beside a loop."""
APART_PACKETS = 45
"""Of these, for addresses that are computed beside a loop over rows, not between straight code on them."""
JOINED_SHARE = 0.75
"""Of the packets of a step and of what is done between two tiles: what both take in one block."""
JOINED_OVERHEAD = 25
"""Of such a block: transfers that are waited for."""
SHORT_CHAIN, CHAIN_CYCLES = 4, 18
"""Operations of an epilogue in straight code whose latencies others hide, and what each further one adds to a tile."""
ROW_PACKETS = 0.48
"""For each instruction that runs once for each row between two tiles."""
MAX_UNROLLED_OPERATIONS = 256
"""Operations of a tile's epilogue that may be straight code."""
LOOP_ENTRY_CYCLES = 60
LOOP_PACKETS = 60
TOTAL_PACKETS = 1.16
"""For each row whose sums are added to totals by themselves."""
BLOCK_CYCLES = 15
"""Of a block of steps: its loop begins and ends."""
LOOP_ROW_CYCLES = 3.6
"""Of a row in a loop over rows of the epilogue, at least."""
LOOP_OPERATION_CYCLES = 1.3


MAX_LATE_ROWS = 2
"""Rows of each pad that are finished beside a step, at most: more make its schedule much longer than its bound."""
MAX_ROWS_LEFT = 1
"""Rows of each pad that may be left when all steps have finished some: these are straight code."""
LATE_STEP = 1.08
"""By how much such a step is longer than the adder is busy in it."""
LATE_CHAIN_CYCLES = 12
"""Of the sums of a step, for each operation on a row that is finished beside it: these follow each other."""
LATE_SLOTS = 2.5
"""Instructions of a packet of these rows."""
LATE_SHARE = 0.82
"""Of the cycles of a loop over rows: what finishing them beside steps must take less than."""


@dataclass(frozen=True)
class Epilogue:
    """Lane operations on one row of results, and the rows that it loads and stores."""

    operations: int
    additions: int
    """Of the operations: those that the adder does, which may be the others' part of a pair."""
    loads: int
    stores: int
    late: tuple[int, int] | None = None
    """Operations on a row that waits for the next tile, and of the adder, where others do as much as they can; None
    where rows cannot wait."""

    @property
    def instructions(self) -> int:
        return self.operations + self.loads + self.stores


def choose_tile_schedule(
    plan: ProductPlan,
    product: Stage,
    epilogue: Sequence[Stage],
    stored: Sequence[Access],
    *,
    pads: int,
    pad_rows: int,
    wanted: Fields,
    source: Access | None = None,
) -> tuple[TileSchedule, Decision] | None:
    """The walk that is predicted to take the fewest cycles, of those that are as `wanted`; None where there is none.

    See `tile_schedules`.
    """
    staged = [read for read in outside_reads(product, epilogue) if not is_column_read(read, plan)]
    # the first map is what sums start from where it adds a row
    begins_sums = bool(epilogue) and epilogue[0].body.op == "add"
    late = late_operations(epilogue[begins_sums:]) if stored and not staged else None
    cost = Epilogue(num_operations(epilogue), num_additions(epilogue), len(staged), len(stored), late)
    found = list(tile_schedules(plan, product, epilogue, stored, pads=pads, pad_rows=pad_rows, source=source))
    if PANEL in wanted and source is None:
        found = [walk for most in found for walk in _smaller_panels(most)]
    found.sort(key=lambda walk: walk.inner_rows)
    chosen = fastest(FORM_NAME, found, tile_fields, lambda walk: predicted_cycles(walk, cost), wanted, least_cycles)
    if chosen is None:
        return None
    walk, cycles, ways = chosen
    parts = math.prod(loop.extent for loop in plan.batch)
    facts = {
        "tile_rows": walk.rows.rows,
        "tiles": walk.rows.num_blocks * walk.cols.num_blocks * parts,
        "panels": walk.num_panels * parts,
        "steps": walk.depth.steps,
        "operand_rows": walk.operand_rows,
    }
    if walk.turn is not None:
        facts["turned_tiles"] = parts * walk.turn.tiles
        cycles += turning_cycles(walk.turn.tiles)
    return walk, Decision(FORM_NAME, tile_fields(walk), facts, round(start_cycles(walk, cost) + parts * cycles), ways)


def tile_fields(walk: TileSchedule) -> Fields:
    """What of a walk a user may fix."""
    return {
        "lines": walk.rows.lines,
        "width": walk.rows.width,
        "lines_in_a_run": walk.rows.line_pitch > 0,
        "footprints": walk.footprints is not None,
        "packed": isinstance(walk.rows, PackedBlocks),
        "goes_down": walk.footprints is not None and walk.footprints.seen.goes_down,
        "stays": "rows" if walk.rows_inside else "columns",
        PANEL: walk.panel_blocks,
    }


def _smaller_panels(most: TileSchedule) -> Iterator[TileSchedule]:
    for blocks in range(1, most.panel_blocks + 1):
        yield replace(most, panel_blocks=blocks)


def num_operations(stages: Sequence[Stage]) -> int:
    """Lane operations of stages on one row, those of the exponential unit left out, which has time for them."""
    return sum(_operations(node) for stage in stages for node in stage.body.walk())


def num_additions(stages: Sequence[Stage]) -> int:
    """Lane operations of stages on one row that keep the adder busy: a comparison leaves its selection to others."""
    return sum(_additions(node) for stage in stages for node in stage.body.walk())


def late_operations(stages: Sequence[Stage]) -> tuple[int, int] | None:
    """Both where the adder does only what nothing else can; None for stages that are too short to be put off."""
    if not is_long(stages):
        return None
    nodes = (node for stage in stages for node in stage.body.walk())
    return num_operations(stages), sum(LATE_ADDITIONS.get(node.op, _additions(node)) for node in nodes)


def _operations(node: Node) -> int:
    if node.op in ("load", "constant"):
        return 0
    if node.op in ("max", "min"):
        return 2
    cost = expansion(node)
    return 1 if cost is None else cost.others


def _additions(node: Node) -> int:
    cost = expansion(node)
    if node.op in ("max", "min"):
        return 1
    return _operations(node) if cost is None else -(-cost.others // 2)


@lru_cache(maxsize=1024)
def finishes_in_loop(schedule: TileSchedule, epilogue: Epilogue) -> bool:
    """Whether the epilogue is better a loop over rows in the pads than straight code on rows in registers."""
    if _has_totals_in_pads(schedule) or epilogue.operations * schedule.rows.rows > MAX_UNROLLED_OPERATIONS:
        return True
    return _between_cycles(schedule, epilogue, in_loop=True) < _between_cycles(schedule, epilogue, in_loop=False)


def _has_totals_in_pads(schedule: TileSchedule) -> bool:
    return schedule.depth.has_two_levels and not schedule.keeps_totals


def start_cycles(schedule: TileSchedule, epilogue: Epilogue) -> float:
    """Of a kernel, before its first tile; code runs cold once."""
    return START_CYCLES + COLD_CYCLES * _tile_packets(schedule, epilogue, in_loop=finishes_in_loop(schedule, epilogue))


def plans_in_steps(schedule: TileSchedule, epilogue: Epilogue) -> bool:
    """Whether a step has room for the scalar instructions that compute the addresses of the next tile.

    It need not have much where what ends a tile takes less than that: only the array works there.
    """
    rows, further = schedule.rows, len(schedule.depth.levels) - 1
    further += (1 < rows.blocks_across < rows.blocks_of_picture) + (1 < rows.blocks_of_picture < rows.num_blocks)
    further += 2 * (schedule.footprints is not None)
    packets = MIN_PLAN_PACKETS if schedule.joins_tiles and not epilogue.additions else PLAN_PACKETS
    return step_cycles(schedule, None) >= packets + LEVEL_PACKETS * further


def streams_steps(schedule: TileSchedule) -> bool:
    """Whether outer blocks come a few steps before they are needed instead of a tile: nothing else moves then.

    Beside what another product has left, or what is turned, the first one comes in other ways.
    """
    inner = schedule.inner
    is_image = schedule.footprints is inner
    if schedule.panel_blocks > 1 or schedule.depth.has_tail or (schedule.is_resident(inner) and not is_image):
        return False
    if isinstance(schedule.outer, FootprintBlocks) or schedule.outer.num_pieces > schedule.outer.pads:
        return False
    return schedule.depth.steps >= MIN_STREAMED_STEPS


def early_iterations(schedule: TileSchedule) -> int:
    """Iterations of the outermost level of the depth whose steps of the first outer block come before the first tile.

    The tile fetches the others itself, a few steps before it needs them; 0 where all of them come before it because
    something else moves under it.
    """
    depth, outer = schedule.depth, schedule.outer
    if not schedule.is_resident(schedule.inner) or schedule.is_resident(outer) or outer.num_blocks == 1:
        return 0
    if depth.has_tail or isinstance(schedule.rows, PackedBlocks) or isinstance(outer, FootprintBlocks):
        return 0
    if schedule.panel_blocks < MIN_EARLY_TILES + splits_outer(schedule):
        return 0
    level, access = depth.levels[0], schedule.access(outer)
    count = -(-(STEPS_AHEAD + schedule.joins_tiles) // (depth.steps // level.extent))
    # the tile fetches as many steps as any other: the last ones lie behind the block, but not behind all of them
    beyond = count * (level.streamed if outer is schedule.rows else level.pushed)
    is_inside = 0 <= beyond <= outer.last_offset(access) and min(access.strides.values()) >= 0
    return count if count < level.extent and is_inside else 0


def turns_back(schedule: TileSchedule) -> bool:
    """Whether every second panel walks the outer blocks from the last one to the first.

    Each panel then begins with the block that the one before ended with, which is in the pads already.
    """
    outer = schedule.outer
    if schedule.num_panels == 1 or schedule.is_resident(outer) or schedule.footprints is not None:
        return False
    if outer.excess or outer.excess_lines or outer.blocks_across not in (1, outer.num_blocks) or outer.num_pictures > 1:
        return False
    return not (streams_steps(schedule) or early_iterations(schedule) or isinstance(schedule.rows, PackedBlocks))


def splits_outer(schedule: TileSchedule) -> bool:
    """Whether the next outer block takes longer than the tile that would hide it, and two of them would hide it."""
    is_long = _transfer_cycles([schedule.outer]) > step_cycles(schedule, None)
    is_long = is_long and not isinstance(schedule.outer, FootprintBlocks | SparedColumns)
    return is_long and schedule.panel_blocks > 1 and schedule.outer.num_pieces <= schedule.outer.pads


def predicted_cycles(schedule: TileSchedule, epilogue: Epilogue) -> float:
    """Of all tiles of one part of the batch.

    Each tile is its steps and what is done between two tiles. During the first outer block of a panel the inner ones
    come, during the last inner block the next outer one; other steps move nothing.
    """
    steps, panels = schedule.depth.steps, schedule.num_panels
    tiles = schedule.inner.num_blocks * schedule.outer.num_blocks
    still = step_cycles(schedule, None)
    moving = sum(count * _share(blocks) * (step_cycles(schedule, blocks) - still) for count, blocks in _moves(schedule))
    begin = panels * COLD_CYCLES * _step_packets(schedule)
    between = _between_cycles(schedule, epilogue, in_loop=finishes_in_loop(schedule, epilogue))
    late = late_rows(schedule, epilogue)
    if late:
        between += _late_cycles(schedule, epilogue, late) - _loop_cycles(schedule, epilogue.operations)
    own_steps = steps - schedule.joins_tiles
    fill = panels * fill_cycles(schedule)
    if turns_back(schedule):
        fill = fill_cycles(schedule) + (panels - 1) * steps * _transfer_cycles([schedule.inner])
    return tiles * own_steps * still + steps * moving + fill + tiles * between + begin


def _moves(schedule: TileSchedule) -> tuple[tuple[int, Blocks], ...]:
    """In how many tiles the next inner and the next outer block come."""
    panels = schedule.num_panels
    inner = 0 if schedule.is_resident(schedule.inner) else schedule.inner.num_blocks - panels
    is_early = streams_steps(schedule) or early_iterations(schedule) > 0
    outer = panels * (schedule.outer.num_blocks - (not is_early))
    return (inner, schedule.inner), (outer, schedule.outer)


def least_cycles(schedule: TileSchedule) -> float:
    """What `predicted_cycles` is at least.

    Every step adds its rows to the sums and takes them through the array, and tiles have code of some length, which
    is fetched for each panel.
    """
    rows, steps, tiles = schedule.rows.rows, schedule.depth.steps, schedule.inner.num_blocks * schedule.outer.num_blocks
    moves = steps * sum(count * _share(blocks) for count, blocks in _moves(schedule))
    own_steps = tiles * (steps - schedule.joins_tiles)
    if moves > own_steps:
        return 0.0  # the last steps of tiles, which are counted apart, move something too
    step = max(2.0 * rows, rows + ARRAY_SWAP_CYCLES) + STEP_OVERHEAD
    between = BETWEEN_PACKETS + ROW_PACKETS * rows
    if schedule.joins_tiles:
        between = max(step, JOINED_SHARE * (BETWEEN_PACKETS + _step_packets(schedule))) + JOINED_OVERHEAD
    return own_steps * step + tiles * between + schedule.num_panels * COLD_CYCLES * _step_packets(schedule)


def operand_cycles(schedule: TileSchedule, epilogue: Epilogue) -> float:
    """What further transfers to pads that others still use wait for, of operands that differ from row to row."""
    pieces = epilogue.loads * schedule.results.num_pieces
    return schedule.rows.num_blocks * schedule.cols.num_blocks * pieces * READ_PIECE_CYCLES


def fill_cycles(schedule: TileSchedule) -> float:
    """To fetch the first blocks of a panel."""
    fetched = [blocks for blocks in (schedule.rows, schedule.cols) if not schedule.is_resident(blocks)]
    if streams_steps(schedule):
        first = (STEPS_AHEAD + schedule.joins_tiles) * _transfer_cycles([schedule.outer])
        if schedule.is_resident(schedule.inner):
            return first
        return first + schedule.depth.steps * _share(schedule.inner) * _transfer_cycles([schedule.inner])
    early = early_iterations(schedule)
    if early:
        return early * schedule.depth.steps / schedule.depth.levels[0].extent * _transfer_cycles([schedule.outer])
    share = min(_share(blocks) for blocks in fetched)
    with_all, steps = _transfer_cycles(fetched), schedule.depth.steps
    return steps * (share * with_all + (1 - share) * _transfer_cycles([schedule.cols]))


def _share(blocks: Blocks) -> float:
    """Of the steps: under how many of them something of a block is fetched."""
    if isinstance(blocks, FootprintBlocks):
        return blocks.transfers / blocks.seen.num_taps
    return 1.0


def is_pad_bound(rows: Blocks) -> bool:
    """Whether a step of rows from two pads waits for these, where all pads hold as many columns."""
    reads = -(-rows.rows // HALVES) + LANES // rows.pads
    return 3 * reads + FIRST_READ_CYCLES > max(2 * rows.rows, rows.rows + ARRAY_SWAP_CYCLES)


def step_cycles(schedule: TileSchedule, moving: Blocks | None) -> float:
    """The longest of what a step needs: additions, the array, pads, and the transfers of what moves meanwhile.

    Two cycles an addition (10.1); a row enters the array each cycle, and between two slices 63 pass (10.2); a pad
    reads a row in three.
    """
    rows = schedule.rows.rows
    reads = -(-(rows + schedule.cols.width) // schedule.rows.pads)
    if isinstance(schedule.rows, HalvedBlocks):
        # rows are read from two pads, and columns that come there hold some of them up
        columns = schedule.cols
        is_spared = isinstance(columns, SparedColumns)
        reads = -(-rows // HALVES) + (FEW if is_spared else -(-columns.width // schedule.rows.pads))
        order = schedule.rows.in_order
        reads += 0 if order.alternates else order.skipped * order.width // HALVES
        reads += schedule.cols.rows_per_pad // 2 if moving is schedule.cols else 0
    busy = max(2.0 * rows, rows + ARRAY_SWAP_CYCLES, 3 * reads)
    if moving is not None and moving.num_pieces > moving.pads:
        # a second piece on a pad is issued when the first one has arrived, and nothing else meanwhile
        busy += moving.piece_rows * ROW_TRANSFER_CYCLES + TRANSFER_START_CYCLES
    else:
        busy += max(0, schedule.moving_pieces - schedule.rows.pads) * PIECE_CYCLES
    return max(busy, _transfer_cycles([moving] if moving else [])) + STEP_OVERHEAD


def _transfer_cycles(moved: Sequence[Blocks]) -> float:
    """Time to fetch a step of some blocks: the pads work side by side, but share the channel (6.4)."""
    rows: Sequence[int] = moved[0].moved_by_pad if moved else ()
    for blocks in moved[1:]:
        rows = [sum(pads) for pads in zip_longest(rows, blocks.moved_by_pad, fillvalue=0)]
    if not any(rows):
        return 0.0
    return max(max(rows) * ROW_TRANSFER_CYCLES, sum(rows) * ROW_CHANNEL_CYCLES) + TRANSFER_START_CYCLES


def _between_cycles(schedule: TileSchedule, epilogue: Epilogue, *, in_loop: bool) -> float:
    """What ends a tile: the last sums become results, addresses are computed, evicted code is fetched again."""
    rows, depth = schedule.rows.rows, schedule.depth
    cycles = _between_packets(schedule, epilogue, in_loop=in_loop)
    if schedule.joins_tiles:
        additions = 0 if in_loop else epilogue.additions
        cycles = max(cycles, step_cycles(schedule, None), 2.0 * rows * additions) + JOINED_OVERHEAD
    if in_loop:
        cycles += _loop_cycles(schedule, epilogue.operations)
    else:
        cycles += CHAIN_CYCLES * max(0, epilogue.operations - SHORT_CHAIN)
    packets = _tile_packets(schedule, epilogue, in_loop=in_loop)
    if not depth.has_two_levels:
        return cycles + _miss_cycles(packets)
    return cycles + min(
        _block_cycles(schedule, overlaps=overlaps) + _miss_cycles(packets + _block_packets(schedule, overlaps=overlaps))
        for overlaps in {False, schedule.keeps_totals}
    )


def _loop_cycles(schedule: TileSchedule, operations: int) -> float:
    """A loop over the rows of a tile that does nothing else."""
    per_row = max(LOOP_ROW_CYCLES, LOOP_OPERATION_CYCLES * operations + 1)
    return LOOP_ENTRY_CYCLES + schedule.rows.rows * per_row


@lru_cache(maxsize=1024)
def late_rows(schedule: TileSchedule, epilogue: Epilogue) -> int:
    """How many rows of each pad are finished beside a step of the following tile; 0 where a loop of their own is no
    slower: the adder is busy with sums in steps, the multiplier is not."""
    depth, rows = schedule.depth, schedule.results.rows_per_pad
    if epilogue.late is None or depth.has_two_levels or not finishes_in_loop(schedule, epilogue):
        return 0
    operations, _ = epilogue.late
    steps = late_steps(schedule)
    ways = [
        each
        for each in (rows // steps, -(-rows // steps))
        if 0 < each <= MAX_LATE_ROWS and rows - each * steps <= MAX_ROWS_LEFT
    ]
    # steps that are shorter than what is done to a row would wait for it
    if not ways or 2.0 * schedule.rows.rows < LATE_CHAIN_CYCLES * operations:
        return 0
    best = min(ways, key=lambda each: _late_cycles(schedule, epilogue, each))
    return best if _late_cycles(schedule, epilogue, best) < LATE_SHARE * _loop_cycles(schedule, operations) else 0


def late_steps(schedule: TileSchedule) -> int:
    """Steps of a tile beside which rows of the one before are finished."""
    return schedule.depth.steps - schedule.joins_tiles


def _late_cycles(schedule: TileSchedule, epilogue: Epilogue, each: int) -> float:
    """What finishing `each` rows of each pad adds to the steps of a tile, and the rows that are left then.

    The last tile of a panel has a loop of its own.
    """
    assert epilogue.late is not None
    operations, additions = epilogue.late
    results, steps = schedule.results, late_steps(schedule)
    pads = min(schedule.rows.pads, results.num_pieces)
    adder = 2.0 * (schedule.rows.rows + each * pads * additions)
    left = max(0, results.rows_per_pad - each * steps)
    packets = _tile_packets(schedule, epilogue, in_loop=True)
    # most of the loop stands behind the one over tiles
    further = each * pads * (operations + epilogue.stores + 1) / LATE_SLOTS - LOOP_PACKETS / 2
    rest = left * pads * operations + _miss_cycles(packets + further) - _miss_cycles(packets)
    tiles = schedule.inner.num_blocks * schedule.outer.num_blocks / schedule.num_panels
    last = _loop_cycles(schedule, operations) + COLD_CYCLES * LOOP_PACKETS
    return steps * max(0.0, LATE_STEP * adder - step_cycles(schedule, None)) + rest + last / tiles


def overlaps_blocks(schedule: TileSchedule, epilogue: Epilogue) -> bool:
    """Whether sums of a block are added to totals under the first step of the next one: that takes more code."""
    if not schedule.keeps_totals:
        return False
    packets = _tile_packets(schedule, epilogue, in_loop=finishes_in_loop(schedule, epilogue))
    apart, together = (
        _block_cycles(schedule, overlaps=overlaps) + _miss_cycles(packets + _block_packets(schedule, overlaps=overlaps))
        for overlaps in (False, True)
    )
    return together <= apart


def _block_cycles(schedule: TileSchedule, *, overlaps: bool) -> float:
    """What the second level of the sums of a tile takes."""
    rows, depth = schedule.rows.rows, schedule.depth
    blocks = -(-depth.steps // depth.steps_in_sequence)
    if overlaps:
        return 2.0 * rows + BLOCK_CYCLES * blocks
    return blocks * (2.2 * rows + BLOCK_CYCLES)


def _block_packets(schedule: TileSchedule, *, overlaps: bool) -> float:
    return _step_packets(schedule) if overlaps else TOTAL_PACKETS * schedule.rows.rows


def _miss_cycles(packets: float) -> float:
    """To fetch code that the instruction cache does not hold."""
    return min(MISS_CYCLES * max(0.0, packets - CACHE_PACKETS), COLD_CYCLES * packets)


def _step_packets(schedule: TileSchedule) -> float:
    return STEP_PACKETS[0] + STEP_PACKETS[1] * schedule.rows.rows


def _tile_packets(schedule: TileSchedule, epilogue: Epilogue, *, in_loop: bool) -> float:
    """Of the code that runs for each tile, without a second level of sums."""
    packets = _between_packets(schedule, epilogue, in_loop=in_loop) + _step_packets(schedule)
    return packets + LOOP_PACKETS * in_loop


def _between_packets(schedule: TileSchedule, epilogue: Epilogue, *, in_loop: bool) -> float:
    # a row of sums is cleared or started from the bias, and stored where a loop takes it from there
    straight = 2 if in_loop else 1 + epilogue.instructions
    between = BETWEEN_PACKETS + OPERAND_PACKETS[in_loop] * epilogue.loads
    if in_loop and not plans_in_steps(schedule, epilogue):
        between += APART_PACKETS
    if schedule.joins_tiles:
        own = between + ROW_PACKETS * schedule.rows.rows * (straight - 1)
        return JOINED_SHARE * (own + _step_packets(schedule))
    return between + ROW_PACKETS * schedule.rows.rows * straight
