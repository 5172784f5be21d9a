"""A row times a matrix: which columns come whole while weights change, and what that is predicted to take."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.vector_product_plan import LANES, WHOLE_COLUMNS, VectorProductPlan


def plan_of(depth: int, columns: int) -> VectorProductPlan:
    loop = Loop(depth)
    row, matrix = Access(Buffer("x", depth), 0, {loop: 1}), Access(Buffer("w", depth * columns), 0, {loop: 1})
    return VectorProductPlan(row, matrix, loop, columns, depth, pads=4)


@pytest.mark.parametrize(
    ("depth", "columns", "whole"),
    [
        (2048, 2048, WHOLE_COLUMNS),
        (2048, 256, WHOLE_COLUMNS),  # two blocks of two parts are enough
        (256, 512, 0),  # 32 slices in all: the first columns would cost what is gained
        (8192, 64, 0),  # a block of half the columns takes the array longer than DRAM
        (1025 * LANES, 256, 0),  # the last part is one slice: the stream is in the next block by then
        (176 * LANES, 2048, WHOLE_COLUMNS),  # parts of 30 slices, and one of 26
    ],
)
def test_columns_come_whole_where_that_hides_a_change_of_weights(depth: int, columns: int, whole: int) -> None:
    plan = plan_of(depth, columns)
    assert (plan.whole_columns, plan.sliced_columns) == (whole, plan.piece_rows - whole)


def test_what_comes_whole_makes_slices_shorter() -> None:
    plan = plan_of(2048, 2048)
    assert plan.parts == (2, 0)
    by_slices = plan.blocks * plan.slices * (2 * plan.pads * plan.sliced_columns + 15)
    by_columns = plan.blocks * 2 * WHOLE_COLUMNS * (2 * plan.pads * plan.part_slices + 15)
    assert by_slices + by_columns < plan.predicted_cycles < 1.1 * plan.blocks * plan.slices * 256
