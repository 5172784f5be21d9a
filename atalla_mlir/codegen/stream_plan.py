"""Plan products whose depth is one slice: the weights of 32 columns stay in the array while all rows stream through it.

The slice may consist of several *runs* of elements, such as the lines of a small window on few channels: a transfer
fills the lanes of a row from the first one on, so the last run is fetched first, with as many elements before it as
bring it to its lanes, which the runs before it then take over.

In tiles (`codegen.tile_schedule`) the array changes its weights for each tile, which pays when a tile adds many slices.
Where there is only one, a flat loop over groups of rows does better: an iteration sends a group through the array, runs
the epilogue on the results of it, fetches rows for iterations to come and sends results of earlier ones. The rows of a
panel stay in the pads for all columns, so DRAM is read once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.decision import Decision, Fields, fastest
from atalla_mlir.codegen.iteration import Access, Loop, Stage
from atalla_mlir.codegen.lane_functions import LONG_EPILOGUE, epilogue_operations
from atalla_mlir.codegen.phase_plan import ring_rows
from atalla_mlir.codegen.placement import MAX_DMA_ROWS
from atalla_mlir.codegen.product_plan import LANES, ProductPlan
from atalla_mlir.codegen.row_blocks import Blocks
from atalla_mlir.codegen.tile_schedule import is_column_read, outside_reads

FORM_NAME = "streamed product"
STAGES = 3
"""Iterations that the scheduler may overlap: results of an iteration leave so many iterations later."""
AHEAD = STAGES + 2
"""Iterations by which rows are fetched before they are used: a later transfer on the same pad has then begun."""
RESULT_SLOTS = 8
"""Iterations whose results may be on their way: a power of two."""
MIN_ITERATIONS = 8
"""Of one panel: filling and draining the loop takes as long as two or three."""
MAX_CODE_CYCLES = 230
"""Cycles of an iteration: longer ones are hard to schedule without gaps."""
MAX_INSTRUCTIONS, MAX_INSTRUCTIONS_OF_RUNS = 480, 400
"""Of an iteration, for the same reason; with several runs there are many transfers to be placed."""
COUNTING_INSTRUCTIONS = 40
COUNTING_CYCLES = 90
TRANSFER_CYCLES = 5
"""What the scalar unit needs in an iteration, and for each transfer of it; roughly."""
TRANSFER_INSTRUCTIONS = 3
PACKING, PACKING_CYCLES = 1.08, 8
"""What an iteration takes beyond its busiest unit, roughly."""
LONG_PACKING = 1.3
"""The same with a long epilogue."""
SLOTS_FILLED = 3
PASS_CYCLES, DRAIN = 400, 5
"""To change the weights, and iterations as which filling and draining the loop, with code that runs cold, counts."""
START_CYCLES = 1500
LANE_INTERVAL = 2
PAD_INTERVAL = 3
BURST_ELEMENTS = 16
ROW_CYCLES = (6, 10)
"""Of a row of one or two bursts that comes into a pad, while other pads do the same (machine reference 6.4)."""
TRANSFER_START_CYCLES = 10
MAX_PITCH = 1 << 20
MAX_RUNS = 8
MAX_TRANSFERS = 40
"""Of an iteration."""


@dataclass(frozen=True)
class Run:
    """Elements of the slice that lie one after the other: `lanes` from lane `first` on."""

    first: int
    lanes: int
    element: int
    """From the first element of the slice, in the streamed operand."""

    @property
    def cols(self) -> int:
        """Lanes that are filled to bring it to its own."""
        return self.first + self.lanes


@dataclass(frozen=True)
class Deal:
    """`rows` rows dealt out over `pieces`, each of which is one transfer: piece p lies in pad p mod `pads`."""

    rows: int
    pieces: int
    pads: int

    def rows_of_piece(self, piece: int) -> int:
        return len(range(piece, self.rows, self.pieces))

    @property
    def piece_rows(self) -> int:
        """Rows of the largest piece."""
        return self.rows_of_piece(0)

    @property
    def rows_per_pad(self) -> int:
        return -(-self.pieces // self.pads) * self.piece_rows

    def place(self, row: int) -> tuple[int, int]:
        """Pad of a row, and its row there."""
        at, piece = divmod(row, self.pieces)
        return piece % self.pads, piece // self.pads * self.piece_rows + at

    def target(self, piece: int) -> int:
        """First row of a piece in its pad."""
        return piece // self.pads * self.piece_rows


@dataclass(frozen=True)
class StreamPlan:
    """The rows of a panel: `lines` (outermost loop first, whole but for the first one) of `width` rows each.

    An iteration takes `group` rows of a line; the last one of a line ends with it and so may overlap the one before.
    `outside` are loops around all panels.
    """

    streamed: Access
    pushed: Access
    outside: tuple[Loop, ...]
    lines: tuple[Loop, ...]
    loop: Loop | None
    runs: tuple[Run, ...]
    cols: Blocks
    pads: int
    group: int
    panel: int
    """Iterations of the outermost loop inside that a panel has; the last panel may overlap the one before."""

    @property
    def split(self) -> Loop | None:
        """The loop that panels are cut from."""
        return self.lines[0] if self.lines else self.loop

    @property
    def panels(self) -> int:
        return -(-self.split.extent // self.panel) if self.split is not None else 1

    @property
    def width(self) -> int:
        """Rows of a line of a panel."""
        if not self.lines:
            return self.panel
        return self.loop.extent if self.loop is not None else 1

    @property
    def line_extents(self) -> tuple[int, ...]:
        """Iterations of `lines` in a panel."""
        return (self.panel, *(loop.extent for loop in self.lines[1:])) if self.lines else ()

    @property
    def groups(self) -> int:
        """Of a line."""
        return -(-self.width // self.group)

    @property
    def iterations(self) -> int:
        """Of a panel."""
        return math.prod(self.line_extents) * self.groups

    @property
    def lanes(self) -> int:
        """Lanes of the slice."""
        return self.runs[-1].cols

    @property
    def operands(self) -> Deal:
        """How the rows of a group lie in the pads: those of a transfer must not overlap in DRAM."""
        pitch = self.streamed.stride(self.loop) if self.loop is not None else 0
        distance = -(-self.lanes // pitch) if pitch > 0 else 1
        pieces = -(-distance // self.pads) * self.pads
        return Deal(self.group, min(self.group, pieces), self.pads)

    @property
    def results(self) -> Deal:
        """How the results of a group lie in the pads."""
        return Deal(self.group, min(self.group, self.pads), self.pads)

    @property
    def operand_rows(self) -> int:
        """Rows of a pad that hold a panel, and what is fetched after it, which nobody reads."""
        return (self.iterations + (1 if self.ends else AHEAD)) * self.operands.rows_per_pad

    @property
    def ends(self) -> bool:
        """Whether transfers are switched off after the last group, which costs them some arithmetic."""
        return self.cols.num_blocks > 1 or len(self.runs) == 1


def choose_stream_plan(
    plan: ProductPlan,
    product: Stage,
    epilogue: Sequence[Stage],
    stored: Sequence[Access],
    *,
    pads: int,
    pad_rows: int,
    wanted: Fields,
) -> tuple[StreamPlan, Decision] | None:
    """The plan that is predicted to take the fewest cycles, of those that are as `wanted`.

    None where the product does not have the form, or is too small. `pad_rows` are the rows of each pad that it may use.
    """
    streamed, pushed = product.reads[plan.streamed], product.reads[plan.pushed]
    runs = _runs(plan, streamed, pushed)
    if plan.lane is None or not runs or len(plan.cols) != 1 or not plan.rows or not _is_plain(plan, product, epilogue):
        return None
    cols = Blocks(None, plan.lane, 1, min(LANES, plan.lane.extent), pads)
    if not cols.can_move(pushed, runs[-1].cols):
        return None
    found: list[StreamPlan] = []
    for at in range(len(plan.rows)):
        outside, (*lines, loop) = (*plan.batch, *plan.rows[:at]), plan.rows[at:]
        whole = StreamPlan(streamed, pushed, outside, tuple(lines), loop, runs, cols, pads, 1, 1)
        fixed = cols.num_blocks * (cols.rows_per_pad + len(outside_reads(product, epilogue)))
        found += _shapes(whole, stored, pad_rows - fixed)
    possible = [shape for shape in found if _is_short(shape, epilogue, stored)]
    chosen = fastest(FORM_NAME, possible, stream_fields, lambda way: _cycles(way, epilogue, stored), wanted)
    if chosen is None:
        return None
    best, cycles, ways = chosen
    facts = {"iterations": best.iterations, "panels": best.panels, "column_blocks": cols.num_blocks}
    return best, Decision(FORM_NAME, stream_fields(best), facts, round(cycles), ways)


def stream_fields(plan: StreamPlan) -> Fields:
    """What of a plan a user may fix."""
    return {"group": plan.group, "lines": math.prod(plan.line_extents)}


def _runs(plan: ProductPlan, streamed: Access, pushed: Access) -> tuple[Run, ...]:
    """The runs of a depth that fits into one slice, in order of their lanes; none where it does not.

    Weights are one run. What is fetched before a run begins nowhere before the slice.
    """
    depth = plan.depth_lane
    if depth is None or streamed.stride(depth) != 1 or pushed.stride(depth) != 1:
        return ()
    if math.prod(loop.extent for loop in (*plan.depth, depth)) > LANES:
        return ()
    runs = [(0, 0)]
    size = depth.extent
    for loop in sorted(plan.depth, key=pushed.stride):
        if pushed.stride(loop) != size or streamed.stride(loop) < size:
            return ()
        steps = range(loop.extent)
        runs = [(lane + at * size, element + at * streamed.stride(loop)) for at in steps for lane, element in runs]
        size *= loop.extent
    found = tuple(Run(lane, depth.extent, element) for lane, element in runs)
    return found if all(run.element >= run.first for run in found) and len(found) <= MAX_RUNS else ()


def _is_plain(plan: ProductPlan, product: Stage, epilogue: Sequence[Stage]) -> bool:
    """Whether the epilogue works on the rows of results, and what it reads besides is one row for all of them."""
    allowed = {*plan.batch, *plan.rows, *plan.cols}
    if any(stage.reduced or not set(stage.loops) <= allowed for stage in epilogue):
        return False
    return all(is_column_read(read, plan) for read in outside_reads(product, epilogue))


def _shapes(whole: StreamPlan, stored: Sequence[Access], pad_rows: int) -> Iterator[StreamPlan]:
    """All sizes of groups, with panels as large as fit."""
    assert whole.loop is not None and whole.split is not None
    most = min(whole.loop.extent, whole.pads * MAX_DMA_ROWS)
    sizes = {-(-whole.loop.extent // -(-whole.loop.extent // size)) for size in range(min(whole.pads, most), most + 1)}
    for group in sorted(sizes):
        for panels in range(1, whole.split.extent + 1):
            panel = -(-whole.split.extent // panels)
            shape = replace(whole, group=min(group, panel) if not whole.lines else group, panel=panel)
            used = shape.operand_rows + len(stored) * RESULT_SLOTS * ring_rows(shape.results.rows_per_pad)
            if shape.iterations < MIN_ITERATIONS:
                break
            if used <= pad_rows:
                if _can_move(shape, stored):
                    yield shape
                break


def _can_move(plan: StreamPlan, stored: Sequence[Access]) -> bool:
    """Whether one transfer can take a piece: few enough rows, which neither overlap nor lie too far apart."""
    if plan.loop is None or _num_transfers(plan, stored) > MAX_TRANSFERS:
        return False
    moved = [(plan.operands, plan.streamed, plan.lanes)]
    moved += [(plan.results, access, plan.cols.width) for access in stored]
    for deal, access, lanes in moved:
        pitch = access.stride(plan.loop) * deal.pieces
        if deal.piece_rows > MAX_DMA_ROWS or (deal.piece_rows > 1 and not lanes <= pitch <= MAX_PITCH):
            return False
    return True


def _num_transfers(plan: StreamPlan, stored: Sequence[Access]) -> int:
    """Of an iteration."""
    return plan.operands.pieces * len(plan.runs) + plan.results.pieces * len(stored)


def _num_instructions(plan: StreamPlan, epilogue: Sequence[Stage], stored: Sequence[Access]) -> int:
    """Of an iteration, roughly."""
    transfers = TRANSFER_INSTRUCTIONS * _num_transfers(plan, stored)
    return plan.group * (2 + sum(epilogue_operations(epilogue)) + len(stored)) + COUNTING_INSTRUCTIONS + transfers


def _is_short(plan: StreamPlan, epilogue: Sequence[Stage], stored: Sequence[Access]) -> bool:
    """Whether the code of an iteration can be scheduled without gaps."""
    lanes = LANE_INTERVAL * plan.group * max(epilogue_operations(epilogue))
    most = MAX_INSTRUCTIONS if len(plan.runs) == 1 else MAX_INSTRUCTIONS_OF_RUNS
    return lanes <= MAX_CODE_CYCLES and _num_instructions(plan, epilogue, stored) <= most


def _cycles(plan: StreamPlan, epilogue: Sequence[Stage], stored: Sequence[Access]) -> float:
    """Of all iterations and of starting, roughly."""
    group, results, passes = plan.group, len(stored), plan.cols.num_blocks
    per_row = [-(-run.cols // BURST_ELEMENTS) for run in plan.runs]
    sent = results * -(-plan.cols.width // BURST_ELEMENTS)
    transfers = _num_transfers(plan, stored)
    fetching = sum(ROW_CYCLES[bursts - 1] for bursts in per_row) * plan.operands.rows_per_pad
    pad = fetching + PAD_INTERVAL * results * plan.results.rows_per_pad + TRANSFER_START_CYCLES * transfers / plan.pads
    lanes, channel = LANE_INTERVAL * group * max(epilogue_operations(epilogue)), group * (sum(per_row) + sent)
    counting = COUNTING_CYCLES + TRANSFER_CYCLES * transfers
    issue = _num_instructions(plan, epilogue, stored) / SLOTS_FILLED
    packing = LONG_PACKING if sum(epilogue_operations(epilogue)) >= LONG_EPILOGUE else PACKING
    busy = packing * max(lanes, pad, channel, counting, issue) + PACKING_CYCLES
    parts = plan.panels * math.prod(loop.extent for loop in plan.outside)
    return START_CYCLES + parts * (passes * ((plan.iterations + DRAIN) * busy + PASS_CYCLES) + AHEAD * pad)
