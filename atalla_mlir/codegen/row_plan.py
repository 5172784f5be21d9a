"""Choose lanes, loop order and blocks for kernels that work row by row (maps, reductions and chains of them)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.decision import Fields
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Stage, outer_loops
from atalla_mlir.codegen.lane_functions import FUNCTION_COSTS, ROOT_COSTS, FunctionCost

LANES = 32
# A transposed read costs 32 pushes and 32 pops of the transpose unit for up to 32 rows.
TRANSPOSED_READ_CYCLES = 545 / 32
SCALAR_READ_CYCLES = 4
# Chunks of a row that stay in registers, unrolled; longer rows are loops over chunks with temporaries in a pad.
MAX_REGISTER_CHUNKS = 32
# Rows of all tiles of one block: an eighth of the pads, so that several buffers and the next block fit.
BLOCK_BUDGET_ROWS = 4096
# Rows that share loops over chunks or terms: their accumulations are independent.
ROWS_IN_A_NEST = 4
# Rows of so many chunks are streamed one by one.
MIN_STREAMED_CHUNKS = 16
MAX_UNROLL_NODES = 192
MAX_UNROLL = 32
MAX_BLOCK_ROWS = 512
# Terms of a window that are unrolled: loops over so few cost more than they do.
MAX_UNROLLED_TERMS = 49
# Iterations that the scheduler overlaps: instructions of one row whose loop may fit the instruction cache, and those
# up to which more rows make longer transfers, rows of a pad, trips.
MAX_OVERLAPPED_INSTRUCTIONS = 800
GOOD_OVERLAPPED_INSTRUCTIONS = 400
MAX_MOVED_ROWS = 256
MAX_DMA_ROWS = 32
MIN_OVERLAPPED = 24
# Rows of a transfer, and cycles that a row takes of its pad and of the channel, which all pads share.
MAX_PIECE_ROWS = 16
NUM_PADS = 4
PAD_ROW_CYCLES = 7
CHANNEL_ROW_CYCLES = 2
# Instructions of an operation beyond one.
EXTRA_INSTRUCTIONS = {"load": -1, "constant": -1, "select": 2, "max": 1, "min": 1, "abs": 2}
# Terms that are added in sequence before a second level of sums starts (machine reference 4.7).
MAX_SEQUENTIAL_TERMS = 32


@dataclass(frozen=True)
class RowPlan:
    """How a kernel is run: `lane` fills the lanes; each iteration of `outer` (outermost first) is one row.

    `outer` contains `lane` when no stage reduces it: then its chunks of 32 are iterations of a loop like any other.
    The last of `outer` is the row loop, taken in blocks of `block_rows`, `unroll` rows at a time.
    """

    lane: Loop | None
    outer: tuple[Loop, ...]
    block_rows: int
    unroll: int
    overlap: bool = False
    """Whether the scheduler is to overlap iterations of the row loop, transfers included."""

    @property
    def lane_is_outer(self) -> bool:
        return self.lane in self.outer


def choose_row_plan(stages: Sequence[Stage], stored: Sequence[Access]) -> RowPlan:
    """The cheapest plan by a count of rows touched; `stored` are the writes that leave the kernel.

    Where no loop runs along the elements of every result, nothing is in the lanes and elements are rows of one.
    """
    loops = list(dict.fromkeys(loop for stage in stages for loop in stage.loops))
    fitting = [loop for loop in loops if all(access.stride(loop) in (0, 1) for access in stored)]
    lane = min(fitting, key=lambda loop: _lane_cost(loop, stages), default=None)
    shared = outer_loops(stages)
    outer = [loop for loop in loops if loop in shared]
    order = sorted(outer, key=lambda loop: _order_key(loop, lane, stored), reverse=True)
    plan = RowPlan(lane, _longest_last(order, lane), 0, 0)
    rows = _overlapped_rows(stages, plan)
    if rows:
        return RowPlan(lane, plan.outer, _row_extent(plan), rows, overlap=True)
    return RowPlan(lane, plan.outer, _block_rows(stages, plan), _unroll(stages, plan))


def row_fields(plan: RowPlan) -> Fields:
    """What of a plan a user may fix."""
    return {"block_rows": plan.block_rows, "unroll": plan.unroll, "overlapped": plan.overlap}


def row_plans(stages: Sequence[Stage], chosen: RowPlan) -> Iterator[RowPlan]:
    """The chosen plan and others with its loops: blocks that fit into an eighth of the pads, some rows at a time."""
    yield chosen
    if not chosen.outer:
        return
    if chosen.overlap:
        for unroll in range(1, chosen.unroll):
            yield replace(chosen, unroll=unroll)
    budget = max(1, BLOCK_BUDGET_ROWS // max(1, _rows_per_iteration(stages, chosen)))
    for block in range(1, min(_row_extent(chosen), budget, MAX_BLOCK_ROWS) + 1):
        for power in range(MAX_UNROLL.bit_length()):
            if 1 << power <= block:
                yield replace(chosen, block_rows=block, unroll=1 << power, overlap=False)


def _lane_cost(lane: Loop, stages: Sequence[Stage]) -> float:
    """Cycles, roughly, that all iterations take with `lane` in the lanes."""
    cost = 0.0
    for stage in stages:
        rows = math.prod(loop.extent for loop in stage.loops)
        if lane in stage.loops:
            rows = rows // lane.extent * -(-lane.extent // LANES)
        per_row = 2.0 * _num_operations(stage) + (8.0 if lane in stage.reduced else 0.0)
        for read in stage.reads:
            per_row += _access_cost(read.stride(lane), lane in stage.loops)
        cost += rows * per_row
    return cost


def _num_operations(stage: Stage) -> int:
    """Nodes of the body, a function that must be expanded counted as the operations that it becomes."""
    costs = (FUNCTION_COSTS.get(node.op, FunctionCost(1)) for node in stage.body.walk())
    return sum(cost.others + cost.exponentials for cost in costs)


def _root_operations(stage: Stage, lane: Loop | None) -> int:
    """Operations of the reciprocals and roots whose operand varies over the lanes."""
    if lane is None:
        return 0
    varying = {at for at, read in enumerate(stage.reads) if read.stride(lane)}
    return sum(
        ROOT_COSTS[node.op].others
        for node in stage.body.walk()
        if node.op in ROOT_COSTS and any(below.op == "load" and below.read in varying for below in node.args[-1].walk())
    )


def _access_cost(stride: int, in_lanes: bool) -> float:
    if stride == 1:
        return 1.0
    if stride == 0:
        return SCALAR_READ_CYCLES if in_lanes else 1.0
    return TRANSPOSED_READ_CYCLES * 2


def _order_key(loop: Loop, lane: Loop | None, stored: Sequence[Access]) -> tuple[bool, int]:
    """Sorted downwards: big strides outermost; the chunks of the lane loop just outside the row loop."""
    stride = max((access.stride(loop) for access in stored), default=0)
    return (loop is not lane, stride)


def _longest_last(order: Sequence[Loop], lane: Loop | None) -> tuple[Loop, ...]:
    """The lane loop, which comes last, moves outside its neighbour if that has more iterations than it has chunks."""
    if len(order) < 2 or order[-1] is not lane or order[-2].extent <= -(-order[-1].extent // LANES):
        return tuple(order)
    return (*order[:-2], order[-1], order[-2])


def _rows_per_iteration(stages: Sequence[Stage], plan: RowPlan) -> int:
    """Rows of pad that one row iteration of all accesses takes."""
    rows = 0
    for stage in stages:
        for access in stage.accesses():
            inner = [loop for loop in access.strides if loop not in plan.outer]
            rows += math.prod(-(-loop.extent // LANES) if loop is plan.lane else loop.extent for loop in inner)
    return rows


def _row_extent(plan: RowPlan) -> int:
    """Iterations of the row loop; of a lane loop only full chunks count."""
    loop = plan.outer[-1]
    return max(1, loop.extent // LANES) if loop is plan.lane else loop.extent


def _overlapped_rows(stages: Sequence[Stage], plan: RowPlan) -> int:
    """Rows of an iteration that the scheduler overlaps with its neighbours, 0 if that cannot be.

    An iteration is straight-line code: as many rows as keep its loop in the instruction cache, enough for transfers
    to be long.
    """
    if not plan.outer or any(loop not in plan.outer and loop is not plan.lane for s in stages for loop in s.loops):
        return 0
    if plan.lane is None or any(read.stride(plan.lane) not in (0, 1) for stage in stages for read in stage.reads):
        return 0
    chunks = 1 if plan.lane_is_outer else -(-plan.lane.extent // LANES)
    if chunks > MAX_REGISTER_CHUNKS:
        return 0
    nodes = row_instructions(stages, plan)
    if nodes > MAX_OVERLAPPED_INSTRUCTIONS:
        return 0
    rows = min(max(1, GOOD_OVERLAPPED_INSTRUCTIONS // nodes), MAX_MOVED_ROWS // _moved_rows(stages, plan, chunks))
    if rows and chunks > 1:
        rows = _spread_rows(rows, chunks, MAX_OVERLAPPED_INSTRUCTIONS // nodes)
    if rows > MAX_DMA_ROWS:
        rows -= rows % MAX_DMA_ROWS
        if _row_extent(plan) // rows < MIN_OVERLAPPED:
            rows = MAX_DMA_ROWS
    return rows if rows and _row_extent(plan) // rows >= MIN_OVERLAPPED else 0


def _spread_rows(rows: int, chunks: int, most: int) -> int:
    """About as many rows of `chunks`, such that pads are filled in a time as even as can be."""

    def excess(count: int) -> float:
        """By how much the busiest pad takes longer than the channel."""
        moved = count * chunks
        pieces = -(-moved // MAX_PIECE_ROWS)
        busiest = -(-pieces // NUM_PADS) * -(-moved // pieces) * PAD_ROW_CYCLES
        return max(1.0, busiest / (moved * CHANNEL_ROW_CYCLES))

    candidates = range(max(1, rows // 2), min(2 * rows, most) + 1)
    return min(candidates, key=lambda count: (excess(count), abs(count - rows), -count))


def _moved_rows(stages: Sequence[Stage], plan: RowPlan, chunks: int) -> int:
    """Rows of pads that are filled or emptied for one row of all stages."""
    computed = {stage.write.buffer for stage in stages}
    accesses = [read for stage in stages for read in stage.reads if read.buffer not in computed]
    accesses += [stage.write for stage in stages]
    moving = {
        (a.buffer, a.offset): chunks if plan.lane in a.strides else 1 for a in accesses if plan.outer[-1] in a.strides
    }
    return max(1, sum(moving.values()))


def row_instructions(stages: Sequence[Stage], plan: RowPlan) -> int:
    """Instructions, roughly, that one row of all stages takes; `plan` has lanes."""
    chunks = 1 if plan.lane_is_outer or plan.lane is None else -(-plan.lane.extent // LANES)
    varying = {stage.write.buffer for stage in stages if plan.lane in stage.write.strides}
    return sum(_stage_instructions(stage, plan, chunks, varying) for stage in stages)


def _stage_instructions(stage: Stage, plan: RowPlan, chunks: int, varying: set[Buffer]) -> int:
    """Instructions, roughly, that one row of a stage takes."""
    in_lanes = plan.lane in stage.loops
    count = sum(1 for read in stage.reads if read.buffer not in varying or not in_lanes) + 1
    count += _num_operations(stage) + _root_operations(stage, plan.lane)
    count += sum(EXTRA_INSTRUCTIONS.get(node.op, 0) for node in stage.body.walk())
    count += {Combine.ADD: 1, Combine.MAX: 2, Combine.MIN: 2}[stage.combine] if stage.combine else 0
    return count * chunks if in_lanes else count


def _block_rows(stages: Sequence[Stage], plan: RowPlan) -> int:
    if not plan.outer:
        return 1
    extent = _row_extent(plan)
    if plan.lane is not None and not plan.lane_is_outer and plan.lane.extent >= MIN_STREAMED_CHUNKS * LANES:
        return extent  # each row is a transfer of its own, which runs under the computation of the row before
    budget = max(1, BLOCK_BUDGET_ROWS // max(1, _rows_per_iteration(stages, plan)))
    if budget >= 32:
        budget -= budget % 32
    return max(1, min(extent, budget, MAX_BLOCK_ROWS))


def _unroll(stages: Sequence[Stage], plan: RowPlan) -> int:
    """Rows that are computed side by side, so that their latencies overlap."""
    if any(loop not in plan.outer and loop is not plan.lane for stage in stages for loop in stage.loops):
        return ROWS_IN_A_NEST
    chunks = 1
    if plan.lane is not None and not plan.lane_is_outer:
        chunks = -(-plan.lane.extent // LANES)
        if chunks > MAX_REGISTER_CHUNKS:
            return ROWS_IN_A_NEST
    nodes = chunks * sum(2 + _num_operations(stage) + _root_operations(stage, plan.lane) for stage in stages)
    most = max(1, min(MAX_UNROLL, MAX_UNROLL_NODES // max(1, nodes)))
    return 1 << (most.bit_length() - 1)  # a power of two, so that rows alternate between pads


@dataclass(frozen=True)
class SumOrder:
    """In which order a kernel adds the terms of a sum, for error bounds.

    `slices`: the array sums 32 terms at a time, the slices are added in sequence in blocks of `block`, block sums
    likewise. `lanes`: term i goes to lane i mod 32, the chunks are added in sequence in blocks of `block`, block sums
    likewise, then the lanes are folded. `rows`: terms in sequence in blocks of `block`. `any`: no term takes part in
    more than `depth` rounded additions. `initial`, of a stage that adds a row to a product: the sums of the product
    were started from the row, which takes part in `depth` additions; the product's own order is then `is_started`.
    `is_turned`: the array turned the second operand of a product, 32 elements of a row at a time, so that an infinity
    or a NaN spreads over these. `is_scaled`: the sums of blocks are multiplied by factors before they are added.
    """

    kind: str
    block: int
    depth: int = 0
    is_started: bool = False
    is_turned: bool = False
    is_scaled: bool = False


def block_size(num_terms: int) -> int:
    """Terms added in sequence: all up to 32, beyond that about the square root of their number (reference 4.7)."""
    return max(1, num_terms) if num_terms <= MAX_SEQUENTIAL_TERMS else math.isqrt(num_terms - 1) + 1


def sum_order(reduced: Sequence[Loop], plan: RowPlan, *, lanes_in_registers: bool) -> SumOrder:
    """The order in which `kernels.rows` adds over the loops `reduced`."""
    if len(reduced) == 1 and reduced[0] is not plan.lane:
        return SumOrder("rows", block_size(reduced[0].extent))
    if len(reduced) == 1:
        full, tail = divmod(reduced[0].extent, LANES)
        if lanes_in_registers or full <= MAX_SEQUENTIAL_TERMS:
            return SumOrder("lanes", full + (tail > 0))
        if not tail:
            return SumOrder("lanes", block_size(full))
    depth = 2
    for loop in reduced:
        terms = -(-loop.extent // LANES) if loop is plan.lane else loop.extent
        block = block_size(terms)
        depth += block + -(-terms // block) + 1
    return SumOrder("any", 1, depth)
