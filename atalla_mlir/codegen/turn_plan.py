"""Which copies turn a matrix: what is contiguous in the source walks the rows of the result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from atalla_mlir.codegen.iteration import Access, Loop, Stage, StageKind
from atalla_mlir.codegen.phase_plan import LANES

MAX_PITCH = 1 << 20
MAX_LOOPS = 4
MIN_TILES = 8
TILE_CYCLES = 135
"""The channel takes 128 of them for 32 rows of 32 elements, in and out."""
COLUMN_CYCLES, COLUMN_TILE_CYCLES = 3000, 105
"""Of turning columns in the pads, and of each tile of 32x32 elements."""
START_CYCLES = 6000
"""The first and the last tiles, whose transfers nothing hides, and a long loop's code that runs cold."""


@dataclass(frozen=True)
class TurnPlan:
    """A copy of `source` to `result`; `down` is contiguous in the source, `across` in the result; `others` are batches.

    Tiles are squares of 32 elements; where a side is no multiple of 32 the last tiles overlap those before them.
    """

    source: Access
    result: Access
    down: Loop
    across: Loop
    others: tuple[Loop, ...] = ()

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The loops that tiles walk, the fastest first."""
        return (self.down, self.across, *self.others)

    def step(self, loop: Loop) -> int:
        """Iterations of a loop that a tile covers."""
        return LANES if loop is self.down or loop is self.across else 1

    def count(self, loop: Loop) -> int:
        """Tiles along a loop."""
        return -(-loop.extent // self.step(loop))

    @property
    def tiles(self) -> int:
        return math.prod(self.count(loop) for loop in self.loops)

    @property
    def predicted_cycles(self) -> int:
        return START_CYCLES + TILE_CYCLES * self.tiles


@dataclass(frozen=True)
class ColumnTurn:
    """Columns of a product that lie along the rows of `source`, to be turned in the pads before its tiles.

    `columns` is the number of columns, `slices` of 32 elements is what each of them has of the `depth`; `group` are
    loops of a batch that are turned together, and how many iterations of each.
    """

    source: Access
    depth: Loop
    columns: int
    slices: int
    group: tuple[tuple[Loop, int], ...] = ()

    @property
    def blocks(self) -> int:
        """Of 32 columns: the last one ends with them and so may overlap the one before."""
        return -(-self.columns // LANES)

    @property
    def tiles(self) -> int:
        """Of 32x32 elements."""
        return self.blocks * self.slices * math.prod(count for _, count in self.group)


def turning_cycles(tiles: int) -> int:
    """To turn so many tiles of 32x32 elements in the pads before those of a product."""
    return COLUMN_CYCLES + COLUMN_TILE_CYCLES * tiles


def can_turn_columns(source: Access, lane: Loop, depth: Loop, pads: int) -> bool:
    """Whether a transfer can bring every row of a pad's share of 32x32 elements to the pad."""
    return source.stride(lane) == 1 and lane.extent >= LANES <= source.stride(depth) * pads <= MAX_PITCH


def plan_turn(stages: Sequence[Stage]) -> TurnPlan | None:
    """A plan, or None where the stages are anything but one such copy, of many tiles."""
    if len(stages) != 1 or stages[0].kind is not StageKind.MAP or stages[0].body.op != "load":
        return None
    if len(stages[0].reads) != 1:
        return None  # its places are data
    (source,), result, loops = stages[0].reads, stages[0].write, stages[0].loops
    if not 2 <= len(loops) <= MAX_LOOPS or source.indirect or result.indirect:
        return None
    for down, across in permutations(loops, 2):
        if source.stride(down) == 1 and result.stride(across) == 1:
            others = tuple(loop for loop in loops if loop is not down and loop is not across)
            plan = TurnPlan(source, result, down, across, others)
            pitches = (source.stride(across), result.stride(down))
            fits = min(down.extent, across.extent) >= LANES and all(LANES <= pitch <= MAX_PITCH for pitch in pitches)
            return plan if fits and plan.tiles >= MIN_TILES else None
    return None
