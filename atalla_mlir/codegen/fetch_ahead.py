"""What the first columns of a row times a matrix are, for the launch before that fetches them (`vector_product_plan`).

While its array changes weights for the last time, a row times a matrix has nothing left to fetch for itself. Then it
brings what the next one waits for first: the first slice, and the columns that come whole with the first part of the
depth. Both have the same rows of the pads for it, which the caller keeps from one launch to the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.bounds import Bounds, dram_bytes_per_cycle
from atalla_mlir.codegen.placement import MAX_DMA_ROWS
from atalla_mlir.codegen.vector_product_plan import LANES, MAX_BLOCK_COLUMNS, WHOLE_COLUMNS, VectorProductPlan
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.machine import Machine

ELEMENT_BYTES = 2
ROW_BYTES = LANES * ELEMENT_BYTES
NOTHING = DmaShape(0, 1, 1, 1).encode()
"""Metadata of a transfer that is switched off."""


@dataclass(frozen=True)
class FirstColumns:
    """Where a kernel finds its matrix, and how much of it the launch before fetches."""

    operand: int
    """Of the call."""
    offset: int
    pitch: int
    """Elements to the matrix's first, and from the one for a column to that for the next."""
    pads: int
    rows: int
    """Columns in each pad that come slice by slice."""
    part_slices: int
    num_slices: int
    """Of all blocks."""

    @property
    def half_bytes(self) -> int:
        """From one half of the rows for slices to the other one."""
        return self.rows * ROW_BYTES

    @property
    def area_rows(self) -> int:
        """Rows of each pad that stay from launch to launch: two halves for slices, and columns of the longest part."""
        return 2 * self.rows + WHOLE_COLUMNS * MAX_DMA_ROWS

    @property
    def num_bytes(self) -> int:
        """What comes before the first iteration."""
        return self.pads * (self.rows + WHOLE_COLUMNS * self.part_slices) * ROW_BYTES


@dataclass(frozen=True)
class Ahead:
    """What a launch is told: whether its own first columns are there, and in which half of its rows the first slice.

    Of the next matrix it gets the address, bytes from column to column and two words of metadata.
    """

    half_bytes: int = 0
    is_there: bool = False
    address: int = 0
    pitch_bytes: int = 0
    slice_shape: int = NOTHING
    column_shape: int = NOTHING

    def arguments(self, area_bytes: int) -> list[int]:
        """In the order of `AheadArguments`; `area_bytes` is where the rows begin in each pad."""
        there = -1 if self.is_there else 0
        return [area_bytes, self.half_bytes, there, self.address, self.pitch_bytes, self.slice_shape, self.column_shape]


def first_columns(plan: VectorProductPlan, operand: int) -> FirstColumns | None:
    """None where a block is not full, or nothing comes whole."""
    if not plan.whole_columns or plan.columns < MAX_BLOCK_COLUMNS:
        return None
    slices = plan.blocks * plan.slices
    own = plan.matrix.offset, plan.column_pitch, plan.pads
    return FirstColumns(operand, *own, plan.sliced_columns, plan.part_slices, slices)


@dataclass(frozen=True)
class AheadLaunch:
    """A launch that can fetch for another one. Its matrix can be fetched by another one if it `is_constant`."""

    columns: FirstColumns
    address: int
    """Of the matrix's buffer."""
    is_constant: bool


def told(launches: Sequence[AheadLaunch]) -> list[Ahead]:
    """What each launch of an entry is told, in the order in which they run."""
    found: list[Ahead] = []
    for at, launch in enumerate(launches):
        own = Ahead(address=launch.address)
        if at and launch.is_constant:
            before, columns = found[-1], launch.columns
            # slices take both halves in turn, and the first one follows the last one of the launch before
            is_odd = launches[at - 1].columns.num_slices % 2
            own = replace(own, half_bytes=before.half_bytes ^ (columns.half_bytes * is_odd), is_there=True)
            found[-1] = replace(
                before,
                address=launch.address + columns.offset * ELEMENT_BYTES,
                pitch_bytes=columns.pitch * ELEMENT_BYTES,
                slice_shape=DmaShape(0, columns.rows, LANES, columns.pitch * columns.pads).encode(),
                column_shape=DmaShape(0, columns.part_slices, LANES, LANES).encode(),
            )
        found.append(own)
    return found


def moved_bounds(bounds: Bounds, num_bytes: int, machine: Machine) -> Bounds:
    """Those of a launch that fetches so many bytes more than its own; fewer where another one has fetched them."""
    moved = bounds.compulsory_bytes + num_bytes
    cycles = math.ceil(moved / dram_bytes_per_cycle(machine))
    return replace(bounds, cycles={**bounds.cycles, "dram": cycles}, compulsory_bytes=moved)
