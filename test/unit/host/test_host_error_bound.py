"""Every result of an emulated device lies within its bound, on random values of all magnitudes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atalla_mlir.host import error_bound as eb
from atalla_mlir.testing import emulation

SEEDS = st.integers(0, 2**32 - 1)


def wide(rng: np.random.Generator, shape: tuple[int, ...], span: float = 60.0) -> emulation.Floats:
    """BF16 values of both signs with magnitudes from 2^-span to 2^span."""
    return emulation.bf16(rng.choice([-1.0, 1.0], shape) * 2.0 ** rng.uniform(-span, span, shape))


def near(rng: np.random.Generator, values: emulation.Floats, relative: float) -> tuple[emulation.Floats, eb.Bounded]:
    """Device values that differ from float64 references within a stated error, as inner values of a kernel do."""
    error = np.abs(values.astype(np.float64)) * relative
    reference = values.astype(np.float64) + rng.uniform(-1, 1, values.shape) * error
    return values, eb.Bounded(reference, error)


def assert_within(device: emulation.Floats, reference: eb.Bounded) -> None:
    broken = eb.outside(device.astype(np.float64), reference)
    assert not broken.any(), (device[broken][:3], reference.value[broken][:3], reference.error[broken][:3])


BINARY = {
    "add": (lambda a, b: emulation.bf16(a + b), eb.add),
    "subtract": (lambda a, b: emulation.bf16(a - b), eb.subtract),
    "multiply": (lambda a, b: emulation.bf16(a * b), eb.multiply),
    "divide": (emulation.divide, eb.divide),
    "maximum": (np.maximum, eb.maximum),
    "minimum": (np.minimum, eb.minimum),
}
UNARY = {
    "exponential": (emulation.exponential, eb.exponential),
    "reciprocal": (emulation.reciprocal, eb.reciprocal),
    "negate": (np.negative, eb.negate),
    "absolute": (np.abs, eb.absolute),
    "cube": (lambda a: emulation.bf16(emulation.bf16(a * a) * a), lambda a: eb.power(a, 3)),
}
OF_POSITIVE = {
    "square_root": (emulation.square_root, eb.square_root),
    "reciprocal_root": (lambda a: emulation.reciprocal(emulation.square_root(a)), eb.reciprocal_root),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("relative", [0.0, 0.003, 0.2])
@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_binary_operations_keep_their_bound(name: str, relative: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    device, bound = BINARY[name]
    a, left = near(rng, wide(rng, (200,)), relative)
    b, right = near(rng, wide(rng, (200,)), relative)
    with np.errstate(all="ignore"):
        assert_within(device(a, b), bound(left, right))


@pytest.mark.parametrize("name", [*UNARY, *OF_POSITIVE])
@pytest.mark.parametrize("relative", [0.0, 0.003, 0.2])
@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_unary_operations_keep_their_bound(name: str, relative: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    device, bound = {**UNARY, **OF_POSITIVE}[name]
    values = wide(rng, (200,), span=8.0 if name == "exponential" else 60.0)
    values = np.abs(values) if name in OF_POSITIVE else values
    a, operand = near(rng, values, relative)
    with np.errstate(all="ignore"):
        assert_within(device(a), bound(operand))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_close_operands_cancel_within_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = emulation.bf16(rng.uniform(1, 1.1, 300))
    b = emulation.bf16(rng.uniform(1, 1.1, 300))
    product = emulation.bf16(a * a)
    device = emulation.bf16(product - b)
    assert_within(device, eb.subtract(eb.multiply(eb.exact(a), eb.exact(a)), eb.exact(b)))


@pytest.mark.parametrize("values", [[2.0**-126, 3 * 2.0**-130, 2.0**-133, 0.0]])
def test_subnormal_results_keep_their_bound(values: list[float]) -> None:
    a = np.array(values, np.float32)
    half = np.full(4, 0.3, np.float32)
    half = emulation.bf16(half)
    assert_within(emulation.bf16(a * half), eb.multiply(eb.exact(a), eb.exact(half)))


def test_overflow_without_doubt_must_be_infinite() -> None:
    big = eb.exact(np.array([3e38, -3e38]))
    product = eb.multiply(big, eb.exact(np.array([4.0, 4.0])))
    assert product.value.tolist() == [np.inf, -np.inf]
    assert product.is_exact
    assert eb.outside(np.array([3e38, -np.inf]), product).tolist() == [True, False]


def test_infinite_and_undefined_results_are_compared_as_such() -> None:
    reference = eb.subtract(eb.exact(np.array([-np.inf, np.inf, -np.inf])), eb.exact(np.array([1.0, np.inf, -np.inf])))
    assert eb.outside(np.array([-np.inf, np.nan, np.nan]), reference).tolist() == [False, False, False]
    assert eb.outside(np.array([-1e38, 0.0, 1.0]), reference).tolist() == [True, True, True]
    assert eb.exponential(eb.exact(np.array([-np.inf]))).value.tolist() == [0.0]


def test_a_finite_result_must_not_be_undefined() -> None:
    assert eb.outside(np.array([np.nan, np.inf]), eb.add(eb.exact(np.zeros(2)), eb.exact(np.ones(2)))).all()


def test_a_divisor_that_may_be_zero_gives_no_bound() -> None:
    divisor = eb.Bounded(np.array([0.01, 1.0]), np.array([0.02, 0.02]))
    error = eb.reciprocal(divisor).error
    assert np.isinf(error[0])
    assert error[1] < 0.03


def test_the_infinity_of_a_negative_zero_has_either_sign() -> None:
    inverse = eb.reciprocal(eb.exact(np.array([0.0, -0.0])))
    assert eb.outside(np.array([-np.inf, -np.inf]), inverse).tolist() == [True, False]
    assert not eb.outside(np.array([np.inf, np.inf]), inverse).any()


def test_a_comparison_in_doubt_admits_both_branches() -> None:
    condition = eb.compare(
        np.greater, eb.Bounded(np.array([1.0, 1.0]), np.array([0.1, 0.1])), eb.exact(np.array([1.05, 3.0]))
    )
    assert condition.error.tolist() == [1.0, 0.0]
    chosen = eb.select(condition, eb.exact(np.array([7.0, 7.0])), eb.exact(np.array([5.0, 5.0])))
    assert eb.outside(np.array([7.0, 7.0]), chosen).tolist() == [False, True]
    assert eb.outside(np.array([5.0, 5.0]), chosen).tolist() == [False, False]


@pytest.mark.parametrize("divisor", [3.0, 768.0, 0.1, 1e-3, 49.0])
def test_division_by_a_constant_admits_both_ways_of_rounding_it(divisor: float) -> None:
    x = emulation.bf16(np.linspace(-5, 5, 101))
    bound = eb.multiply(eb.exact(x), eb.constant_reciprocal(divisor))
    once = emulation.bf16(np.float64(1) / divisor)
    twice = emulation.reciprocal(emulation.bf16(divisor))
    assert_within(emulation.bf16(x * once), bound)
    assert_within(emulation.bf16(x * twice), bound)


def test_constants_are_held_rounded() -> None:
    assert eb.constant(0.5).is_exact
    assert float(eb.constant(0.1).error) == abs(float(emulation.bf16(0.1)) - 0.1)
    assert eb.constant(-3.4028234663852886e38).value == -np.inf


def test_an_expanded_function_uses_its_stated_bound() -> None:
    operand = eb.Bounded(np.array([0.5]), np.array([0.01]))
    result = eb.expanded(np.tanh, operand, relative=0.01, absolute=0.001)
    assert result.error[0] >= np.tanh(0.51) - np.tanh(0.5) + 0.01 * np.tanh(0.5)
    assert result.error[0] <= 0.02
    flat = eb.expanded(np.abs, operand, relative=0.0, absolute=0.001, lipschitz=1.0)
    assert flat.error[0] == pytest.approx(0.011, rel=1e-5)


def test_values_and_errors_have_one_shape() -> None:
    with pytest.raises(ValueError, match=r"^value of shape \(2,\) with errors of shape \(\)$"):
        eb.Bounded(np.zeros(2), np.zeros(()))
