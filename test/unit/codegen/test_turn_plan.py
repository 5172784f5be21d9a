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


def test_gathers_have_no_plan() -> None:
    row, column = Loop(128, "row"), Loop(128, "column")
    table, places, y = Buffer("table", 1 << 14), Buffer("places", 128), Buffer("y", 1 << 14)
    where = Node("load", read=1)
    reads = [Access(table, 0, {column: 1}, ((where, 128),)), Access(places, 0, {row: 1})]
    stage = Stage(StageKind.MAP, [column, row], reads, Access(y, 0, {row: 1, column: 128}), Node("load", read=0))
    assert plan_turn([stage]) is None
