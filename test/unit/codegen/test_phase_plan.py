"""Plans of loops over steps: phases between reductions, steps of rows and of parts of rows."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.phase_plan import MAX_STAGES, PhasePlan, plan_phases


def _softmax(rows: int, length: int, *, lane_stride: int = 1) -> tuple[list[Stage], list[Access]]:
    """exp(x - max) * 1/sum, as four stages; without a `lane_stride` of 1 the rows are not contiguous."""
    row, lane = Loop(rows, "row"), Loop(length, "lane")
    x, highest, e, total, y = (Buffer(name, rows * length) for name in ("x", "highest", "e", "total", "y"))
    full = {row: length, lane: lane_stride}
    load = [Node("load", read=number) for number in (0, 1)]
    stages = [
        Stage(
            StageKind.REDUCE,
            [row, lane],
            [Access(x, 0, full)],
            Access(highest, 0, {row: 1}),
            load[0],
            [lane],
            Combine.MAX,
        ),
        Stage(
            StageKind.MAP,
            [row, lane],
            [Access(x, 0, full), Access(highest, 0, {row: 1})],
            Access(e, 0, full),
            Node("exp", (Node("sub", (load[0], load[1])),)),
        ),
        Stage(
            StageKind.REDUCE,
            [row, lane],
            [Access(e, 0, full)],
            Access(total, 0, {row: 1}),
            load[0],
            [lane],
            Combine.ADD,
        ),
        Stage(
            StageKind.MAP,
            [row, lane],
            [Access(e, 0, full), Access(total, 0, {row: 1})],
            Access(y, 0, full),
            Node("div", (load[0], load[1])),
        ),
    ]
    return stages, [stages[-1].write]


def _plan(rows: int, length: int) -> PhasePlan | None:
    return plan_phases(*_softmax(rows, length))


def test_each_reduction_ends_a_phase() -> None:
    stages, stored = _softmax(64, 1024)
    plan = plan_phases(stages, stored)
    assert plan is not None
    assert [phase.stages for phase in plan.phases] == [[stages[0]], [stages[1], stages[2]], [stages[3]]]


@pytest.mark.parametrize(
    ("rows", "length", "shape"),
    [
        (64, 1024, (1, 32, 1)),
        (64, 1000, (1, 32, 1)),
        (64, 2048, (1, 32, 2)),
        (64, 4096, (1, 32, 4)),
        (400, 256, (4, 8, 1)),
    ],
)
def test_steps_cover_rows_or_parts_of_rows(rows: int, length: int, shape: tuple[int, int, int]) -> None:
    plan = _plan(rows, length)
    assert plan is not None
    assert (plan.rows, plan.chunks, plan.groups) == shape
    assert plan.done_rows == rows - rows % plan.rows
    assert plan.rows * plan.chunks <= 32


@pytest.mark.parametrize("length", [1024, 2048, 4096])
def test_phases_of_a_row_are_far_enough_apart(length: int) -> None:
    plan = _plan(128, length)
    assert plan is not None
    # a whole row has passed one phase, and its last stage, when the next begins with it
    assert plan.lag >= plan.stages + plan.groups - 1
    assert plan.lag % plan.groups == 0
    assert plan.slots >= plan.last_phase * plan.lag + 2 * plan.stages
    assert plan.slots & (plan.slots - 1) == 0


@pytest.mark.parametrize(("rows", "stages"), [(128, 3), (1024, MAX_STAGES)])
def test_few_long_steps_run_in_few_stages(rows: int, stages: int) -> None:
    plan = _plan(rows, 1024)
    assert plan is not None
    assert plan.stages == stages
    # data comes before it is used, and a slot is free again when all phases have passed
    assert plan.slots >= plan.ahead + 2 * plan.stages + plan.last_phase * plan.lag


def test_short_or_few_or_strided_rows_have_no_plan() -> None:
    assert _plan(1024, 64) is None
    assert _plan(8, 1024) is None
    assert _plan(48, 512) is None
    assert plan_phases(*_softmax(64, 1024, lane_stride=64)) is None


def _sum_of_runs(extent: int) -> tuple[list[Stage], list[Access]]:
    loop = Loop(extent, "i")
    left, right, result = (Buffer(name, extent) for name in ("left", "right", "result"))
    body = Node("add", (Node("load", read=0), Node("load", read=1)))
    reads = [Access(buffer, 0, {loop: 1}) for buffer in (left, right)]
    stage = Stage(StageKind.MAP, [loop], reads, Access(result, 0, {loop: 1}), body)
    return [stage], [stage.write]


@pytest.mark.parametrize(("extent", "chunks"), [(100_000, 32), (1 << 20, 96)])
def test_runs_of_elements_are_cut_into_steps(extent: int, chunks: int) -> None:
    plan = plan_phases(*_sum_of_runs(extent))
    assert plan is not None and plan.is_flat
    assert plan.chunks == chunks
    assert plan.done_rows == extent // (32 * chunks) * 32 * chunks
    assert plan_phases(*_sum_of_runs(1000)) is None


def _outer_product(rows: int, length: int) -> PhasePlan | None:
    """x of each row times w of each lane."""
    row, lane = Loop(rows, "row"), Loop(length, "lane")
    x, w, y = Buffer("x", rows), Buffer("w", length), Buffer("y", rows * length)
    reads = [Access(x, 0, {row: 1}), Access(w, 0, {lane: 1})]
    product = Node("mul", (Node("load", read=0), Node("load", read=1)))
    stage = Stage(StageKind.MAP, [row, lane], reads, Access(y, 0, {row: length, lane: 1}), product)
    return plan_phases([stage], [stage.write])


def test_an_operand_of_one_element_a_row_moves_with_the_steps() -> None:
    plan = _outer_product(1024, 1024)
    assert plan is not None
    column, across = plan.phases[0].stages[0].reads
    assert plan.is_column(column) and not plan.is_column(across)
    assert (plan.rows, plan.chunks, plan.step_elements(column)) == (2, 32, 2)


def test_steps_of_an_outer_product_are_long_but_many() -> None:
    plan = _outer_product(256, 256)
    assert plan is not None and (plan.rows, plan.steps) == (4, 64)
    assert _outer_product(64, 8192) is None
