"""Runs of windows that are packed into steps: what transfers put into the lanes, against the windows themselves."""

from __future__ import annotations

from collections import Counter

import pytest

from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.packed_runs import Runs, packed_blocks, runs_of
from atalla_mlir.codegen.product_plan import ProductPlan
from atalla_mlir.codegen.row_blocks import Blocks

PADS, LANES = 4, 32
LINES, PIXELS, OUTPUTS = Loop(20, "line"), Loop(20, "pixel"), Loop(64, "output")


@pytest.mark.parametrize(("count", "size"), [(7, 21), (11, 33), (16, 48), (5, 15), (4, 7), (3, 9), (1, 40), (8, 31)])
@pytest.mark.parametrize("gap", [0, 5, 700])
def test_steps_hold_each_element_once_in_order(count: int, size: int, gap: int) -> None:
    runs = Runs(count, size, size + gap)
    window = [run * runs.pitch + element for run in range(count) for element in range(size)]
    found: list[int] = []
    for step in runs.steps:
        row = list(range(step.element, step.element + step.lanes))
        row[: step.head] = range(step.head_element, step.head_element + step.head)
        assert step.pushed == len(found)
        assert 0 < len(row) <= LANES
        found += row
    assert found == window


def test_fewer_steps_than_runs_need() -> None:
    assert [(step.lanes, step.head) for step in Runs(7, 21, 690).steps] == [
        (32, 21),
        (31, 10),
        (32, 21),
        (31, 10),
        (21, 0),
    ]
    assert len(Runs(11, 33, 684).steps) == 12
    assert len(Runs(16, 48, 672).steps) == 24


@pytest.mark.parametrize(("count", "size", "ends"), [(7, 21, True), (11, 33, False), (16, 48, True), (2, 40, False)])
def test_whether_a_run_begins_with_a_step(count: int, size: int, ends: bool) -> None:
    assert Runs(count, size, 700).end_in_steps == ends


def operands(run: int, pushed: int) -> tuple[ProductPlan, Access, Access]:
    down, along = Loop(7, "down"), Loop(run, "run")
    plan = ProductPlan(0, 1, (), (LINES, PIXELS), (OUTPUTS,), OUTPUTS, (down,), along, 64)
    streamed = Access(Buffer("image", 1 << 20), 0, {LINES: 1380, PIXELS: 6, down: 690, along: 1})
    return plan, streamed, Access(Buffer("weights", 1 << 20), 0, {OUTPUTS: 7 * pushed, down: pushed, along: 1})


def test_runs_of_a_window() -> None:
    assert runs_of(*operands(21, 21)) == Runs(7, 21, 690)
    assert runs_of(*operands(64, 64)) is None  # whole slices
    assert runs_of(*operands(21, 24)) is None  # weights do not follow each other
    assert runs_of(*operands(54, 54)) == Runs(7, 54, 690)
    assert runs_of(*operands(57, 57)) is None  # 13 steps


def test_rows_of_packed_blocks_alternate_between_pads() -> None:
    plan, streamed, pushed = operands(21, 21)
    runs = runs_of(plan, streamed, pushed)
    assert runs is not None
    blocks = packed_blocks(Blocks(PIXELS, LINES, 4, 16, PADS), runs, streamed)
    assert blocks is not None
    assert sorted(blocks.order) == list(range(blocks.rows))
    pads = [blocks.place(row)[0] for row in blocks.order]
    assert all(Counter(pads[first : first + PADS]) == Counter(range(PADS)) for first in range(0, len(pads), PADS))


def test_rows_that_overlap_in_dram_cannot_be_packed() -> None:
    plan, streamed, pushed = operands(21, 21)
    runs = runs_of(plan, streamed, pushed)
    assert runs is not None
    assert packed_blocks(Blocks(LINES, PIXELS, 4, 16, PADS), runs, streamed) is None
