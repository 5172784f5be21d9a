"""Products one slice deep: which take the form of a stream, and how their rows are cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.product_plan import choose_product_plan
from atalla_mlir.codegen.stream_plan import MIN_ITERATIONS, RESULT_SLOTS, StreamPlan, choose_stream_plan

PAD_ROWS = 8192


def plan_of(rows: Sequence[int], depth: int, columns: int, *, margin: int = 0, pads: int = 4) -> StreamPlan | None:
    """The plan for rows of an image, whose results have a border of `margin` on each side."""
    loops, lane, deep = [Loop(extent) for extent in rows], Loop(columns), Loop(depth)
    strides, sizes = [1] * len(rows), [1] * len(rows)
    for at in reversed(range(len(rows) - 1)):
        strides[at] = strides[at + 1] * rows[at + 1]
        sizes[at] = sizes[at + 1] * (rows[at + 1] + 2 * margin)
    read = Access(
        Buffer("x", 1 << 24), 0, {deep: 1, **{loop: step * depth for loop, step in zip(loops, strides, strict=True)}}
    )
    weights = Access(Buffer("w", 1 << 20), 0, {lane: depth, deep: 1})
    write = Access(
        Buffer("y", 1 << 24), 0, {lane: 1, **{loop: step * columns for loop, step in zip(loops, sizes, strict=True)}}
    )
    body = Node("mul", (Node("load", read=0), Node("load", read=1)))
    product = Stage(
        kind=StageKind.PRODUCT,
        loops=[*loops, lane, deep],
        reduced=[deep],
        reads=[read, weights],
        write=write,
        body=body,
        combine=Combine.ADD,
    )
    roles = choose_product_plan(product, [write])
    chosen = choose_stream_plan(roles, product, [], [write], pads=pads, pad_rows=PAD_ROWS, wanted={})
    return chosen[0] if chosen is not None else None


@pytest.mark.parametrize("rows", [(3136,), (113, 113), (56, 56), (2, 57, 57), (100_000,), (300, 300), (61,)])
@pytest.mark.parametrize("depth", [9, 32])
def test_rows_are_covered_and_fit(rows: tuple[int, ...], depth: int) -> None:
    plan = plan_of(rows, depth, 70, margin=1)
    assert plan is not None
    assert plan.iterations >= MIN_ITERATIONS
    assert plan.groups * plan.group >= plan.width > (plan.groups - 1) * plan.group
    assert plan.split is not None
    assert plan.panels * plan.panel >= plan.split.extent > (plan.panels - 1) * plan.panel
    assert plan.operand_rows + RESULT_SLOTS * plan.slot_rows + plan.cols.num_blocks * plan.cols.rows_per_pad <= PAD_ROWS
    inside = [loop for loop in (*plan.lines, plan.loop) if loop is not None]
    assert [loop.extent for loop in (*plan.outside, *inside)] == [extent for extent in rows if extent > 1]


def test_depths_of_several_slices_and_few_rows_are_tiles() -> None:
    assert plan_of((3136,), 33, 64) is None
    assert plan_of((MIN_ITERATIONS * 4 - 4,), 32, 64) is None


def test_large_images_are_cut_into_panels() -> None:
    plan = plan_of((300, 300), 32, 64)
    assert plan is not None
    assert plan.panels > 1
