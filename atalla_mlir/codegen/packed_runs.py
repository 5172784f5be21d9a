"""Runs of a window that are packed into steps of up to 32 lanes, although they have other lengths.

What a window sees of each image line is a run of elements. A run of 21 lanes leaves a third of the array idle, one of
33 takes two steps: instead, the runs follow each other through the lanes of the steps. A step holds parts of at most
two runs: the *head*, what is left of one, and the begin of the next one. A transfer fills the lanes of a row from the
first one on, so two of them make a row: one that brings the second part to its lanes, with as many elements before it
as the head has, and one of the head, which takes those lanes over.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from atalla_mlir.codegen.iteration import Access
from atalla_mlir.codegen.product_plan import LANES, ProductPlan
from atalla_mlir.codegen.row_blocks import MAX_PITCH, Blocks

MAX_STEPS = 12
"""All columns are fetched before the first tile, which nothing hides: of more steps footprints are faster."""


@dataclass(frozen=True)
class RunStep:
    """Lanes of one step; elements are counted from the first one of the window and of the pushed row."""

    element: int
    """Of the streamed operand, in the first lane unless a head takes it over."""
    lanes: int
    pushed: int
    """Element of the pushed operand in the first lane."""
    head: int
    """Lanes of the head, 0 where the step is part of one run."""
    head_element: int


@dataclass(frozen=True)
class Runs:
    """`count` runs of `size` elements, `pitch` elements apart; those of the pushed operand follow each other."""

    count: int
    size: int
    pitch: int

    @property
    def gap(self) -> int:
        """Elements between two runs."""
        return self.pitch - self.size

    @property
    def end_in_steps(self) -> bool:
        """Whether another run begins with a step after the first one."""
        ends = itertools.accumulate(step.lanes for step in self.steps[:-1])
        return any(end % self.size == 0 for end in ends)

    @cached_property
    def steps(self) -> tuple[RunStep, ...]:
        """All steps. `left` are elements of the present run, which begin at `element`; `runs` come after it."""
        found: list[RunStep] = []
        element, left, runs, pushed = 0, self.size, self.count - 1, 0
        while left:
            joins = left < LANES and runs > 0
            first = element + self.gap * joins
            available = left + self.size * joins
            lanes = min(LANES, available)
            found.append(RunStep(first, lanes, pushed, left * joins, element))
            element, left, runs, pushed = first + lanes, available - lanes, runs - joins, pushed + lanes
            if not left and runs:
                element, left, runs = element + self.gap, self.size, runs - 1
        return tuple(found)


@dataclass(frozen=True)
class PackedBlocks(Blocks):
    """Blocks of rows whose steps are packed runs."""

    runs: Runs | None = None

    @property
    def packed(self) -> Runs:
        if self.runs is None:
            raise ValueError("blocks of packed runs without runs")
        return self.runs

    @cached_property
    def order(self) -> Sequence[int]:
        """Rows that follow each other lie in different pads, as far as can be."""
        taken = [0] * self.pads
        ranks: list[tuple[int, int, int]] = []
        for row in range(self.rows):
            pad, _ = self.place(row)
            ranks.append((taken[pad], pad, row))
            taken[pad] += 1
        return tuple(row for _, _, row in sorted(ranks))


def runs_of(plan: ProductPlan, streamed: Access, pushed: Access) -> Runs | None:
    """The runs of a product; None where it has none, or where they are whole slices."""
    lane = plan.depth_lane
    if lane is None or len(plan.depth) != 1 or streamed.stride(lane) != 1 or pushed.stride(lane) != 1:
        return None
    (loop,) = plan.depth
    runs = Runs(loop.extent, lane.extent, streamed.stride(loop))
    if pushed.stride(loop) != runs.size or not runs.size <= runs.pitch <= MAX_PITCH or runs.size % LANES == 0:
        return None
    return runs if len(runs.steps) <= MAX_STEPS else None


def packed_blocks(grid: Blocks, runs: Runs, streamed: Access) -> PackedBlocks | None:
    """Blocks of such rows, where each pad takes one transfer for each part of a step; None where it cannot."""
    if grid.num_pieces > grid.pads or not grid.can_move(streamed, LANES):
        return None
    return PackedBlocks(
        grid.line_loop, grid.loop, grid.lines, grid.width, grid.pads, grid.line_pitch, grid.picture_loop, runs
    )
