"""What plans of windows on the lanes cost: lanes, reads, transfers and the scalar unit's counting (`window_plan`)."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir.codegen.iteration import Combine, Stage
from atalla_mlir.codegen.lane_functions import lane_operations
from atalla_mlir.codegen.phase_plan import MAX_STAGES
from atalla_mlir.codegen.window_layout import WindowPlan

MAX_CODE_CYCLES = 330
"""Cycles of an iteration whose code, about a packet for each, is sure to fit the instruction cache."""
MAX_INSTRUCTIONS = 500
"""Of an iteration: more are hard to schedule without gaps."""
COUNTING_CYCLES = 20
TRANSFER_CYCLES = 24
ADDRESS_CYCLES = 7
"""What the scalar unit needs in an iteration, for each transfer of it, and for each pad of that; roughly."""
CHUNKS_CYCLES = 14
LEVEL_CYCLES = 8
"""What it needs for more than one chunk, and in each transfer for that and for more than one piece."""
FRAME_CYCLES = 7
"""What it needs in an iteration for each line of the frame, roughly."""
GOOD_TRANSFERS = 4
"""Of all pads in an iteration: more are hard to schedule without gaps."""
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
CHANNEL_CYCLES = 2
"""Of the DRAM channel for such a row."""
TRANSFER_START = 6
"""Until a transfer's first row is on its way, and from its last one until the next transfer may begin."""
MAX_TURNS_CYCLES = 180
"""Of an iteration of whose code two copies fit the instruction cache, so that values may live longer than it takes."""
CRAMPED = 1.12
"""How much longer iterations take in which no value may do so."""


def cycles(plan: WindowPlan, stages: Sequence[Stage]) -> tuple[bool, float]:
    """(whether the code is too long, cycles of all iterations, roughly)."""
    alu, mul = _lane_counts(plan, stages)
    loads = plan.lines.taps * plan.columns_of_a_group
    instructions = alu + mul + loads + len(stages) + plan.group + counting_cycles(plan)
    is_long = LANE_INTERVAL * max(alu, mul) > MAX_CODE_CYCLES or instructions > MAX_INSTRUCTIONS
    is_long = (plan.group > 1 and is_long) or plan.transfers * plan.pads > GOOD_TRANSFERS
    return is_long, (plan.iterations + MAX_STAGES) * _iteration_cycles(plan, stages)


def predicted_cycles(plan: WindowPlan, stages: Sequence[Stage]) -> int:
    """Of the whole kernel."""
    return START_CYCLES + round(cycles(plan, stages)[1])


def is_mostly_counting(plan: WindowPlan, stages: Sequence[Stage]) -> bool:
    """Whether the scalar unit counts for much longer than anything else works."""
    return counting_cycles(plan) > MAX_COUNTING * working_cycles(plan, stages)


def _iteration_cycles(plan: WindowPlan, stages: Sequence[Stage]) -> float:
    """Of one iteration, those that wait for a transfer of the one before counted by their share."""
    busy = max(working_cycles(plan, stages), counting_cycles(plan)) + PACKING_CYCLES
    if busy > MAX_TURNS_CYCLES:
        busy *= CRAMPED
    if not plan.transfers:
        return busy
    share = plan.units_of_a_plane / (plan.transfers * plan.iterations_of_a_plane)
    fetches = plan.transfers * (plan.piece_rows * ROW_CYCLES + TRANSFER_START)
    return busy + share * max(0.0, fetches - busy)


def working_cycles(plan: WindowPlan, stages: Sequence[Stage]) -> float:
    """Cycles of lanes, pads and the DRAM channel in an iteration."""
    reads = plan.lines.taps * plan.columns_of_a_group * PAD_INTERVAL / plan.pads
    fetched = plan.columns.fetched * plan.lines.fetched if plan.dealt is None else 0
    rows = fetched / plan.iterations_of_a_plane + plan.group
    return max(LANE_INTERVAL * max(_lane_counts(plan, stages)), reads, rows * CHANNEL_CYCLES)


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


def counting_cycles(plan: WindowPlan) -> float:
    """Cycles of the scalar unit in an iteration."""
    addresses = plan.pads * plan.lines.taps
    levels = (plan.chunks > 1) + (plan.pieces > 1)
    transfer = TRANSFER_CYCLES + ADDRESS_CYCLES * plan.pads + LEVEL_CYCLES * levels
    addresses += FRAME_CYCLES * len(plan.lines.framed)
    return COUNTING_CYCLES + addresses + CHUNKS_CYCLES * (plan.chunks > 1) + plan.transfers * transfer
