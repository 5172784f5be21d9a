"""Sums and contractions of an emulated device lie within their bounds; devices with faults do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atalla_mlir.errors import InternalError
from atalla_mlir.host import error_bound as eb
from atalla_mlir.host.sum_bound import SumPlan, contraction, contraction_plan, default_block, reduction, unknown_depth
from atalla_mlir.testing import emulation

SEEDS = st.integers(0, 2**32 - 1)
DATA = ("normal", "one-signed", "wide", "cancelling")


def draw(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> emulation.Floats:
    values = rng.standard_normal(shape)
    if kind == "one-signed":
        values = values + 3
    elif kind == "wide":
        values = values * 2.0 ** rng.uniform(-20, 20, shape)
    elif kind == "cancelling":
        values = np.where(np.arange(shape[-1]) % 2, values, -np.roll(values, 1, -1))
    return emulation.bf16(values)


def fraction_outside(device: emulation.Floats, reference: eb.Bounded) -> float:
    return float(eb.outside(device.astype(np.float64), reference).mean())


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("depth", [1, 31, 32, 33, 97, 320, 1024, 1100])
@settings(max_examples=3, deadline=None)
@given(seed=SEEDS)
def test_contractions_keep_their_bound(depth: int, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = draw(rng, (5, depth), kind), draw(rng, (7, depth), kind).T
    device = emulation.gemm(a, b, block=contraction_plan(depth).block)
    assert fraction_outside(device, contraction(eb.exact(a), eb.exact(b))) == 0


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_contraction_of_inexact_operands_keeps_its_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = draw(rng, (5, 80), "normal"), draw(rng, (80, 7), "normal")
    a_error, b_error = np.abs(a) * 0.01, np.abs(b) * 0.02
    left = eb.Bounded(a + rng.uniform(-1, 1, a.shape) * a_error, a_error.astype(np.float64))
    right = eb.Bounded(b + rng.uniform(-1, 1, b.shape) * b_error, b_error.astype(np.float64))
    assert fraction_outside(emulation.gemm(a, b, block=3), contraction(left, right)) == 0


def test_contraction_in_any_order_admits_every_block() -> None:
    rng = np.random.default_rng(0)
    a, b = draw(rng, (5, 640), "one-signed"), draw(rng, (640, 7), "one-signed")
    reference = contraction(eb.exact(a), eb.exact(b), SumPlan("any", 1))
    for block in (1, 4, 5, 20):
        assert fraction_outside(emulation.gemm(a, b, block=block), reference) == 0


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("length", [1, 31, 32, 33, 1000, 4096])
@settings(max_examples=3, deadline=None)
@given(seed=SEEDS)
def test_lane_reductions_keep_their_bound(length: int, kind: str, seed: int) -> None:
    rows = draw(np.random.default_rng(seed), (6, length), kind)
    for block in (1, 4, 32):
        device = emulation.lane_sum(rows, block=block)
        assert fraction_outside(device, reduction(eb.exact(rows), SumPlan("lanes", block))) == 0
        assert fraction_outside(device, reduction(eb.exact(rows), SumPlan("any", 1, 200))) == 0


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("length", [1, 2, 33, 1000])
@settings(max_examples=3, deadline=None)
@given(seed=SEEDS)
def test_row_reductions_keep_their_bound(length: int, kind: str, seed: int) -> None:
    rows = draw(np.random.default_rng(seed), (6, length), kind)
    block = default_block(length)
    device = emulation.row_sum(rows, block=block)
    assert fraction_outside(device, reduction(eb.exact(rows), SumPlan("rows", block))) == 0
    assert fraction_outside(device, reduction(eb.exact(rows))) == 0


def test_the_bound_of_a_known_order_is_tighter() -> None:
    rows = eb.exact(draw(np.random.default_rng(0), (50, 1000), "normal"))
    known, unknown = reduction(rows, SumPlan("lanes", 6)), reduction(rows, SumPlan("any", 1))
    assert (known.error < unknown.error / 5).all()


def test_sequential_sums_of_one_sign_get_a_bound_that_tells_they_are_bad() -> None:
    rows = eb.exact(draw(np.random.default_rng(0), (1, 4096), "one-signed"))
    two_levels, sequential = reduction(rows, SumPlan("rows", 64)), reduction(rows, SumPlan("rows", 4096))
    assert float(sequential.error[0] / sequential.value[0]) > 1
    assert float(two_levels.error[0] / two_levels.value[0]) < 0.3


# Faults: what a wrong device stores must lie outside the bound in some element.


@pytest.mark.parametrize("depth", [33, 320, 1024, 4096])
def test_a_slice_left_out_is_rejected(depth: int) -> None:
    rng = np.random.default_rng(depth)
    a, b = draw(rng, (16, depth), "normal"), draw(rng, (depth, 16), "normal")
    block = contraction_plan(depth).block
    reference = contraction(eb.exact(a), eb.exact(b))
    assert fraction_outside(emulation.gemm(a, b, block=block), reference) == 0
    for skip in (0, -1):
        assert fraction_outside(emulation.gemm(a, b, block=block, skip=skip), reference) > 0.05


def test_swapped_weight_columns_are_rejected() -> None:
    rng = np.random.default_rng(1)
    a, b = draw(rng, (16, 256), "normal"), draw(rng, (256, 40), "normal")
    swapped = b[:, [*range(7), 8, 7, *range(9, 40)]]
    outside = eb.outside(emulation.gemm(a, swapped, block=32).astype(np.float64), contraction(eb.exact(a), eb.exact(b)))
    assert set(np.nonzero(outside)[1]) == {7, 8}


def test_a_shifted_row_of_activations_is_rejected() -> None:
    rng = np.random.default_rng(2)
    a, b = draw(rng, (16, 64), "normal"), draw(rng, (64, 40), "normal")
    shifted = np.roll(a, 1, axis=0)
    assert fraction_outside(emulation.gemm(shifted, b, block=32), contraction(eb.exact(a), eb.exact(b))) > 0.9


def test_a_dropped_bias_is_rejected() -> None:
    rng = np.random.default_rng(3)
    a, b = draw(rng, (16, 256), "normal"), emulation.bf16(rng.standard_normal((256, 40)) / 16)
    bias = emulation.bf16(0.1 * rng.standard_normal(40))
    reference = eb.add(contraction(eb.exact(a), eb.exact(b)), eb.exact(np.broadcast_to(bias, (16, 40))))
    product = emulation.gemm(a, b, block=32)
    assert fraction_outside(emulation.bf16(product + bias), reference) == 0
    assert fraction_outside(product, reference) > 0.5


@pytest.mark.parametrize("length", [13, 45, 1000])
def test_a_lane_kept_beyond_the_end_of_a_row_is_rejected(length: int) -> None:
    rows = draw(np.random.default_rng(4), (16, length), "normal")
    reference = reduction(eb.exact(rows), SumPlan("lanes", 6))
    assert fraction_outside(emulation.lane_sum(rows, block=6), reference) == 0
    assert fraction_outside(emulation.lane_sum(rows, block=6, stale=1.0), reference) > 0.9


@pytest.mark.parametrize(("terms", "block"), [(1, 1), (32, 32), (33, 6), (36, 6), (37, 7), (1024, 32)])
def test_default_blocks_are_whole_up_to_32_terms_then_square_roots(terms: int, block: int) -> None:
    assert default_block(terms) == block


def test_plans_that_no_kernel_can_have_are_refused() -> None:
    with pytest.raises(InternalError, match="^unknown kind of sum 'heap'$"):
        SumPlan("heap", 1)
    with pytest.raises(InternalError, match="^a sum in blocks of 0; at least 1 is expected$"):
        SumPlan("rows", 0)
    x = eb.exact(np.zeros((4, 4)))
    with pytest.raises(InternalError, match="^a reduction summed as 'slices'; 'lanes' or 'rows' is expected$"):
        reduction(x, SumPlan("slices", 4))


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_contractions_of_the_vector_unit_round_every_product(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = draw(rng, (5, 9), "one-signed"), draw(rng, (9, 3), "one-signed")
    reference = contraction(eb.exact(a), eb.exact(b), SumPlan("rows", 9))
    products = [emulation.bf16(a[:, at, None] * b[None, at, :]) for at in range(9)]
    assert fraction_outside(emulation.in_blocks(products, 9), reference) == 0


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_nested_sums_keep_the_bound_of_an_unknown_order(seed: int) -> None:
    terms = draw(np.random.default_rng(seed), (4, 31, 3), "one-signed")
    inner = [emulation.in_blocks([terms[:, i, j] for i in range(31)], 31) for j in range(3)]
    reference = reduction(eb.exact(terms.reshape(4, -1)), None, (31, 3))
    assert fraction_outside(emulation.in_blocks(inner, 3), reference) == 0


@pytest.mark.parametrize(
    ("extents", "depth"), [((1,), 3), ((32,), 34), ((64,), 17), ((31, 3), 37), ((2, 600), 71), ((), 3)]
)
def test_unknown_orders_have_the_depth_of_the_worst_nest(extents: tuple[int, ...], depth: int) -> None:
    assert unknown_depth(extents) == depth
