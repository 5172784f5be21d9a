"""What launches are told that fetch for one another, and what that does to their bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atalla_mlir.codegen.bounds import Bounds
from atalla_mlir.codegen.fetch_ahead import NOTHING, Ahead, AheadLaunch, FirstColumns, first_columns, moved_bounds, told
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.vector_product_plan import LANES, WHOLE_COLUMNS, VectorProductPlan
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.machine import AX01

EVEN = FirstColumns(operand=1, offset=0, pitch=2048, pads=4, rows=29, part_slices=32, num_slices=1024)
ODD = replace(EVEN, offset=64, pitch=2080, part_slices=22, num_slices=195)


def test_each_launch_is_told_where_the_next_matrix_is() -> None:
    first, second = told([AheadLaunch(EVEN, 0x1000, True), AheadLaunch(ODD, 0x900000, True)])
    assert not first.is_there
    assert (first.address, first.pitch_bytes) == (0x900000 + 128, 4160)
    assert DmaShape.decode(first.slice_shape) == DmaShape(0, 29, LANES, 4 * 2080)
    assert DmaShape.decode(first.column_shape) == DmaShape(0, 22, LANES, LANES)
    # nothing comes behind the last one but an element of its own matrix
    assert second == Ahead(is_there=True, address=0x900000)
    assert second.slice_shape == second.column_shape == NOTHING


def test_the_first_slice_lies_where_the_slices_before_have_left_off() -> None:
    launches = [AheadLaunch(columns, 0x1000, True) for columns in (ODD, EVEN, ODD, ODD)]
    half = 29 * LANES * 2
    assert [ahead.half_bytes for ahead in told(launches)] == [0, half, half, 0]


def test_what_is_not_a_parameter_is_not_fetched_ahead() -> None:
    launches = [AheadLaunch(EVEN, 0x1000, True), AheadLaunch(EVEN, 0x2000, False), AheadLaunch(EVEN, 0x3000, True)]
    first, second, third = told(launches)
    assert (first.slice_shape, first.address, second.is_there) == (NOTHING, 0x1000, False)
    assert (second.address, third.is_there) == (0x3000, True)


def test_arguments_are_words() -> None:
    ahead = Ahead(half_bytes=1856, is_there=True, address=0x1000)
    assert ahead.arguments(0x2000) == [0x2000, 1856, -1, 0x1000, 0, NOTHING, NOTHING]


def test_the_rows_that_stay_are_what_kernels_leave() -> None:
    """Tiles and spilled registers leave 192 rows of each pad."""
    assert EVEN.area_rows == 2 * 29 + 3 * 32
    assert -(-EVEN.area_rows // AX01.page_rows) * AX01.page_rows <= 256 - 64


@pytest.mark.parametrize(("columns", "found"), [(1024, True), (127, False)])
def test_only_whole_blocks_are_fetched_ahead(columns: int, found: bool) -> None:
    loop = Loop(8192)
    row, matrix = Access(Buffer("x", 8192), 0, {loop: 1}), Access(Buffer("w", 8192 * columns), 32, {loop: 1})
    plan = VectorProductPlan(row, matrix, loop, columns, 8192, pads=4)
    assert plan.whole_columns == WHOLE_COLUMNS
    own = first_columns(plan, 1)
    assert own == (FirstColumns(1, 32, 8192, 4, 29, 32, 8 * 256) if found else None)


def test_bounds_move_with_the_bytes() -> None:
    bounds = Bounds({"dram": 100, "array": 60}, 3200)
    num_bytes = EVEN.num_bytes
    assert num_bytes == 4 * (29 + 3 * 32) * 64
    more, less = moved_bounds(bounds, num_bytes, AX01), moved_bounds(bounds, -1600, AX01)
    assert (more.compulsory_bytes, more.cycles["dram"]) == (3200 + num_bytes, 100 + num_bytes // 32)
    assert (less.bound_cycles, less.bound_by) == (60, "array")
