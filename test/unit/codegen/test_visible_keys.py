"""Masks that are known triangles: what they hide, and what of an attention is then work that counts."""

from __future__ import annotations

import math

import pytest

from atalla_mlir.codegen.bounds import kernel_bounds
from atalla_mlir.codegen.hidden_work import hidden_work
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind, Triangle
from atalla_mlir.codegen.visible_keys import visible_keys
from atalla_mlir.target.machine import AX01

QUERIES, KEYS, DEPTH, WIDTH = 70, 100, 64, 32
FLAG = Node("cmp_une", (Node("load", read=0), Node("constant", value=0.0)))
SCORE, HIDDEN = Node("load", read=1), Node("constant", value=-math.inf)


def masked(triangle: Triangle | None, *, offset: int = 0, kept: Node = SCORE, dropped: Node = HIDDEN) -> Stage:
    return attention(triangle, offset, Node("select", (FLAG, kept, dropped)))[1]


def attention(triangle: Triangle | None, offset: int, body: Node) -> list[Stage]:
    """softmax(where(mask, q @ k^T, -inf)) @ v"""
    rows, keys, depth, width = Loop(QUERIES, "q"), Loop(KEYS, "k"), Loop(DEPTH, "d"), Loop(WIDTH, "w")

    def at(name: str, **strides: int) -> Access:
        loops = {"q": rows, "k": keys, "d": depth, "w": width}
        return Access(buffers[name], 0, {loops[loop]: stride for loop, stride in strides.items()})

    names = "query key value scores masked highest shifted exponentials total shares out"
    buffers = {name: Buffer(name, 1 << 16) for name in names.split()}
    mask = Access(Buffer("mask", 1 << 20, triangle=triangle), offset, {rows: 120, keys: 1})
    score = {"q": KEYS, "k": 1}
    load, over = Node("load", read=0), [rows, keys]

    def each(op: str, left: str, right: str, result: str) -> Stage:
        reads = [at(left, **score), at(right, q=1)]
        return Stage(StageKind.MAP, over, reads, at(result, **score), Node(op, (load, Node("load", read=1))))

    def fold(combine: Combine, source: str, result: str) -> Stage:
        return Stage(StageKind.REDUCE, over, [at(source, **score)], at(result, q=1), load, [keys], combine)

    def product(left: Access, right: Access, result: Access, reduced: Loop, kept: Loop) -> Stage:
        body = Node("mul", (load, Node("load", read=1)))
        return Stage(StageKind.PRODUCT, [rows, kept, reduced], [left, right], result, body, [reduced], Combine.ADD)

    return [
        product(at("query", q=DEPTH, d=1), at("key", k=DEPTH, d=1), at("scores", **score), depth, keys),
        Stage(StageKind.MAP, over, [mask, at("scores", **score)], at("masked", **score), body),
        fold(Combine.MAX, "masked", "highest"),
        each("sub", "masked", "highest", "shifted"),
        Stage(StageKind.MAP, over, [at("shifted", **score)], at("exponentials", **score), Node("exp", (load,))),
        fold(Combine.ADD, "exponentials", "total"),
        each("div", "exponentials", "total", "shares"),
        product(at("shares", **score), at("value", k=WIDTH, w=1), at("out", q=WIDTH, w=1), keys, width),
    ]


@pytest.mark.parametrize("is_lower", [True, False])
@pytest.mark.parametrize(("diagonal", "offset"), [(0, 0), (5, 0), (-80, 0), (200, 0), (0, 3 * 120 + 7)])
def test_counts_of_keys(diagonal: int, offset: int, is_lower: bool) -> None:
    arms = {} if is_lower else {"kept": HIDDEN, "dropped": SCORE}
    known = visible_keys(masked(Triangle(120, diagonal, is_lower), offset=offset, **arms))
    row, column = divmod(offset, 120)
    visible = [sum(column + key <= row + query + diagonal for key in range(KEYS)) for query in range(QUERIES)]
    assert known is not None and known.counts == visible


def test_what_is_no_such_mask() -> None:
    lower = Triangle(120, 0, True)
    for stage in (
        masked(None),
        masked(lower, kept=HIDDEN, dropped=SCORE),  # the first keys are hidden
        masked(lower, dropped=Node("constant", value=-1e9)),
        masked(lower, kept=Node("load", read=0)),
        masked(lower, offset=100),  # goes on in the next row of the mask
        masked(Triangle(90, 0, True)),
    ):
        assert visible_keys(stage) is None


@pytest.mark.parametrize("diagonal", [0, -30, 40])
def test_the_bound_counts_what_is_seen(diagonal: int) -> None:
    body = Node("select", (FLAG, SCORE, HIDDEN))
    stages = attention(Triangle(120, diagonal, True), 0, body)
    out, mask = stages[-1].write.buffer, stages[1].reads[0].buffer
    inputs = [*(read.buffer for read in stages[0].reads), stages[-1].reads[1].buffer, mask]
    counts = [min(max(row + diagonal + 1, 0), KEYS) for row in range(QUERIES)]
    bounds = kernel_bounds(stages, inputs, [out], AX01)
    assert bounds.input_bytes[3] == 0
    assert bounds.cycles["lane_exp"] == math.ceil(sum(counts) * AX01.lane_interval_cycles / 32)
    scores = sum(counts) * -(-DEPTH // 32) / 32
    results = sum(-(-count // 32) for count in counts) * WIDTH / 32
    assert 0.7 * (scores + results) < bounds.cycles["array"] <= math.ceil(scores + results)
    folds = hidden_work(stages, [out], 32).share(stages[2]).folds
    assert folds * QUERIES * (KEYS - 1) == sum(max(count - 1, 0) for count in counts)
    seen = min(max(counts), KEYS) / KEYS, sum(count > 0 for count in counts) / QUERIES
    assert bounds.input_bytes[1] == math.ceil(2 * KEYS * DEPTH * min(seen))


def test_an_unknown_mask_hides_nothing() -> None:
    body = Node("select", (FLAG, SCORE, HIDDEN))
    known, unknown = (
        kernel_bounds(stages, [stages[1].reads[0].buffer], [stages[-1].write.buffer], AX01)
        for stages in (attention(triangle, 0, body) for triangle in (Triangle(120, 0, True), None))
    )
    assert unknown.input_bytes == (2 * QUERIES * KEYS,)
    assert all(cycles < unknown.cycles[resource] for resource, cycles in known.cycles.items())
