"""Plan kernels whose results each look at a window of an image, channels in the lanes: depthwise convolutions, pools.

The image is walked plane by plane (an image of 32 channels), each line by line. Lines pass through a ring in the pads
in one endless sequence, so each element comes from DRAM once and a plane begins while the one before ends. An iteration
computes `group` neighbouring results of a line; what it fetches is for iterations to come, what it sends are results
of earlier ones, so iterations share nothing but counters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.decision import Decision, Fields, allowed
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Stage, StageKind, coalesce_loops
from atalla_mlir.codegen.lane_functions import lane_operations
from atalla_mlir.codegen.phase_plan import AHEAD, MAX_PAD_ROWS, MAX_STAGES, ring_rows
from atalla_mlir.codegen.row_plan import LANES, MAX_DMA_ROWS, SumOrder, block_size

FORM_NAME = "windows"
MAX_TAPS = 128
MAX_GROUP = 32
MAX_CODE_CYCLES = 330
"""Cycles of an iteration whose code, about a packet for each, is sure to fit the instruction cache."""
MAX_INSTRUCTIONS = 500
"""Of an iteration: more are hard to schedule without gaps."""
COUNTING_CYCLES = 45
TRANSFER_CYCLES = 22
ADDRESS_CYCLES = 5
"""What the scalar unit needs in an iteration, for each transfer of it, and for each pad of that; roughly."""
RESULT_SLOTS = 16
"""Iterations whose results may be on their way: a power of two."""
GOOD_TRANSFERS = 4
"""Of all pads in an iteration: more are hard to schedule without gaps."""
MAX_TRANSFERS = 4
"""Of one pad in an iteration."""
ROW_CYCLES = 7
"""A row of 32 elements that comes from DRAM while nothing else does (machine reference 6.4)."""
PAD_INTERVAL = 3
LANE_INTERVAL = 2
MAX_COUNTING = 1.5
"""By how much counting may take longer than working where windows do not move: sums over rows are simple without."""
PACKING_CYCLES = 10
"""Of an iteration in which the busiest unit is idle, roughly."""
START_CYCLES = 3000
"""The first lines, which nothing hides, and code that runs cold."""
UNIT_SHARE = 0.8
"""Of its time that a transfer engine can be kept busy."""
PAD_COUNTS = (1, 2, 4)
"""Pads over which the columns of an image may be dealt out."""


@dataclass(frozen=True)
class Axis:
    """One direction of an image: result i sees positions `i * step + t * dilation`, `unit` elements apart."""

    loop: Loop | None
    taps_loop: Loop | None
    unit: int
    step: int
    dilation: int

    @property
    def outs(self) -> int:
        return self.loop.extent if self.loop is not None else 1

    @property
    def taps(self) -> int:
        return self.taps_loop.extent if self.taps_loop is not None else 1

    @property
    def extent(self) -> int:
        """Positions that are looked at, gaps between windows included."""
        return (self.outs - 1) * self.step + (self.taps - 1) * self.dilation + 1


@dataclass(frozen=True)
class WindowPlan:
    """How the image is cut and what of it is in the pads.

    `planes` are the loops of the planes besides the chunks of the lane loop, outermost first. Position x of a line lies
    in pad x mod `pads`, in pieces of `piece_rows` rows, `pieces` for each pad.
    """

    lane: Loop
    image: Access
    planes: tuple[Loop, ...]
    lines: Axis
    columns: Axis
    group: int
    pads: int
    pieces: int = 1
    is_separable: bool = False
    """Whether a column of lines is folded once for all results that look at it: terms are the same for all of them."""
    ring_lines: int = 0
    lead: int = 0
    """Pieces (of each pad) that are fetched before the first iteration."""

    @property
    def chunks(self) -> int:
        return -(-self.lane.extent // LANES)

    @property
    def cols(self) -> int:
        """Lanes in use; the last chunk ends with the lane loop and may overlap the one before."""
        return min(LANES, self.lane.extent)

    @property
    def num_planes(self) -> int:
        return math.prod(loop.extent for loop in self.planes)

    @property
    def groups(self) -> int:
        """Iterations of a line; the last one may compute results that nobody has asked for."""
        return -(-self.columns.outs // self.group)

    @property
    def last_group(self) -> int:
        return self.columns.outs - (self.groups - 1) * self.group

    @property
    def iterations_of_a_plane(self) -> int:
        return self.lines.outs * self.groups

    @property
    def iterations(self) -> int:
        return self.chunks * self.num_planes * self.iterations_of_a_plane

    @property
    def taps(self) -> int:
        return self.lines.taps * self.columns.taps

    @property
    def moves(self) -> bool:
        """Whether a plane has more than one window."""
        return self.lines.outs * self.columns.outs > 1

    # Transfers

    @property
    def units_of_a_plane(self) -> int:
        return self.lines.extent * self.pieces

    @property
    def transfers(self) -> int:
        """Of each pad in an iteration; not all of them are always needed."""
        return -(-self.units_of_a_plane // self.iterations_of_a_plane)

    def part_rows(self, pad: int) -> int:
        """Rows that a line takes of a pad."""
        return len(range(pad, self.columns.extent, self.pads))

    @property
    def piece_rows(self) -> int:
        return -(-self.part_rows(0) // self.pieces)

    @property
    def mean_piece_rows(self) -> int:
        """Rows that a transfer brings on average, those that are switched off counted."""
        possible = self.transfers * self.iterations_of_a_plane
        return max(1, round(self.piece_rows * self.units_of_a_plane / possible))

    def last_piece_rows(self, pad: int) -> int:
        return self.part_rows(pad) - (self.pieces - 1) * self.piece_rows

    @property
    def line_rows(self) -> int:
        """Rows between the lines of the ring, a power of two: groups may look beyond the end of a line."""
        seen = (self.groups * self.group - 1) * self.columns.step + (self.columns.taps - 1) * self.columns.dilation + 1
        return ring_rows(max(-(-seen // self.pads), self.piece_rows * self.pieces))

    @property
    def ring_pad_rows(self) -> int:
        return self.ring_lines * self.line_rows

    def sum_order(self) -> SumOrder:
        """How the terms of a sum are added: in sequence, in blocks where they are many."""
        axes = [axis.taps for axis in (self.lines, self.columns) if axis.taps_loop is not None]
        if len(axes) == 1:
            return SumOrder("rows", block_size(self.taps))
        counts = axes if self.is_separable else [self.taps]
        blocks = [(block_size(count), count) for count in counts]
        return SumOrder("any", 1, sum(block + -(-count // block) for block, count in blocks))

    @property
    def columns_of_a_group(self) -> int:
        """Different columns that a group looks at."""
        columns = self.columns
        return len(
            {at * columns.step + tap * columns.dilation for at in range(self.group) for tap in range(columns.taps)}
        )


def plan_windows(
    stages: Sequence[Stage], stored: Sequence[Access], wanted: Fields | None = None
) -> tuple[WindowPlan, Decision] | None:
    """A plan and what it was chosen by, or None where the stages do not have the form; `wanted` fields are fixed."""
    window, *others = stages
    if window.kind is not StageKind.REDUCE or window.combine not in (Combine.ADD, Combine.MAX, Combine.MIN):
        return None
    if any(stage.kind is not StageKind.MAP for stage in others) or not window.reduced:
        return None
    lane = next((loop for loop in window.loops if all(access.stride(loop) == 1 for access in stored)), None)
    if lane is None:
        return None
    coalesce_loops(stages, apart={lane})
    kept = [loop for loop in window.loops if loop not in window.reduced]
    image = _image(window, lane)
    if image is None or not _are_plain(stages, stored, kept, lane):
        return None
    if math.prod(loop.extent for loop in window.reduced) > MAX_TAPS:
        return None
    possible = list(_shapes(window, image, lane, kept))
    if wanted:
        possible = [shape for shape in possible if _with_ring(shape) is not None]
    found = allowed(FORM_NAME, possible, window_fields, wanted or {})
    shapes = [(_cycles(shape, stages), -shape.group, shape) for shape in found]
    ordered = (shape for _, _, shape in sorted(shapes, key=lambda item: item[:2]))
    plan = next((plan for plan in map(_with_ring, ordered) if plan is not None), None)
    if plan is None or (not plan.moves and _counting_cycles(plan) > MAX_COUNTING * _working_cycles(plan, stages)):
        return None
    facts = {"iterations": plan.iterations, "ring_lines": plan.ring_lines, "folds_columns_once": plan.is_separable}
    return plan, Decision(
        FORM_NAME, window_fields(plan), facts, START_CYCLES + round(_cycles(plan, stages)[1]), len(shapes)
    )


def window_fields(plan: WindowPlan) -> Fields:
    """What of a plan a user may fix."""
    return {"lines": plan.lines.outs, "columns": plan.columns.outs, "group": plan.group, "pads": plan.pads}


def _image(window: Stage, lane: Loop) -> Access | None:
    """What windows move over: the one operand that differs from result to result."""
    kept = {loop for loop in window.loops if loop not in window.reduced}
    images = [read for read in window.reads if set(read.strides) & kept - {lane}] or list(window.reads)
    if len(images) != 1 or images[0].stride(lane) != 1:
        return None
    image = images[0]
    is_dense = all(stride > 0 for stride in image.strides.values())
    return image if is_dense and all(image.stride(loop) for loop in window.reduced) else None


def _are_plain(stages: Sequence[Stage], stored: Sequence[Access], kept: Sequence[Loop], lane: Loop) -> bool:
    """Whether all that is read besides the image is one row for all results, and results are rows."""
    window, *others = stages
    fixed = {lane, *window.reduced}
    written: set[Buffer] = set()
    for stage in stages:
        if stage is not window and set(stage.loops) != set(kept):
            return False
        for read in stage.reads:
            if read.buffer in written or (stage is window and set(read.strides) - fixed):
                continue
            if (
                read.indirect
                or read.stride(lane) != 1
                or not set(read.strides) <= (fixed if stage is window else {lane})
            ):
                return False
        written.add(stage.write.buffer)
    return all(set(access.strides) == set(kept) for access in stored) and len(others) <= MAX_GROUP


def _shapes(window: Stage, image: Access, lane: Loop, kept: Sequence[Loop]) -> Iterator[WindowPlan]:
    """All ways to call one loop of the results lines, and one columns, and to cut them."""
    taps = sorted(window.reduced, key=image.stride, reverse=True)
    if len(taps) > 2:
        return
    outs = sorted((loop for loop in kept if loop is not lane), key=image.stride, reverse=True)
    if any(not image.stride(loop) for loop in outs):
        return
    is_separable = len(window.reads) == 1
    pairs = [(taps[0], taps[1])] if len(taps) == 2 else [(None, taps[0]), (taps[0], None)]
    for line, column in dict.fromkeys(itertools.permutations([*outs, None, None], 2)):
        for line_taps, column_taps in pairs:
            lines, columns = _axis(image, line, line_taps), _axis(image, column, column_taps)
            planes = tuple(loop for loop in outs if loop not in (line, column))
            for group, pads in itertools.product(range(1, min(MAX_GROUP, columns.outs) + 1), PAD_COUNTS):
                plan = WindowPlan(lane, image, planes, lines, columns, group, pads, is_separable=is_separable)
                if plan.groups == 1 or group * columns.step % pads == 0:
                    yield plan


def _axis(image: Access, loop: Loop | None, taps: Loop | None) -> Axis:
    step = image.stride(loop) if loop is not None else 0
    dilation = image.stride(taps) if taps is not None else 0
    unit = math.gcd(step, dilation) or 1
    return Axis(loop, taps, unit, step // unit, dilation // unit)


def _cycles(plan: WindowPlan, stages: Sequence[Stage]) -> tuple[bool, float]:
    """(whether the code is too long, cycles of all iterations, roughly)."""
    busy = max(_working_cycles(plan, stages), _counting_cycles(plan))
    alu, mul = _lane_counts(plan, stages)
    loads = plan.lines.taps * plan.columns_of_a_group
    instructions = alu + mul + loads + len(stages) + plan.group + _counting_cycles(plan)
    is_long = LANE_INTERVAL * max(alu, mul) > MAX_CODE_CYCLES or instructions > MAX_INSTRUCTIONS
    is_long = (plan.group > 1 and is_long) or _transfers(plan) * plan.pads > GOOD_TRANSFERS
    return is_long, (plan.iterations + MAX_STAGES) * (busy + PACKING_CYCLES)


def _working_cycles(plan: WindowPlan, stages: Sequence[Stage]) -> float:
    """Cycles of lanes, pads and transfers in an iteration."""
    reads = plan.lines.taps * plan.columns_of_a_group * PAD_INTERVAL / plan.pads
    fetches = plan.columns.extent * plan.lines.extent / plan.iterations_of_a_plane * ROW_CYCLES / plan.pads
    return max(LANE_INTERVAL * max(_lane_counts(plan, stages)), reads, fetches / UNIT_SHARE)


def _lane_counts(plan: WindowPlan, stages: Sequence[Stage]) -> tuple[int, int]:
    """Operations of an iteration, roughly, on the ALU and on the multiplier."""
    window = stages[0]
    columns = plan.columns_of_a_group
    terms, folds = plan.group * plan.taps, plan.group * (plan.taps - 1)
    if plan.is_separable:
        terms = plan.lines.taps * columns
        folds = (plan.lines.taps - 1) * columns + (plan.columns.taps - 1) * plan.group
    alu, mul = folds, folds * (window.combine is not Combine.ADD)
    for stage in stages:
        times = terms if stage is window else plan.group
        more_alu, more_mul = lane_operations(stage)
        alu, mul = alu + times * more_alu, mul + times * more_mul
    return alu, mul


def _counting_cycles(plan: WindowPlan) -> float:
    """Cycles of the scalar unit in an iteration."""
    addresses = plan.pads * plan.lines.taps
    return COUNTING_CYCLES + addresses + _transfers(plan) * (TRANSFER_CYCLES + ADDRESS_CYCLES * plan.pads)


def _transfers(plan: WindowPlan) -> int:
    """Of each pad in an iteration, with pieces as long as can be."""
    pieces = -(-plan.part_rows(0) // MAX_DMA_ROWS)
    return -(-plan.lines.extent * pieces // plan.iterations_of_a_plane)


# The ring


def _with_ring(shape: WindowPlan) -> WindowPlan | None:
    """The plan with pieces for all that is fetched, and a ring that holds what is needed and what is coming."""
    fewest = -(-shape.part_rows(0) // MAX_DMA_ROWS)
    per_iteration = -(-shape.lines.extent * fewest // shape.iterations_of_a_plane)
    if shape.columns.unit * shape.pads > 1 << 20 or per_iteration > MAX_TRANSFERS:
        return None
    plan = replace(shape, pieces=fewest)
    plan = replace(plan, lead=_lead(plan))
    plan = replace(plan, ring_lines=ring_rows(_ring_lines(plan)))
    return plan if plan.ring_pad_rows <= MAX_PAD_ROWS // 2 else None


def first_line(plan: WindowPlan, iteration: int) -> int:
    """The first line, of those of all planes, that an iteration looks at."""
    plane, rest = divmod(iteration, plan.iterations_of_a_plane)
    return plane * plan.lines.extent + rest // plan.groups * plan.lines.step


def _started(plan: WindowPlan, iteration: int) -> int:
    """Pieces whose transfers all iterations up to one have begun, besides those that come before."""
    return (iteration + 1) * plan.units_of_a_plane // plan.iterations_of_a_plane


def _lead(plan: WindowPlan) -> int:
    """So many that those which an iteration looks at are there: begun `AHEAD` iterations earlier."""
    window = (plan.lines.taps - 1) * plan.lines.dilation + 1
    needed = (
        (first_line(plan, at) + window) * plan.pieces - _started(plan, at - AHEAD)
        for at in range(plan.iterations_of_a_plane)
    )
    return max(needed)


def _ring_lines(plan: WindowPlan) -> int:
    """So many that nothing is fetched to where an iteration in progress still looks."""
    start = plan.iterations_of_a_plane + MAX_STAGES + 1
    return 1 + max(
        -(-(plan.lead + _started(plan, at) + 1) // plan.pieces) - first_line(plan, at - MAX_STAGES)
        for at in range(start, start + plan.iterations_of_a_plane)
    )
