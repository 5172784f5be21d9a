"""Plan kernels that fold whole rows into one (sums over columns) as a flat loop of steps.

A *step* is some rows of one chunk of 32 columns, folded into one row, its partial fold; partial folds stay in the pads
until all steps are done and are then folded themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Stage, StageKind
from atalla_mlir.codegen.phase_plan import LANES, MAX_STEP_INSTRUCTIONS, MIN_STEPS, num_instructions

MAX_STEP_TERMS = 64
MIN_STEP_TERMS = 8
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
        """Full chunks of columns; what is left over is not a matter of this plan."""
        return self.lane.extent // LANES

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
    size = min(MAX_STEP_TERMS, MAX_STEP_INSTRUCTIONS // max(1, per_term), terms.extent)
    if size < MIN_STEP_TERMS:
        return None
    blocks, rest = divmod(terms.extent, size)
    parts = [TermBlocks(0, size, blocks), *([TermBlocks(blocks * size, rest, 1)] if rest else [])]
    plan = ColumnPlan(lane, terms, walking, after, tuple(parts))
    if blocks * plan.chunks < MIN_STEPS or plan.partials * plan.chunks * len(plan.folds) > MAX_PARTIAL_ROWS:
        return None
    return plan


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
        read.buffer in inside or (read.stride(lane) == 1 and LANES <= read.stride(terms) <= MAX_PITCH)
        for stage in walking
        for read in stage.reads
    )
