"""Arithmetic of whole numbers, in terms of what the scalar units compute: division toward zero, shifts and bits.

A sign mask `x >> 31` has all bits set where x is negative, and none elsewhere: it is -1 or 0.
"""

from __future__ import annotations

import functools
from typing import Any, TypeGuard

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.registry import Rule, aten, rule
from atalla_mlir.frontend.integers import INTEGERS

_WIDTH = 32
"""Bits of a whole number on the device."""

Number = Tensor | int


def _in_full_width(function: Rule) -> Rule:
    """A function of two whole numbers, of which narrower ones are computed in 32 bits: steps between may not fit."""

    @functools.wraps(function)
    def widened(x: Tensor, y: Number) -> Tensor:
        if not _are_whole(x, y) or _is_zero(y):
            return NotImplemented
        kind = torch.result_type(x, y)
        if torch.iinfo(kind).bits >= _WIDTH:
            return function(x, y)
        wide = [operand.to(torch.int32) if isinstance(operand, Tensor) else operand for operand in (x, y)]
        return function(*wide).to(kind)

    return widened


@rule(aten.div.Tensor_mode, aten.div.Scalar_mode)
def divide(x: Tensor, y: Number, *, rounding_mode: str | None) -> Tensor:
    if rounding_mode is None:
        return aten.div.Tensor(x, y)
    if rounding_mode == "floor":
        return floor_divide(x, y)
    return NotImplemented if isinstance(y, Tensor) or not _are_whole(x, y) or _is_zero(y) else _divided(x, y)


@rule(aten.floor_divide.default, aten.floor_divide.Scalar)
@_in_full_width
def floor_divide(x: Tensor, y: Number) -> Tensor:
    """Quotients rounded down."""
    if _is_power_of_two(y):
        return x.clone() if y == 1 else _shifted(x, y.bit_length() - 1)
    quotient, _, correction = _divided_down(x, y)
    return quotient + correction


@rule(aten.remainder.Scalar, aten.remainder.Tensor)
@_in_full_width
def remainder(x: Tensor, y: Number) -> Tensor:
    """What floor division leaves; it has the sign of the divisor."""
    if _is_power_of_two(y):
        return aten.bitwise_and.Tensor(x, _like(x, y - 1))
    _, rest, correction = _divided_down(x, y)
    return rest + (_tensor(x, y) & correction)


@rule(aten.fmod.Scalar, aten.fmod.Tensor)
@_in_full_width
def fmod(x: Tensor, y: Number) -> Tensor:
    """What division toward zero leaves; it has the sign of x."""
    return x - _divided(x, y) * y


def _divided_down(x: Tensor, y: Number) -> tuple[Tensor, Tensor, Tensor]:
    """Quotient toward zero and its remainder; -1 where that has the other sign than the divisor, else 0."""
    quotient = _divided(x, y)
    rest = x - quotient * y
    if isinstance(y, Tensor):
        return quotient, rest, _sign_mask(rest ^ y) & _sign_mask(rest | (0 - rest))
    return quotient, rest, _sign_mask(rest if y > 0 else 0 - rest)


@rule(aten.__lshift__.Scalar, aten.__lshift__.Tensor, aten.bitwise_left_shift.Tensor_Scalar)
def shift_left(x: Tensor, places: Number) -> Tensor:
    if not _are_whole(x, places):
        return NotImplemented
    return aten.bitwise_left_shift.Tensor(x, _tensor(x, places))


@rule(aten.__rshift__.Scalar, aten.__rshift__.Tensor, aten.bitwise_right_shift.Tensor_Scalar)
def shift_right(x: Tensor, places: Number) -> Tensor:
    if not _are_whole(x, places):
        return NotImplemented
    return aten.bitwise_right_shift.Tensor(x, _tensor(x, places))


@rule(aten.neg.default)
def negate(x: Tensor) -> Tensor:
    return aten.rsub.Scalar(x, 0) if x.dtype in INTEGERS else NotImplemented


@rule(aten.bitwise_not.default)
def invert(x: Tensor) -> Tensor:
    return aten.rsub.Scalar(x, -1) if x.dtype in INTEGERS else NotImplemented


@rule(aten.abs.default)
def absolute(x: Tensor) -> Tensor:
    return torch.maximum(x, negate(x)) if x.dtype in INTEGERS else NotImplemented


def _are_whole(*operands: Any) -> bool:
    return all(
        operand.dtype in INTEGERS if isinstance(operand, Tensor) else isinstance(operand, int) for operand in operands
    )


def _is_zero(y: Any) -> bool:
    return not isinstance(y, Tensor) and y == 0


def _is_power_of_two(y: Number) -> TypeGuard[int]:
    return not isinstance(y, Tensor) and y > 0 and y & (y - 1) == 0


def _divided(x: Tensor, y: Number) -> Tensor:
    return aten.div.Tensor_mode(x, _tensor(x, y), rounding_mode="trunc")


def _sign_mask(x: Tensor) -> Tensor:
    return _shifted(x, _WIDTH - 1)


def _shifted(x: Tensor, places: int) -> Tensor:
    return aten.bitwise_right_shift.Tensor(x, _like(x, places))


def _tensor(x: Tensor, value: Number) -> Tensor:
    return value if isinstance(value, Tensor) else _like(x, value)


def _like(x: Tensor, value: int) -> Tensor:
    return torch.full([], value, dtype=x.dtype, device=x.device)
