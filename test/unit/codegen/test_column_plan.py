"""Plans of folds over columns: steps of some terms of a chunk, a rest of terms, partial folds that fit the pads."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.column_plan import ColumnPlan, plan_columns
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind


def _plan(rows: int, columns: int, *, lane_stride: int = 1, keeps_squares: bool = False) -> ColumnPlan | None:
    """Means of squares of columns."""
    row, lane = Loop(rows, "row"), Loop(columns, "lane")
    x, squares = (Buffer(name, rows * columns) for name in ("x", "squares"))
    total, mean = (Buffer(name, columns) for name in ("total", "mean"))
    full = {row: columns * lane_stride, lane: lane_stride}
    load = Node("load", read=0)
    stages = [
        Stage(StageKind.MAP, [row, lane], [Access(x, 0, full)], Access(squares, 0, full), Node("mul", (load, load))),
        Stage(
            StageKind.REDUCE,
            [row, lane],
            [Access(squares, 0, full)],
            Access(total, 0, {lane: 1}),
            load,
            [row],
            Combine.ADD,
        ),
        Stage(
            StageKind.MAP,
            [lane],
            [Access(total, 0, {lane: 1})],
            Access(mean, 0, {lane: 1}),
            Node("mul", (load, Node("constant", value=1 / rows))),
        ),
    ]
    stored = [stages[-1].write, *([stages[0].write] if keeps_squares else [])]
    return plan_columns(stages, stored)


@pytest.mark.parametrize(("rows", "columns"), [(1024, 1024), (1000, 333), (4100, 64)])
def test_each_term_is_in_one_block(rows: int, columns: int) -> None:
    plan = _plan(rows, columns)
    assert plan is not None
    covered = [
        term
        for part in plan.parts
        for block in range(part.blocks)
        for term in range(part.first + block * part.size, part.first + (block + 1) * part.size)
    ]
    assert covered == list(range(rows))
    assert plan.chunks == -(-columns // 32)
    assert plan.first_column(plan.chunks - 1) + plan.cols == columns
    assert [len(plan.stages), len(plan.folds), len(plan.after)] == [2, 1, 1]


@pytest.mark.parametrize(("rows", "columns", "size"), [(784, 96, 56), (196, 480, 49), (3136, 24, 64), (169, 1000, 64)])
def test_steps_are_even_where_terms_allow(rows: int, columns: int, size: int) -> None:
    plan = _plan(rows, columns)
    assert plan is not None
    assert plan.parts[0].size == size


def test_few_rows_strided_columns_and_terms_that_are_kept_have_no_plan() -> None:
    assert _plan(64, 64) is None
    assert _plan(1024, 1024, lane_stride=2) is None
    assert _plan(1024, 1024, keeps_squares=True) is None
