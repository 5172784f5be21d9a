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
        (1153 * LANES, 256, 0),  # the last part is one slice: the stream is in the next block by then
        (173 * LANES, 2048, WHOLE_COLUMNS),  # parts of 29 slices, and one of 28
    ],
)
def test_columns_come_whole_where_that_hides_a_change_of_weights(depth: int, columns: int, whole: int) -> None:
    plan = plan_of(depth, columns)
    assert (plan.whole_columns, plan.sliced_columns) == (whole, plan.piece_rows - whole)


@pytest.mark.parametrize(
    ("slices", "size", "parts"),
    [
        (24, 24, (1, 0)),
        (64, 32, (2, 0)),
        (176, 22, (8, 0)),  # rather than five of 30 and one of 26
        (65, 22, (2, 21)),  # a third more than three parts is none more
        (173, 29, (5, 28)),
    ],
)
def test_parts_of_the_depth_are_equal_where_not_many_more_are_needed(
    slices: int, size: int, parts: tuple[int, int]
) -> None:
    plan = plan_of(slices * LANES, 2048)
    assert (plan.part_slices, plan.parts) == (size, parts)


def test_what_comes_whole_makes_slices_shorter() -> None:
    plan = plan_of(2048, 2048)
    assert plan.parts == (2, 0)
    by_slices = plan.blocks * plan.slices * (2 * plan.pads * plan.sliced_columns + 15)
    by_columns = plan.blocks * 2 * WHOLE_COLUMNS * (2 * plan.pads * plan.part_slices + 15)
    assert by_slices + by_columns < plan.predicted_cycles < 1.1 * plan.blocks * plan.slices * 256
