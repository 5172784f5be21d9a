"""What is found about stages is found once for stages that differ only in names."""

from __future__ import annotations

from collections import OrderedDict

import pytest

from atalla_mlir.codegen import stage_memo
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.stage_memo import Description, recall


def _sum(rows: int = 8, *, offset: int = 0, value: float = 1.0, name: str = "d") -> tuple[Stage, Stage]:
    """Sums over the columns of a matrix, and a map that adds a number to each."""
    row, column = Loop(rows, name), Loop(64, name)
    matrix, sums, result = Buffer(name, rows * 64), Buffer(name, rows), Buffer(name, rows)
    read = Access(matrix, offset, {row: 64, column: 1})
    fold = Stage(
        StageKind.REDUCE,
        [row, column],
        [read],
        Access(sums, 0, {row: 1}),
        Node("load", read=0),
        [column],
        Combine.ADD,
        nodes=(name,),
    )
    other = Loop(rows, name)
    body = Node("add", (Node("load", read=0), Node("constant", value=value)))
    shift = Stage(StageKind.MAP, [other], [Access(sums, 0, {other: 1})], Access(result, 0, {other: 1}), body)
    return fold, shift


def _key(stages: tuple[Stage, Stage]) -> object:
    return Description().stages(stages).key


def test_names_make_no_difference():
    assert _key(_sum()) == _key(_sum(name="other"))


@pytest.mark.parametrize(
    "changed",
    [_sum(16), _sum(offset=64), _sum(value=2.0), _sum(value=float("nan"))],
    ids=["extent", "offset", "number", "nan"],
)
def test_what_stages_compute_makes_one(changed: tuple[Stage, Stage]):
    assert _key(_sum()) != _key(changed)


def test_zeros_of_both_signs_differ():
    assert _key(_sum(value=0.0)) != _key(_sum(value=-0.0))


def test_shared_loops_differ_from_equal_ones():
    fold, shift = _sum()
    before = _key((fold, shift))
    row, (own,) = fold.loops[0], shift.loops
    shift.loops = [row]
    for access in shift.accesses():
        access.strides = {row: access.strides[own]}
    assert _key((fold, shift)) != before


def test_buffers_are_those_of_the_stages():
    keys: list[object] = []
    for of_fold in (True, False, True):
        fold, shift = _sum()
        keys.append(Description().stages([fold, shift]).buffers([(fold if of_fold else shift).write.buffer]).key)
    assert keys[0] == keys[2] != keys[1]


def test_a_finding_is_looked_for_once_for_each_question(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stage_memo, "_FINDINGS", OrderedDict())
    asked: list[str] = []

    def ask(question: str, stages: tuple[Stage, Stage]) -> int:
        def find() -> int:
            asked.append(question)
            return len(asked)

        return recall(question, _key(stages), find)

    assert [ask("a", _sum()), ask("a", _sum(name="other")), ask("b", _sum()), ask("a", _sum(16))] == [1, 1, 2, 3]
    assert asked == ["a", "b", "a"]


def test_the_oldest_finding_goes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stage_memo, "_FINDINGS", OrderedDict())
    monkeypatch.setattr(stage_memo, "MAX_FINDINGS", 2)
    found = [recall("a", key, lambda key=key: key) for key in ("x", "y", "x", "z")]
    assert found == ["x", "y", "x", "z"]
    assert recall("a", "x", lambda: "again") == "x"
    assert recall("a", "y", lambda: "again") == "again"
