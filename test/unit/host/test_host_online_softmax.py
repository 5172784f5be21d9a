"""Attention whose keys come in parts, emulated, lies within the bound of its operations one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atalla_mlir.host import error_bound as eb
from atalla_mlir.host.sum_bound import SumPlan, contraction, reduction
from atalla_mlir.kernels.functions.bound import TINY, UNIT
from atalla_mlir.testing import emulation
from atalla_mlir.testing.emulation import bf16

ROWS, WIDTH, PART = 6, 5, 64
ROUNDINGS = 3
"""Of a term on its way to the sum of a part."""
LOWEST = -(2 - 2.0**-7) * 2.0**127


def attend(scores: emulation.Floats, values: emulation.Floats, *, stale: bool = False) -> emulation.Floats:
    """As the kernel does it; with `stale` the last part keeps the weights of the first."""
    maxima, totals, results = [], [], []
    for at in range(0, scores.shape[1], PART):
        part = scores[:, at : at + PART]
        highest = np.maximum(part.max(-1, keepdims=True), np.float32(LOWEST))
        exponentials = bf16(np.exp(bf16(part - highest)))
        maxima.append(highest)
        totals.append(bf16(exponentials.astype(np.float64).sum(-1, keepdims=True)))
        results.append(emulation.gemm(exponentials, values[at : at + PART], block=PART))
    highest = np.max(maxima, axis=0)
    weights = [bf16(np.exp(bf16(maximum - highest))) for maximum in maxima]
    if stale:
        weights[-1] = weights[0]
    total = emulation.in_blocks([bf16(a * b) for a, b in zip(totals, weights, strict=True)], len(weights))
    result = emulation.in_blocks([bf16(a * b) for a, b in zip(results, weights, strict=True)], len(weights))
    with np.errstate(all="ignore"):
        return bf16(result * bf16(1 / total))


def reference(scores: emulation.Floats, values: emulation.Floats, parts: int) -> eb.Bounded:
    """What `verify` makes of what the kernel records."""
    exact = eb.exact(scores)
    highest = exact.moved(lambda array: array.max(-1, keepdims=True))
    with np.errstate(all="ignore"):
        exponentials = eb.widened(eb.exponential(eb.subtract(exact, highest)), UNIT, TINY)
        total = reduction(exponentials, SumPlan("any", 1, ROUNDINGS + parts))
        probabilities = eb.divide(exponentials, total.moved(lambda array: array[..., None]))
        return contraction(probabilities, eb.exact(values), SumPlan("slices", PART // 32, is_scaled=True))


def draw(seed: int, parts: int, spread: float, step: float) -> tuple[emulation.Floats, emulation.Floats]:
    """Scores of parts that are `step` apart."""
    rng = np.random.default_rng(seed)
    scores = spread * rng.standard_normal((ROWS, parts * PART)) + step * (np.arange(parts * PART) // PART)
    return bf16(scores), bf16(rng.standard_normal((parts * PART, WIDTH)))


@pytest.mark.parametrize("step", [0.0, 1.3, 30.0, -60.0])
@pytest.mark.parametrize("parts", [1, 2, 5])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.01, 1.0, 8.0]))
def test_parts_keep_the_bound(parts: int, step: float, seed: int, spread: float) -> None:
    scores, values = draw(seed, parts, spread, step)
    assert not eb.outside(attend(scores, values).astype(np.float64), reference(scores, values, parts)).any()


def test_parts_without_keys_give_nothing_and_rows_without_keys_give_nan() -> None:
    scores, values = draw(0, 3, 1.0, 0.0)
    scores[0, :PART] = scores[1, PART:] = scores[2] = -np.inf
    result = attend(scores, values)
    assert not eb.outside(result.astype(np.float64), reference(scores, values, 3)).any()
    assert np.isnan(result[2]).all() and np.isfinite(result[[0, 1, 3, 4, 5]]).all()


def test_a_wrong_weight_is_rejected() -> None:
    scores, values = draw(0, 3, 1.0, 3.0)
    wrong = eb.outside(attend(scores, values, stale=True).astype(np.float64), reference(scores, values, 3))
    assert wrong.mean() > 0.5
