"""When one row is multiplied by a matrix that is read once, and how that is cut.

The matrix is what takes time: 64 cycles of DRAM for each 32 x 32 elements, as many as the array needs to change its
weights and send one row through them. So the roles are turned round: up to 32 slices of the *row* are the weights, and
the rows of the matrix go through the array, a slice each. Of the 32 results one is wanted, that of the row's slice with
the same number; it stays in its lane of an accumulator. A second pass through the array, with the accumulators as
weights and a row of ones, adds the lanes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.iteration import Access, Loop, Stage
from atalla_mlir.codegen.product_plan import LANES, ProductPlan

MAX_BLOCK_COLUMNS = 128
"""Columns of the result that have accumulators at once; on each of 4 pads a slice of them is one longest transfer."""
MIN_COLUMNS = 64
MIN_SLICES = 8
"""Products with fewer take hardly longer in tiles."""
MAX_PITCH = 1 << 20
BURST_CYCLES = 64 / LANES
"""The channel's time for a slice of 32 elements of one row of the matrix."""
TRANSFER_CYCLES = 15
"""To begin the transfers of the next slice."""
WHOLE_COLUMNS = 3
"""Of each pad: their transfers take about as long as the array needs for other weights."""
MIN_STREAMED_SLICES = 128
"""Of all blocks: with fewer the first columns, which nothing hides, take as long as is gained."""
CHANGE_CYCLES = 560
"""When a part of the depth is done: weights change, lanes are added, code is fetched again."""
COLUMN_CYCLES = 160
"""Of the same in which no column comes."""
START_CYCLES = 1500


@dataclass(frozen=True)
class VectorProductPlan:
    """A row times a matrix whose `columns` columns of the result are rows of `slices` x 32 elements in DRAM."""

    row: Access
    matrix: Access
    depth: Loop
    columns: int
    column_pitch: int
    """Elements from the matrix's row for one column to that for the next."""
    pads: int

    @property
    def slices(self) -> int:
        return self.depth.extent // LANES

    @property
    def blocks(self) -> int:
        """Blocks of columns, of which the last may have fewer."""
        return -(-self.columns // self.block_columns)

    @property
    def block_columns(self) -> int:
        return min(MAX_BLOCK_COLUMNS, -(-self.columns // LANES) * LANES)

    @property
    def block_chunks(self) -> int:
        """Rows of results of a block."""
        return self.block_columns // LANES

    @property
    def last_columns(self) -> int:
        """Columns of the last block."""
        return self.columns - (self.blocks - 1) * self.block_columns

    @property
    def part_slices(self) -> int:
        """Slices of the row that are weights together: parts of the depth are of equal size, or of about equal size.

        A last part of another size is code of its own; rather than that, there may be a third more parts.
        """
        fewest = -(-self.slices // LANES)
        equal = (self.slices // count for count in range(fewest, fewest + fewest // 3 + 1) if self.slices % count == 0)
        return next(equal, -(-self.slices // fewest))

    @property
    def parts(self) -> tuple[int, int]:
        """Parts of the depth of `part_slices`, and slices left over."""
        return divmod(self.slices, self.part_slices)

    @property
    def piece_rows(self) -> int:
        """Rows of a slice of a block in each pad."""
        return self.block_columns // self.pads

    @property
    def whole_columns(self) -> int:
        """Columns in each pad of which a part of the depth comes whole, while the array's weights change."""
        is_worth_it = self.block_columns == MAX_BLOCK_COLUMNS and self.blocks * self.slices >= MIN_STREAMED_SLICES
        return WHOLE_COLUMNS if is_worth_it and self.parts[1] != 1 else 0

    @property
    def sliced_columns(self) -> int:
        """Columns in each pad that come slice by slice."""
        return self.piece_rows - self.whole_columns

    @property
    def predicted_cycles(self) -> int:
        """By rates of `ax01`; what they leave out was measured on the simulator."""
        whole, rest = self.parts
        sliced = self.columns - self.blocks * self.pads * self.whole_columns
        slices = self.slices * (sliced * BURST_CYCLES + self.blocks * TRANSFER_CYCLES)
        column = self.part_slices * self.pads * BURST_CYCLES + TRANSFER_CYCLES
        change = max(CHANGE_CYCLES, self.whole_columns * column + COLUMN_CYCLES)
        return round(START_CYCLES + self.blocks * (whole + (rest > 0)) * change + slices)

    def rows_in_pad(self, pad: int, columns: int) -> int:
        """Column c of a block lies in pad c mod `pads`."""
        return len(range(pad, columns, self.pads))

    @property
    def roundings(self) -> int:
        """Of one term: in its slice, in the sum of slices, and in the sums of the parts of the depth."""
        whole, rest = self.parts
        return 2 + whole + (rest > 0)


def choose_vector_product(
    plan: ProductPlan, product: Stage, epilogue: Sequence[Stage], *, pads: int
) -> VectorProductPlan | None:
    """A plan for one row times a matrix; None for any other product, and where nothing is gained."""
    if plan.batch or plan.rows or plan.depth or not plan.cols or plan.depth_lane is None or plan.lane is None:
        return None
    row, matrix = product.reads[plan.streamed], product.reads[plan.pushed]
    depth, columns = plan.depth_lane, math.prod(loop.extent for loop in plan.cols)
    if row.stride(depth) != 1 or matrix.stride(depth) != 1 or depth.extent % LANES:
        return None
    pitch = _pitch(matrix, plan.cols)
    if columns < MIN_COLUMNS or depth.extent < MIN_SLICES * LANES or pitch is None or pitch * pads > MAX_PITCH:
        return None
    if _pitch(product.write, plan.cols) != 1 or not _is_plain(product, epilogue):
        return None
    return VectorProductPlan(row, matrix, depth, columns, pitch, pads)


def _pitch(access: Access, loops: Sequence[Loop]) -> int | None:
    """Elements from one to the next iteration of all `loops`, outermost first, taken as one; None if they differ."""
    found = access.stride(loops[-1])
    step = found * loops[-1].extent
    for loop in reversed(loops[:-1]):
        if access.stride(loop) != step:
            return None
        step *= loop.extent
    return found


def _is_plain(product: Stage, epilogue: Sequence[Stage]) -> bool:
    """Whether the epilogue works on rows of 32 results that begin where rows of the product do."""
    if any(stage.reduced or not set(stage.loops) <= set(product.loops) for stage in epilogue):
        return False
    buffer = product.write.buffer
    reads = [read for stage in epilogue for read in stage.reads if read.buffer is buffer]
    return all(
        read.offset % LANES == 0 and all(stride == 1 or stride % LANES == 0 for stride in read.strides.values())
        for read in reads
    )
