"""Plan what moves elements from one buffer to another unchanged: transfers through the pads, without registers.

A run of elements is cut into slices of 32 and what is left; rows of a slice are a transfer, which pads take in turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.iteration import Access, Loop, Stage, StageKind
from atalla_mlir.codegen.placement import LANES, MAX_DMA_ROWS

MAX_PITCH = 1 << 20
MIN_ROWS = 8
"""Rows of a transfer for which it is worth its instructions."""
BURST_ELEMENTS = 16
TURN_CYCLES = 20
"""Of all pads: their transfers end and begin."""
START_CYCLES = 900
"""The firmware's pages, and code that runs cold."""


@dataclass(frozen=True)
class CopyPlan:
    """For all `outer` loops, slices of `lane`: `turns` times, each of `pads` moves `rows` iterations of `row`.

    The last ones end with the loop, so some rows may be moved twice.
    """

    read: Access
    write: Access
    outer: tuple[Loop, ...]
    lane: Loop
    row: Loop
    pads: int
    rows: int
    turns: int

    @property
    def slices(self) -> int:
        """Whole ones."""
        return self.lane.extent // LANES

    @property
    def rest(self) -> int:
        return self.lane.extent % LANES

    @property
    def transfers(self) -> int:
        """Of each direction."""
        parts = math.prod(loop.extent for loop in self.outer) * (self.slices + (self.rest > 0))
        return parts * self.turns * self.pads

    @property
    def predicted_cycles(self) -> int:
        """The channel moves each burst twice."""
        lines = math.prod(loop.extent for loop in self.outer) * self.turns
        bursts = self.slices * (LANES // BURST_ELEMENTS) + -(-self.rest // BURST_ELEMENTS)
        ends = 2 * TURN_CYCLES * (self.slices + (self.rest > 0))
        return START_CYCLES + lines * (2 * bursts * self.pads * self.rows + ends)


def plan_copy(stages: Sequence[Stage], pads: int) -> CopyPlan | None:
    """A plan, or None where the stages are anything but rows of one buffer that come to another as they are."""
    if len(stages) != 1 or not _is_copy(stages[0]):
        return None
    (read,), write = stages[0].reads, stages[0].write
    lanes = [loop for loop in stages[0].loops if read.stride(loop) == write.stride(loop) == 1]
    if len(lanes) != 1 or any(write.stride(loop) <= 0 or read.stride(loop) < 0 for loop in stages[0].loops):
        return None
    lane, others = lanes[0], [loop for loop in stages[0].loops if loop is not lanes[0]]
    width, slices = min(LANES, lane.extent), lane.extent // LANES
    movable = [loop for loop in others if all(width <= access.stride(loop) <= MAX_PITCH for access in (read, write))]
    row = max(movable, key=lambda loop: loop.extent, default=None)
    if lane.extent % LANES == 0 and slices > (row.extent if row is not None else 1):
        row, lane = Loop(slices, "slice"), Loop(LANES, "lane")
        read, write = (
            Access(access.buffer, access.offset, {row: LANES, lane: 1, **_strides(access, others)})
            for access in (read, write)
        )
    if row is None:
        return None
    chunks = max(-(-row.extent // MAX_DMA_ROWS), min(pads, row.extent // MIN_ROWS), 1)
    turns = -(-chunks // pads)
    used = -(-chunks // turns)
    outer = tuple(loop for loop in others if loop is not row)
    return CopyPlan(read, write, outer, lane, row, used, -(-row.extent // (used * turns)), turns)


def _strides(access: Access, loops: Sequence[Loop]) -> dict[Loop, int]:
    return {loop: access.stride(loop) for loop in loops if access.stride(loop)}


def _is_copy(stage: Stage) -> bool:
    plain = stage.kind is StageKind.MAP and stage.body.op == "load" and len(stage.reads) == 1 and not stage.is_scalar
    return plain and not stage.changes_state and stage.reads[0].buffer is not stage.write.buffer
