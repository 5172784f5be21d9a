"""Which operands of an epilogue a walk over tiles takes in, and how."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.product_plan import ProductPlan
from atalla_mlir.codegen.tile_schedule import is_column_read

GROUP, PIXEL, CHANNEL, DEPTH = Loop(4), Loop(49), Loop(32), Loop(32)
PLAN = ProductPlan(0, 1, (GROUP,), (PIXEL,), (CHANNEL,), CHANNEL, (), DEPTH, 64)


@pytest.mark.parametrize(
    ("strides", "expected"),
    [
        ({CHANNEL: 1}, True),
        ({GROUP: 32, CHANNEL: 1}, True),
        ({CHANNEL: 4}, False),
        ({PIXEL: 32, CHANNEL: 1}, False),
        ({GROUP: 1}, False),
        ({}, False),
    ],
)
def test_rows_that_all_rows_of_a_tile_share(strides: dict[Loop, int], expected: bool) -> None:
    assert is_column_read(Access(Buffer("bias", 128), 0, strides), PLAN) is expected
