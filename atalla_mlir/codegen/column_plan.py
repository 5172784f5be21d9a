"""Plan kernels that fold whole rows into one (sums over columns) as a flat loop of steps.

A *step* is some rows of one chunk of 32 columns, folded into one row, its partial fold; partial folds stay in the pads
until all steps are done and are then folded themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Stage, StageKind
from atalla_mlir.codegen.phase_plan import LANES, MAX_STEP_INSTRUCTIONS, num_instructions

MAX_STEP_TERMS = 64
MIN_STEP_TERMS = 8
MIN_STEPS = 24
"""Fewer do not fill the loop; steps are made smaller for it."""
MAX_PARTIAL_ROWS = 4096
MAX_PITCH = 1 << 20


@dataclass(frozen=True)
class TermBlocks:
    """`blocks` blocks of `size` terms each, from term `first` on."""

    first: int
    size: int
    blocks: int


@dataclass(frozen=True)
class ColumnPlan:
    """`terms` is folded, `lane` fills the lanes; `stages` walk both, `after` works on what they leave."""

    lane: Loop
    terms: Loop
    stages: tuple[Stage, ...]
    after: tuple[Stage, ...]
    parts: tuple[TermBlocks, ...]

    @property
    def folds(self) -> list[Stage]:
        return [stage for stage in self.stages if stage.reduced]

    @property
    def chunks(self) -> int:
        """Of 32 columns; the last one ends with the columns and may overlap the one before."""
        return -(-self.lane.extent // LANES)

    @property
    def cols(self) -> int:
        """Columns of a chunk."""
        return min(LANES, self.lane.extent)

    def first_column(self, chunk: int) -> int:
        return min(chunk * LANES, self.lane.extent - self.cols)

    @property
    def partials(self) -> int:
        """Partial folds of each chunk."""
        return sum(part.blocks for part in self.parts)


def plan_columns(stages: Sequence[Stage], stored: Sequence[Access]) -> ColumnPlan | None:
    """A plan, or None where the stages do not have the form, or are few."""
    loops = list(dict.fromkeys(loop for stage in stages for loop in stage.loops))
    reduced = {loop for stage in stages for loop in stage.reduced}
    if len(loops) != 2 or len(reduced) != 1 or any(s.kind not in (StageKind.MAP, StageKind.REDUCE) for s in stages):
        return None
    (terms,) = reduced
    lane = next(loop for loop in loops if loop is not terms)
    walking = tuple(stage for stage in stages if terms in stage.loops)
    after = tuple(stage for stage in stages if terms not in stage.loops)
    if not _has_form(walking, after, stored, lane, terms):
        return None
    per_term = sum(num_instructions(stage) for stage in walking)
    most = min(MAX_STEP_TERMS, MAX_STEP_INSTRUCTIONS // max(1, per_term), terms.extent)
    size = _step_terms(terms.extent, -(-lane.extent // LANES), most)
    if size is None:
        return None
    blocks, rest = divmod(terms.extent, size)
    parts = [TermBlocks(0, size, blocks), *([TermBlocks(blocks * size, rest, 1)] if rest else [])]
    plan = ColumnPlan(lane, terms, walking, after, tuple(parts))
    return plan if plan.partials * plan.chunks * len(plan.folds) <= MAX_PARTIAL_ROWS else None


def _step_terms(terms: int, chunks: int, most: int) -> int | None:
    """Terms of a step: many, so that there are enough steps, and better none are left over; None where they are few."""
    sizes = [size for size in range(most, MIN_STEP_TERMS - 1, -1) if terms // size * chunks >= MIN_STEPS]
    even = [size for size in sizes if terms % size == 0 and 2 * size >= sizes[0]]
    return (even or sizes or [None])[0]


def _has_form(
    walking: Sequence[Stage], after: Sequence[Stage], stored: Sequence[Access], lane: Loop, terms: Loop
) -> bool:
    """Whether rows are contiguous and nothing but folds leaves them; what follows counts on folds alone."""
    if any(lane not in stage.loops for stage in (*walking, *after)):
        return False
    if any(stage.combine not in (Combine.ADD, Combine.MAX, Combine.MIN) for stage in walking if stage.reduced):
        return False
    inside = {stage.write.buffer for stage in walking if not stage.reduced}
    leaving = {access.buffer for access in stored}
    if inside & leaving or any(access.stride(lane) != 1 for access in stored):
        return False
    known: set[Buffer] = {stage.write.buffer for stage in walking if stage.reduced}
    for stage in after:
        if any(read.buffer not in known for read in stage.reads):
            return False
        known.add(stage.write.buffer)
    return all(
        read.buffer in inside or (read.stride(lane) == 1 and min(LANES, lane.extent) <= read.stride(terms) <= MAX_PITCH)
        for stage in walking
        for read in stage.reads
    )
