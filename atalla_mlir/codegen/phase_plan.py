"""Plan kernels whose rows are contiguous as one flat loop of steps, each of which runs every phase on other rows.

A *phase* is what can be computed on the chunks of a row between two reductions along it: what a reduction of one phase
gives is used by the next. A *step* is some rows, or a part of one row. Iteration n of the loop runs phase p on step
n - p * lag, so nothing in an iteration waits for anything else in it but the chain of one phase: what passes from phase
to phase goes through rings in the pads. Only counters are carried from iteration to iteration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Stage, StageKind
from atalla_mlir.codegen.lane_functions import FUNCTION_COSTS, FunctionCost

LANES = 32
MAX_STAGES = 5
"""Stages of the software pipeline; what an iteration leaves in a ring may be counted on so many iterations later."""
STEPS_AHEAD = 2
AHEAD = MAX_STAGES + STEPS_AHEAD
"""Steps by which data is fetched before it is used: a later transfer on the same pad has then begun."""
LONG_STEP = 240
"""Instructions of a step from which on few stages are enough."""
FEW_STAGES = 3
FEW_STEPS = 256
MAX_STEP_CHUNKS = 32
MIN_STEP_CHUNKS = 4
MAX_STEP_ROWS = 4
"""Rows in a step, where reductions tell them apart by masks."""
MANY_STREAMS = 3
LONG_STEPS = 3
"""By how much steps of many streams are longer than others."""
MAX_STEP_INSTRUCTIONS = 800
MAX_OUTER_INSTRUCTIONS = 256
"""Of a step of several rows that reads no more than an element for each of them."""
MAX_FLAT_INSTRUCTIONS = 175
"""Of a step that is a part of one run: nothing asks it to be long, and its kernel is often unrolled."""
NUM_PADS = 4
MIN_STEPS = 64
MIN_LONG_STEPS = 24
"""Steps from which on rows of more than so many chunks gain: they hardly fit in registers."""
MANY_CHUNKS = 24
MAX_PAD_ROWS = 7680


@dataclass(eq=False)
class Phase:
    """`uniform` stages have one value a row and come first; `stages` work on the chunks of the row."""

    uniform: list[Stage] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)


@dataclass(frozen=True)
class PhasePlan:
    """`rows` rows of `chunks` chunks each are a step; a row longer than that takes `groups` steps.

    Where one loop is all there is, it is both `lane` and `row`: a row is then what a step takes of it.
    """

    lane: Loop
    row: Loop
    phases: tuple[Phase, ...]
    rows: int
    chunks: int
    groups: int
    steps: int
    lag: int
    slots: int
    """Steps that the rings hold, a power of two."""
    tail: int
    """Lanes of the last chunk of a row; 32 when it is full."""
    stages: int = MAX_STAGES
    """Of the software pipeline, at most."""

    @property
    def ahead(self) -> int:
        """Steps by which data is fetched before it is used: a later transfer on the same pad has then begun."""
        return self.stages + STEPS_AHEAD

    @property
    def items(self) -> int:
        """Chunks of a step, of all its rows."""
        return self.rows * self.chunks

    @property
    def last_phase(self) -> int:
        return len(self.phases) - 1

    @property
    def iterations(self) -> int:
        """Steps, and what the last of them takes to pass through all phases and to leave the pads."""
        return self.steps + self.last_phase * self.lag + self.stages

    @cached_property
    def phase_of(self) -> dict[Stage, int]:
        """The phase in which each stage is computed."""
        return {stage: at for at, phase in enumerate(self.phases) for stage in (*phase.uniform, *phase.stages)}

    def passes_on(self, stage: Stage) -> bool:
        """Whether a later phase than that in which its value is made reads what a stage writes."""
        made = self.phase_of[stage] + bool(stage.reduced)
        written = stage.write.buffer
        return any(made < at for reader, at in self.phase_of.items() if any(r.buffer is written for r in reader.reads))

    @property
    def is_flat(self) -> bool:
        """Whether the rows are parts of one run of elements."""
        return self.lane is self.row

    @property
    def done_rows(self) -> int:
        """Iterations of the row loop that the steps cover."""
        return self.steps * self.items * LANES if self.is_flat else self.steps * self.rows // self.groups

    def is_column(self, access: Access) -> bool:
        """Whether an access has one element for each row, and those of a step are side by side in DRAM."""
        along, down = access.stride(self.lane), access.stride(self.row)
        return not self.is_flat and self.groups == 1 and along == 0 and down == 1

    def step_elements(self, access: Access) -> int:
        """Elements between the beginnings of two steps in a buffer that is read or written."""
        if self.is_column(access):
            return self.rows
        if self.rows == self.groups == 1 and not self.is_flat:
            return access.stride(self.row)
        return self.items * LANES


def plan_phases(stages: Sequence[Stage], stored: Sequence[Access]) -> PhasePlan | None:
    """A plan, or None where the stages do not have the form, or are not worth it."""
    loops = list(dict.fromkeys(loop for stage in stages for loop in stage.loops))
    if any(stage.kind not in (StageKind.MAP, StageKind.REDUCE) for stage in stages) or len(loops) not in (1, 2):
        return None
    lane, row = _lane_and_row(loops, stages, stored)
    is_flat = lane is row
    if lane is None or row is None:
        return None
    phases = _phases(stages, lane)
    if phases is None or not (is_flat or _is_worth_it(stages, phases, lane, row)):
        return None
    shape = (1, _flat_chunks(stages, lane), 1) if is_flat else _step_shape(stages, lane, row)
    if shape is None:
        return None
    rows, chunks, groups = shape
    tail = LANES if is_flat else (lane.extent - 1) % LANES + 1
    steps = lane.extent // (chunks * LANES) if is_flat else row.extent // rows * groups
    num_stages = _num_stages(stages, lane, rows * chunks, steps)
    lag = groups * -(-(num_stages + groups - 1) // groups)
    needed = STEPS_AHEAD + 3 * num_stages + (len(phases) - 1) * lag + 2
    slots = 1 << (needed - 1).bit_length()
    plan = PhasePlan(lane, row, tuple(phases), rows, chunks, groups, steps, lag, slots, tail, num_stages)
    leaving = {access.buffer for access in stored}
    fewest = MIN_LONG_STEPS if chunks * groups > MANY_CHUNKS else MIN_STEPS
    if steps < fewest or not all(_fits(stage, plan, stages, leaving) for stage in stages):
        return None
    return plan


def _num_stages(stages: Sequence[Stage], lane: Loop, items: int, steps: int) -> int:
    """Stages of the software pipeline: fewer where steps are few, but so long that what one waits for fits into these.

    Iterations that only fill and drain the pipeline then cost more than a step that takes a bit longer.
    """
    each = sum(num_instructions(stage) for stage in stages if lane in stage.loops)
    return FEW_STAGES if each * items >= LONG_STEP and steps <= FEW_STEPS else MAX_STAGES


def _lane_and_row(
    loops: Sequence[Loop], stages: Sequence[Stage], stored: Sequence[Access]
) -> tuple[Loop | None, Loop | None]:
    """The loop along the lanes and the other one; no lane loop where none is contiguous in all it indexes.

    A loop that is alone is both, unless it is reduced: its rows are then parts of it.
    """
    if len(loops) == 1:
        is_map = all(not stage.reduced and stage.write.stride(loops[0]) == 1 for stage in stages)
        return (loops[0], loops[0]) if is_map else (None, None)
    for lane in sorted(loops, key=lambda loop: -loop.extent):
        others = [loop for loop in loops if loop is not lane]
        accesses = [access for stage in stages for access in stage.accesses()]
        if any(loop in stage.reduced for stage in stages for loop in others):
            continue
        if all(access.stride(lane) in (0, 1) for access in accesses) and any(a.stride(lane) == 1 for a in stored):
            return lane, others[0] if others else None
        if all(access.stride(lane) in (0, 1) for access in accesses) and any(lane in stage.reduced for stage in stages):
            return lane, others[0] if others else None
    return None, None


def _phases(stages: Sequence[Stage], lane: Loop) -> list[Phase] | None:
    """Each stage in the first phase in which what it reads is there."""
    ready: dict[Buffer, int] = {}
    phases: list[Phase] = [Phase()]
    for stage in stages:
        at = max((ready.get(read.buffer, 0) for read in stage.reads), default=0)
        is_sum = lane in stage.reduced
        while len(phases) <= at + is_sum:
            phases.append(Phase())
        (phases[at].stages if lane in stage.loops else phases[at].uniform).append(stage)
        if stage.write.buffer in ready:
            return None
        ready[stage.write.buffer] = at + is_sum
    return phases


def _is_worth_it(stages: Sequence[Stage], phases: Sequence[Phase], lane: Loop, row: Loop) -> bool:
    """Whether rows are long and looked at more than once, or meet data that is the same for all of them."""
    if lane.extent < MIN_STEP_CHUNKS * LANES:
        return False
    computed = {stage.write.buffer for stage in stages}
    shared = any(
        row not in read.strides
        for stage in stages
        for read in stage.reads
        if read.buffer not in computed and read.strides
    )
    return shared or sum(bool(phase.stages) for phase in phases) > 1


def _most_chunks(stages: Sequence[Stage], lane: Loop) -> int:
    """Chunks of a step that keep its code in the instruction cache."""
    per_chunk = sum(num_instructions(stage) for stage in stages if lane in stage.loops)
    return max(1, min(MAX_STEP_CHUNKS, MAX_STEP_INSTRUCTIONS // max(1, per_chunk)))


def _only_goes_out(stages: Sequence[Stage], lane: Loop) -> bool:
    """Whether whole rows leave the kernel, but none come in, as in an outer product."""
    computed = {stage.write.buffer for stage in stages}
    reads = [read for stage in stages for read in stage.reads if read.buffer not in computed]
    return (
        not any(stage.reduced for stage in stages)
        and all(len(read.strides) == 1 for read in reads)
        and any(lane not in read.strides for read in reads)
    )


def _flat_chunks(stages: Sequence[Stage], loop: Loop) -> int:
    """Chunks of a step of one run of elements.

    Many streams leave the DRAM channel no slack, and long transfers wait less for each other.
    """
    computed = {stage.write.buffer for stage in stages}
    streams = {read.buffer for stage in stages for read in stage.reads if read.buffer not in computed and read.strides}
    if len(streams) + 1 >= MANY_STREAMS:
        per_chunk = sum(num_instructions(stage) for stage in stages)
        chunks = MAX_STEP_CHUNKS * LONG_STEPS
        if chunks * per_chunk <= MAX_STEP_INSTRUCTIONS and loop.extent >= chunks * LANES * MIN_STEPS:
            return chunks
    most = min(_most_chunks(stages, loop), MAX_FLAT_INSTRUCTIONS // sum(num_instructions(stage) for stage in stages))
    return most - most % NUM_PADS if most >= NUM_PADS else max(1, most)


def _step_shape(stages: Sequence[Stage], lane: Loop, row: Loop) -> tuple[int, int, int] | None:
    """(rows, chunks of each, steps a row takes)."""
    most = _most_chunks(stages, lane)
    chunks = -(-lane.extent // LANES)
    if _only_goes_out(stages, lane):
        # transfers of few rows would spend most of their time starting
        per_chunk = sum(num_instructions(stage) for stage in stages if lane in stage.loops)
        most = max(most, min(2 * MAX_STEP_CHUNKS, MAX_OUTER_INSTRUCTIONS // per_chunk))
        rows = min(most // chunks, row.extent // MIN_STEPS)
        if rows > 1:
            return rows, chunks, 1
    if chunks <= most // 2:
        limit = MAX_STEP_CHUNKS
        if any(stage.reduced for stage in stages):
            limit = 1 if lane.extent % LANES else MAX_STEP_ROWS
        return min(most // chunks, limit), chunks, 1
    if chunks <= most:
        return 1, chunks, 1
    groups = 2
    while groups <= chunks and lane.extent % LANES == 0 and chunks % groups == 0:
        if chunks // groups <= most:
            return (1, chunks // groups, groups) if chunks // groups >= MIN_STEP_CHUNKS else None
        groups *= 2
    return None


def num_instructions(stage: Stage) -> int:
    """Instructions, roughly, for one chunk."""
    count = len(stage.reads) + 1 + 2 * (stage.combine in (Combine.MAX, Combine.MIN))
    for node in stage.body.walk():
        if node.op not in ("load", "constant"):
            cost = FUNCTION_COSTS.get(node.op, FunctionCost(1))
            count += cost.others + cost.exponentials + (node.op == "select")
    return count


def _fits(stage: Stage, plan: PhasePlan, stages: Sequence[Stage], leaving: set[Buffer]) -> bool:
    """Whether all accesses of a stage that leave the kernel are rows of the steps, or the same for all rows."""
    lane, row = plan.lane, plan.row
    computed = {member.write.buffer for member in stages}
    if lane not in stage.loops and stage.reduced:
        return False
    for read in stage.reads:
        if read.buffer in computed or not read.strides or plan.is_column(read):
            continue
        if not _is_contiguous(read, plan):
            return False
    if any(read.buffer not in computed and not read.strides and lane not in stage.loops for read in stage.reads):
        return False
    written = stage.write
    if written.buffer not in leaving:
        return True
    if lane in stage.loops and lane not in stage.reduced:
        return _is_contiguous(written, plan) and row in written.strides
    return written.stride(row) == 1 and plan.groups == 1


def _is_contiguous(access: Access, plan: PhasePlan) -> bool:
    lane, row = plan.lane, plan.row
    if access.stride(lane) != 1:
        return False
    if plan.is_flat:
        return True
    if not access.stride(row) or plan.rows == plan.groups == 1:
        return True
    return access.stride(row) == lane.extent and plan.tail == LANES


def ring_rows(count: int) -> int:
    """Rows of a slot of a ring for `count` rows: a power of two, so that positions wrap around by a mask."""
    return 1 << max(0, math.ceil(math.log2(max(1, count))))
