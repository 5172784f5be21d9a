"""Running error analysis of the machine's arithmetic: float64 values, each with a bound on what the device may differ.

A `Bounded` holds for every element the value that exact arithmetic gives on the kernel's inputs and an `error` such
that a device that keeps the numerics contract stores something within `error` of it. The rules compose: each takes the
errors of its operands, adds what its own rounding may add, and gives a `Bounded` again. docs/numerics.md argues them.

Infinities and NaN are values like others: where `value` is infinite or NaN and `error` is zero, the device must store
just that. An infinite `error` beside a finite value says that nothing is known (a divisor whose interval holds zero).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

UNIT = 2.0**-8 * (1 + 2.0**-20)
"""Relative error of one rounding to BF16 (8 significant bits); the second factor covers float64's own rounding."""
TINY = 2.0**-134 * (1 + 2.0**-10)
"""Absolute error of one rounding of a subnormal result, the float32 step before it included."""
TREE_UNIT = 5 * 2.0**-24 * (1 + 2.0**-20)
"""Error of five float32 additions (the tree of a slice or a lane reduction), relative to the sum of magnitudes."""
TREE_TINY = 32 * 2.0**-150
"""Absolute error of 32 float32 products that underflow."""
OVERFLOW = (2 - 2.0**-8) * 2.0**127
"""Magnitudes from here on are rounded to infinity."""
_GUARD = 1 + 2.0**-20


@dataclass(frozen=True, eq=False)
class Bounded:
    """Values and error bounds of one shape; booleans have an error of 1 where the device may decide otherwise."""

    value: Array
    error: Array

    def __post_init__(self) -> None:
        if self.value.shape != self.error.shape:
            raise ValueError(f"value of shape {self.value.shape} with errors of shape {self.error.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def is_exact(self) -> bool:
        """Whether the device must store just these values."""
        return not self.error.any()

    def moved(self, move: Callable[[Array], Array]) -> Bounded:
        """The same elements in other places; `move` is applied to values and errors alike."""
        return Bounded(move(self.value), move(self.error))


def exact(values: npt.ArrayLike) -> Bounded:
    """Values that the device holds just so: what it read from its memory."""
    array = np.asarray(values, dtype=np.float64)
    return Bounded(array, np.zeros_like(array))


def constant(value: float) -> Bounded:
    """A number written in the model, which the device holds rounded to BF16."""
    held = to_bf16(np.float64(value))
    if not np.isfinite(held):
        return exact(held)
    return Bounded(np.asarray(float(value)), np.asarray(abs(float(held) - value)))


def to_bf16(values: npt.ArrayLike) -> Array:
    """`values` rounded as on entry: to float32, then to BF16, nearest even."""
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)


def _quiet(rule: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Infinities and NaN are handled as values, so NumPy's warnings about them say nothing."""

    @wraps(rule)
    def silent(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with np.errstate(all="ignore"):
            return rule(*args, **kwargs)

    return silent


def settled(value: Array, propagated: Array, rounding: Array | float = 0.0) -> Bounded:
    """A result: `propagated` from the operands plus its own `rounding`, with overflow and special values decided."""
    total = np.asarray(propagated + rounding)
    overflows = np.isfinite(value) & (np.abs(value) - propagated > OVERFLOW * _GUARD)
    may_overflow = np.isfinite(value) & (np.abs(value) + propagated >= OVERFLOW / _GUARD)
    # the infinity or NaN of a special value comes from operands without doubt, or else nothing is known
    special = np.where(np.isfinite(propagated), 0.0, np.inf)
    total = np.where(np.isfinite(value), total, special)
    total = np.where(may_overflow, np.where(overflows, 0.0, np.inf), total)
    total = np.where(np.isnan(total), np.inf, total)
    return Bounded(np.where(overflows, np.copysign(np.inf, value), value), total)


@_quiet
def rounded(value: Array, propagated: Array) -> Bounded:
    """A result that is rounded to BF16 once: the device's own exact result lies within `propagated` of `value`."""
    magnitude = np.abs(value) + propagated
    # zero without doubt is stored as zero
    rounding = np.where(magnitude > 0, UNIT * magnitude + TINY, 0.0)
    return settled(value, propagated, np.where(np.isfinite(value), rounding, 0.0))


def _times(left: Array, right: Array) -> Array:
    """A product of magnitudes in which zero times infinity is zero: no error stays no error."""
    return np.where((left == 0) | (right == 0), 0.0, left * right)


@_quiet
def add(left: Bounded, right: Bounded) -> Bounded:
    return rounded(left.value + right.value, left.error + right.error)


@_quiet
def subtract(left: Bounded, right: Bounded) -> Bounded:
    return rounded(left.value - right.value, left.error + right.error)


@_quiet
def multiply(left: Bounded, right: Bounded) -> Bounded:
    propagated = _times(np.abs(left.value), right.error) + _times(left.error, np.abs(right.value) + right.error)
    return rounded(left.value * right.value, propagated)


def negate(operand: Bounded) -> Bounded:
    return Bounded(-operand.value, operand.error)


def absolute(operand: Bounded) -> Bounded:
    return Bounded(np.abs(operand.value), operand.error)


@_quiet
def maximum(left: Bounded, right: Bounded) -> Bounded:
    """The larger of two: exact, and no more wrong than either operand."""
    return settled(np.maximum(left.value, right.value), _of_choice(left, right, largest=True))


@_quiet
def minimum(left: Bounded, right: Bounded) -> Bounded:
    return settled(np.minimum(left.value, right.value), _of_choice(left, right, largest=False))


def _of_choice(left: Bounded, right: Bounded, *, largest: bool) -> Array:
    """Error of an extreme: from the operand that wins without doubt, or the larger of both errors."""
    ahead = left.value - right.value if largest else right.value - left.value
    margin = left.error + right.error
    either = np.maximum(left.error, right.error)
    return np.where(ahead > margin, left.error, np.where(-ahead > margin, right.error, either))


@_quiet
def monotone(
    function: Callable[[Array], Array], operand: Bounded, *, low: float = -np.inf, roundings: int = 1
) -> Bounded:
    """A monotone scalar function, exact but for `roundings`; operands below `low` do not occur."""
    value = function(operand.value)
    propagated = _spread(function, operand, value, low)
    result = rounded(value, propagated)
    for _ in range(roundings - 1):
        result = rounded(value, result.error)
    return result


def _spread(function: Callable[[Array], Array], operand: Bounded, value: Array, low: float) -> Array:
    """How far a monotone function's values lie from `value` when its operand lies within its error."""
    above = np.abs(function(operand.value + operand.error) - value)
    below = np.abs(function(np.maximum(operand.value - operand.error, low)) - value)
    return np.where(operand.error == 0, 0.0, np.where(np.isnan(above + below), np.inf, np.maximum(above, below)))


def exponential(operand: Bounded) -> Bounded:
    """`expi`: the correctly rounded e^x."""
    return monotone(np.exp, operand)


def square_root(operand: Bounded) -> Bounded:
    """`sqrt.bf`; a device operand below zero gives NaN, which no bound accepts beside a finite value."""
    return monotone(np.sqrt, operand, low=0.0)


@_quiet
def reciprocal(operand: Bounded) -> Bounded:
    """`rcp.bf`: 1 / x rounded; unknown where the operand's interval holds zero, and of -0."""
    value = 1.0 / operand.value
    nearest = np.abs(operand.value) - operand.error
    propagated = np.where(nearest > 0, operand.error / (np.abs(operand.value) * nearest), np.inf)
    propagated = np.where((operand.error == 0) | np.isinf(operand.value), 0.0, propagated)
    # what the sign of a zero came from may have been computed in a way that loses it
    return rounded(value, np.where((operand.value == 0) & np.signbit(operand.value), np.inf, propagated))


@_quiet
def constant_reciprocal(divisor: float) -> Bounded:
    """1 / c of a number written in the model, rounded when compiling, before or after which c may be rounded too."""
    once = to_bf16(np.float64(1.0) / np.float64(divisor))
    twice = to_bf16(np.float64(1.0) / to_bf16(divisor))
    value = np.float64(1.0) / np.float64(divisor)
    if not np.isfinite(value) or not np.isfinite(once) or not np.isfinite(twice):
        return exact(once)
    return Bounded(np.asarray(value), np.maximum(np.abs(once - value), np.abs(twice - value)))


@_quiet
def widened(result: Bounded, relative: float, absolute: float) -> Bounded:
    """A result whose computation adds an error of up to `relative` * |result| + `absolute` to its rounding."""
    extra = (relative * (np.abs(result.value) + result.error) + absolute) * _GUARD
    return Bounded(result.value, result.error + np.where(np.isfinite(result.value), extra, 0.0))


def divide(left: Bounded, right: Bounded, relative: float = 0.0, absolute: float = 0.0) -> Bounded:
    """x / y as x * (1 / y): two roundings, and what a reciprocal that is expanded adds (see `widened`)."""
    inverse = reciprocal(right)
    quotient = multiply(left, widened(inverse, relative, absolute) if relative or absolute else inverse)
    with np.errstate(all="ignore"):
        # float64 takes the quotient in one step, so that 0 / 0 and infinity / infinity are as PyTorch has them
        return Bounded(np.where(np.isfinite(quotient.value), left.value / right.value, quotient.value), quotient.error)


def reciprocal_root(operand: Bounded) -> Bounded:
    """1 / sqrt(x): two roundings."""
    return reciprocal(square_root(operand))


def power(operand: Bounded, exponent: int) -> Bounded:
    """x^n for n >= 1 as a chain of multiplications, in any order."""
    result = operand
    for _ in range(exponent - 1):
        result = multiply(result, operand)
    return result


@_quiet
def expanded(
    function: Callable[[Array], Array],
    operand: Bounded,
    *,
    relative: float,
    absolute: float,
    lipschitz: float | None = None,
) -> Bounded:
    """A scalar function that the compiler expands, within `relative` * |f| + `absolute` on the device's operand.

    The operand's error is carried through by `lipschitz`, the largest slope, or by monotony when that is None.
    """
    value = function(operand.value)
    spread = _spread(function, operand, value, -np.inf) if lipschitz is None else lipschitz * operand.error
    return settled(value, spread, (relative * (np.abs(value) + spread) + absolute) * _GUARD)


# Decisions


@_quiet
def compare(relation: Callable[[Array, Array], npt.NDArray[np.bool_]], left: Bounded, right: Bounded) -> Bounded:
    """A comparison: 0 or 1, in doubt (error 1) where the operands' intervals touch."""
    margin = left.error + right.error
    gap = np.abs(left.value - right.value)
    doubt = (margin > 0) & ~(gap > margin)
    decided = relation(left.value, right.value).astype(np.float64)
    return Bounded(decided, np.broadcast_to(doubt, decided.shape).astype(np.float64))


@_quiet
def select(condition: Bounded, yes: Bounded, no: Bounded) -> Bounded:
    """`yes` where the condition holds; where it is in doubt, both must be allowed."""
    holds = condition.value != 0
    value = np.where(holds, yes.value, no.value)
    error = np.where(holds, yes.error, no.error)
    apart = np.where(yes.value == no.value, 0.0, np.abs(yes.value - no.value))
    either = apart + np.where(holds, no.error, yes.error)
    error = np.where(condition.error != 0, np.maximum(error, either), error)
    return Bounded(value, np.where(np.isnan(error), np.inf, error))


def concatenate(parts: list[Bounded], axis: int) -> Bounded:
    return Bounded(
        np.concatenate([part.value for part in parts], axis), np.concatenate([part.error for part in parts], axis)
    )


def outside(stored: npt.NDArray[np.float64], reference: Bounded) -> npt.NDArray[np.bool_]:
    """Where a device's result breaks its bound; NaN must meet NaN, and an infinity the same infinity."""
    with np.errstate(all="ignore"):
        near = np.abs(stored - reference.value) <= reference.error
    same = (stored == reference.value) | (np.isnan(stored) & np.isnan(reference.value))
    unknown = np.isinf(reference.error)
    return ~(near | same | unknown)
