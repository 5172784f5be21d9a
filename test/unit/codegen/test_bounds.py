"""Bounds against brute force: elements and values counted one by one, array rows found by search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atalla_mlir.codegen.bounds import array_rows, kernel_bounds, num_elements
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.target.machine import AX01


def load(read: int) -> Node:
    return Node("load", read=read)


def product(m: int, n: int, k: int, batch: int = 1) -> tuple[Stage, list[Buffer], Buffer]:
    loops = b, i, j, d = Loop(batch, "b"), Loop(m, "m"), Loop(n, "n"), Loop(k, "k")
    left, right, out = Buffer("a", batch * m * k), Buffer("b", batch * k * n), Buffer("c", batch * m * n)
    stage = Stage(
        StageKind.PRODUCT,
        list(loops),
        [Access(left, 0, {b: m * k, i: k, d: 1}), Access(right, 0, {b: k * n, d: n, j: 1})],
        Access(out, 0, {b: m * n, i: n, j: 1}),
        Node("mul", (load(0), load(1))),
        [d],
        Combine.ADD,
    )
    stage.drop_unit_loops()
    return stage, [left, right], out


def elementwise(
    body: Node, extents: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[Stage, list[Buffer], Buffer]:
    """A map over row-major results, with one row of strides per read."""
    loops = [Loop(extent, f"d{at}") for at, extent in enumerate(extents)]
    steps = [math.prod(extents[at + 1 :]) for at in range(len(extents))]
    reads = [
        Access(
            Buffer(f"in{at}", 1 + sum(s * (e - 1) for s, e in zip(row, extents, strict=True))),
            0,
            dict(zip(loops, row, strict=True)),
        )
        for at, row in enumerate(strides)
    ]
    out = Buffer("out", math.prod(extents))
    stage = Stage(StageKind.MAP, loops, reads, Access(out, 0, dict(zip(loops, steps, strict=True))), body)
    return stage, [read.buffer for read in reads], out


# The numbers of the machine reference (section 10) and of the performance targets


@pytest.mark.parametrize(("size", "cycles"), [(256, 28_672), (512, 245_760), (1024, 2_031_616)])
def test_square_products_are_bound_by_accumulation(size: int, cycles: int) -> None:
    stage, inputs, out = product(size, size, size)
    bounds = kernel_bounds([stage], inputs, [out], AX01)
    assert (bounds.bound_cycles, bounds.bound_by) == (cycles, "lane_alu")
    assert bounds.compulsory_bytes == 6 * size * size
    assert bounds.cycles["array"] == size**3 // 1024


def test_linear_with_bias_and_relu() -> None:
    rows, columns, depth = 128, 3072, 768
    stage, inputs, sums = product(rows, columns, depth)
    i, j = Loop(rows), Loop(columns)
    bias, out = Buffer("bias", columns), Buffer("out", rows * columns)
    body = Node("max", (Node("add", (load(0), load(1))), Node("constant")))
    strides = {i: columns, j: 1}
    epilogue = Stage(
        StageKind.MAP, [i, j], [Access(sums, 0, strides), Access(bias, 0, {j: 1})], Access(out, 0, strides), body
    )
    bounds = kernel_bounds([stage, epilogue], [*inputs, bias], [out], AX01)
    assert bounds.cycles["lane_alu"] == 565_248 + 24_576 + 24_576
    assert bounds.cycles["lane_mul"] == 24_576
    assert bounds.compulsory_bytes == 2 * (rows * depth + depth * columns + columns + rows * columns)


def test_addition_is_bound_by_dram() -> None:
    stage, inputs, out = elementwise(Node("add", (load(0), load(1))), (1024, 1024), [(1024, 1), (1024, 1)])
    bounds = kernel_bounds([stage], inputs, [out], AX01)
    assert (bounds.bound_cycles, bounds.bound_by) == (196_608, "dram")


def test_bandwidth_and_lanes_are_the_machines() -> None:
    stage, inputs, out = product(64, 64, 96)
    slow = AX01.with_options(dram_bursts_per_cycle=0.5)
    wide = AX01.with_options(physical_lanes=32)
    base = kernel_bounds([stage], inputs, [out], AX01).cycles
    assert kernel_bounds([stage], inputs, [out], slow).cycles["dram"] == 2 * base["dram"]
    assert kernel_bounds([stage], inputs, [out], wide).cycles["lane_alu"] == base["lane_alu"] // 2


# Choices between units, constants, values that are shared


@pytest.mark.parametrize(
    ("body", "alu", "mul", "exp"),
    [
        (Node("add", (load(0), load(1))), 2, 0, 0),
        (Node("mul", (load(0), Node("constant", value=1.0))), 0, 0, 0),
        (Node("mul", (load(0), Node("constant", value=3.0))), 0, 2, 0),
        (Node("mul", (load(0), Node("constant", value=2.0))), 1, 1, 0),
        (Node("max", (load(0), Node("constant"))), 2, 2, 0),
        (Node("exp", (Node("sub", (load(0), load(1))),)), 2, 0, 2),
        (Node("sub", (load(0), Node("neg", (load(1),)))), 2, 0, 0),
        (load(0), 0, 0, 0),
    ],
)
def test_lane_cycles_of_a_row(body: Node, alu: int, mul: int, exp: int) -> None:
    stage, inputs, out = elementwise(body, (32,), [(1,), (1,)])
    cycles = kernel_bounds([stage], inputs, [out], AX01).cycles
    assert (cycles.get("lane_alu", 0), cycles.get("lane_mul", 0), cycles.get("lane_exp", 0)) == (alu, mul, exp)


def test_a_value_that_is_the_same_for_many_elements_is_computed_once() -> None:
    scaled = Node("mul", (load(1), Node("constant", value=3.0)))
    stage, inputs, out = elementwise(Node("add", (load(0), scaled)), (64, 32), [(32, 1), (0, 1)])
    cycles = kernel_bounds([stage], inputs, [out], AX01).cycles
    assert (cycles["lane_alu"], cycles["lane_mul"]) == (128, 2)


def test_results_that_nobody_reads_are_not_counted() -> None:
    first, inputs, middle = elementwise(Node("exp", (load(0),)), (64, 32), [(32, 1)])
    loops = [Loop(16), Loop(32)]
    out = Buffer("out", 512)
    access: dict[Loop, int] = dict(zip(loops, (32, 1), strict=True))
    part = Stage(StageKind.MAP, loops, [Access(middle, 0, access)], Access(out, 0, access), load(0))
    bounds = kernel_bounds([first, part], inputs, [out], AX01)
    assert bounds.cycles["lane_exp"] == 32
    assert bounds.compulsory_bytes == 2 * (512 + 512)


def test_maxima_fold_a_row_at_a_time() -> None:
    i, k = Loop(8), Loop(64)
    source, out = Buffer("x", 512), Buffer("m", 8)
    stage = Stage(
        StageKind.REDUCE, [i, k], [Access(source, 0, {i: 64, k: 1})], Access(out, 0, {i: 1}), load(0), [k], Combine.MAX
    )
    assert kernel_bounds([stage], [source], [out], AX01).cycles["lane_alu"] == math.ceil(2 * 8 * 63 / 32)


# Elements, by enumeration


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-9, 12)), min_size=1, max_size=4))
def test_elements_are_never_overcounted(loops: list[tuple[int, int]]) -> None:
    access = Access(Buffer("x", 1), 0, {Loop(extent): stride for extent, stride in loops})
    counted = num_elements(access)
    touched = {
        sum(i * stride for i, (_, stride) in zip(at, loops, strict=True))
        for at in itertools.product(*(range(extent) for extent, _ in loops))
    }
    assert 1 <= counted <= len(touched)


@pytest.mark.parametrize(
    "loops",
    [
        [(4, 8), (8, 1)],
        [(6, 1), (3, 1)],
        [(5, 2), (3, 1)],
        [(4, 12), (3, 1), (3, 1)],
        [(3, 10), (3, 2), (4, 1)],
        [(7, 0)],
    ],
)
def test_elements_are_exact_for_runs_windows_and_tiles(loops: list[tuple[int, int]]) -> None:
    access = Access(Buffer("x", 1), 0, {Loop(extent): stride for extent, stride in loops})
    touched = {
        sum(i * stride for i, (_, stride) in zip(at, loops, strict=True))
        for at in itertools.product(*(range(extent) for extent, _ in loops))
    }
    assert num_elements(access) == len(touched)


# Array rows, by search over everything that an array of two lanes can do

LANES = 2


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 2, 2), (2, 2, 2), (1, 1, 3), (1, 3, 2), (2, 1, 3), (1, 2, 3), (2, 3, 1), (1, 4, 2), (3, 1, 2)],
)
def test_no_choice_of_rows_beats_the_bound(shape: tuple[int, int, int]) -> None:
    stage, _, _ = product(*shape)
    assert 1 <= array_rows(stage, LANES) <= fewest_rows(*shape)


def test_the_bound_is_met_where_shapes_fill_the_array() -> None:
    for shape in ((1, 2, 2), (2, 2, 2), (1, 4, 2)):
        stage, _, _ = product(*shape)
        assert array_rows(stage, LANES) == fewest_rows(*shape)


def fewest_rows(m: int, n: int, k: int) -> int:
    """Breadth-first search over sets of products a[i, d] * b[d, j] that rows have covered so far."""
    bits = {cell: 1 << at for at, cell in enumerate(itertools.product(range(m), range(n), range(k)))}
    rows = _maximal({*_rows(m, n, k, bits, swapped=False), *_rows(n, m, k, bits, swapped=True)})
    everything, reached, count = (1 << len(bits)) - 1, {0}, 0
    while everything not in reached:
        reached = _maximal({done | row for done in reached for row in rows})
        count += 1
    return count


def _rows(m: int, n: int, k: int, bits: dict[tuple[int, int, int], int], *, swapped: bool) -> Iterable[int]:
    """What one row can cover: each lane in holds one element of the streamed operand, each lane out one result."""
    streamed = list(itertools.product(range(m), range(k)))
    results = list(itertools.product(range(m), range(n)))
    for lanes_in in itertools.product(streamed, repeat=LANES):
        for lanes_out in itertools.product(results, repeat=LANES):
            covered = 0
            for i, j in lanes_out:
                for row, d in set(lanes_in):
                    if row == i:
                        covered |= bits[(j, i, d) if swapped else (i, j, d)]
            yield covered


def _maximal(sets: set[int]) -> set[int]:
    return {one for one in sets if not any(one != other and one & other == one for other in sets)}
