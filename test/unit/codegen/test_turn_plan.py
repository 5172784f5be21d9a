"""Which copies turn a matrix, and how many tiles they have."""

from __future__ import annotations

from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.turn_plan import TurnPlan, plan_turn


def _plan(rows: int, columns: int, *, batch: int = 1, op: str = "load") -> TurnPlan | None:
    outer, row, column = Loop(batch, "batch"), Loop(rows, "row"), Loop(columns, "column")
    x, y = (Buffer(name, batch * rows * columns) for name in "xy")
    loops = [column, row] if batch == 1 else [outer, column, row]
    source, result = {row: columns, column: 1}, {column: rows, row: 1}
    if batch > 1:
        source[outer] = result[outer] = rows * columns
    load = Node("load", read=0)
    body = load if op == "load" else Node(op, (load,))
    return plan_turn([Stage(StageKind.MAP, loops, [Access(x, 0, source)], Access(y, 0, result), body)])


def test_tiles_cover_both_sides_and_batches() -> None:
    plan = _plan(100, 333)
    assert plan is not None
    assert (plan.down.extent, plan.across.extent, plan.tiles) == (333, 100, 11 * 4)
    batches = _plan(64, 96, batch=4)
    assert batches is not None
    assert [loop.extent for loop in batches.loops] == [96, 64, 4]
    assert batches.tiles == 3 * 2 * 4


def test_narrow_and_small_matrices_and_functions_have_no_plan() -> None:
    assert _plan(31, 1000) is None
    assert _plan(64, 64) is None
    assert _plan(256, 256, op="exp") is None
