"""Products one slice deep: which take the form of a stream, and how their rows are cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.product_plan import ProductPlan, choose_product_plan
from atalla_mlir.codegen.stream_plan import MIN_ITERATIONS, RESULT_SLOTS, Deal, StreamPlan, choose_stream_plan

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
    assert (
        plan.operand_rows + RESULT_SLOTS * plan.results.rows_per_pad + plan.cols.num_blocks * plan.cols.rows_per_pad
        <= PAD_ROWS
    )
    inside = [loop for loop in (*plan.lines, plan.loop) if loop is not None]
    assert [loop.extent for loop in (*plan.outside, *inside)] == [extent for extent in rows if extent > 1]


def test_depths_of_several_slices_and_few_rows_are_tiles() -> None:
    assert plan_of((3136,), 33, 64) is None
    assert plan_of((MIN_ITERATIONS * 4 - 4,), 32, 64) is None


def test_large_images_are_cut_into_panels() -> None:
    plan = plan_of((300, 300), 32, 64)
    assert plan is not None
    assert plan.panels > 1


@pytest.mark.parametrize(("rows", "pieces", "pads"), [(56, 4, 4), (30, 8, 4), (6, 6, 4), (5, 5, 4), (9, 12, 4)])
def test_rows_of_a_group_have_places_of_their_own(rows: int, pieces: int, pads: int) -> None:
    deal = Deal(rows, min(rows, pieces), pads)
    places = [deal.place(row) for row in range(rows)]
    assert len(set(places)) == rows
    assert all(at < deal.rows_per_pad for _, at in places)
    for piece in range(deal.pieces):
        first = deal.target(piece)
        held = [(piece % pads, first + at) for at in range(deal.rows_of_piece(piece))]
        assert held == places[piece :: deal.pieces]


def test_lines_of_a_window_become_runs_that_end_where_their_lanes_do() -> None:
    """3x3 on 3 channels with stride 2: rows of a transfer lie 6 elements apart, so 5 or more pieces keep them apart."""
    row, lane, line, deep = Loop(40), Loop(16), Loop(3), Loop(9)
    read = Access(Buffer("x", 1 << 16), 0, {row: 6, line: 243, deep: 1})
    weights = Access(Buffer("w", 1 << 16), 0, {lane: 27, line: 9, deep: 1})
    roles = ProductPlan(0, 1, (), (row,), (lane,), lane, (line,), deep, 0)
    product = Stage(StageKind.PRODUCT, [row, lane, line, deep], [read, weights], read, Node("constant"))
    write = Access(Buffer("y", 1 << 16), 0, {lane: 1, row: 16})
    chosen = choose_stream_plan(roles, product, [], [write], pads=4, pad_rows=PAD_ROWS, wanted={"group": 5})
    assert chosen is not None
    plan, _ = chosen
    assert [(run.first, run.lanes, run.element) for run in plan.runs] == [(0, 9, 0), (9, 9, 243), (18, 9, 486)]
    assert [run.cols for run in plan.runs] == [9, 18, 27]
    assert plan.operands.pieces == 5
