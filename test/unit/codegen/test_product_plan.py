"""Roles of a product's loops, and how many rows are computed at once beside numbers that each of them has."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.product_plan import MAX_SCALARS, ProductPlan, choose_product_plan, with_scalars


def plan_of(rows: int, columns: int, numbers: int) -> ProductPlan:
    """x @ y^T of depth 96, of which each row is then multiplied by so many numbers of its own."""
    row, lane, deep = Loop(rows), Loop(columns), Loop(96)
    reads = [Access(Buffer("x", 1 << 20), 0, {row: 96, deep: 1}), Access(Buffer("y", 1 << 20), 0, {lane: 96, deep: 1})]
    write = Access(Buffer("z", 1 << 20), 0, {row: columns, lane: 1})
    body = Node("mul", (Node("load", read=0), Node("load", read=1)))
    loops = [row, lane, deep]
    product = Stage(
        kind=StageKind.PRODUCT, loops=loops, reduced=[deep], reads=reads, write=write, body=body, combine=Combine.ADD
    )
    columns_read = [Access(Buffer(f"s{at}", rows), 0, {row: 1}) for at in range(numbers)]
    maps = [Stage(StageKind.MAP, [row, lane], [write, read], write, body) for read in columns_read]
    return with_scalars(choose_product_plan(product, [write]), maps)


@pytest.mark.parametrize(
    ("rows", "columns", "numbers"), [(96, 49, 0), (96, 49, 1), (96, 64, 5), (96, 32, 5), (24, 49, 4)]
)
def test_numbers_that_are_few_or_loaded_again_change_nothing(rows: int, columns: int, numbers: int) -> None:
    plan = plan_of(rows, columns, numbers)
    assert not plan.rows_first
    assert plan.block_rows == 64


@pytest.mark.parametrize(("rows", "numbers", "block"), [(97, 1, 64), (96, 3, 32), (300, 5, 19), (1, 200, 1)])
def test_blocks_are_as_small_as_scalar_registers_hold_their_numbers(rows: int, numbers: int, block: int) -> None:
    plan = plan_of(rows, 49, numbers)
    assert plan.rows_first
    assert plan.block_rows == block
    assert block == 1 or block * numbers <= MAX_SCALARS
