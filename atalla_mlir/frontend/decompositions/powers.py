"""Powers, logarithms to other bases, and functions made of exponentials, in terms of exp, log and products."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.activations import number
from atalla_mlir.frontend.decompositions.registry import aten, rule
from atalla_mlir.frontend.integers import INTEGERS

_MOST_FACTORS = 64
"""Whole exponents up to this are products; each product of two powers rounds once."""

_LARGE = 2.0**12
"""From here on 1 is nothing beside a number, in every type that the device can hold."""


@rule(aten.pow.Tensor_Scalar)
def power(x: Tensor, exponent: float) -> Tensor:
    """Products for whole exponents, roots for halves, e^(y log x) for what is left."""
    if not x.dtype.is_floating_point and not (isinstance(exponent, int) and exponent > 0):
        return NotImplemented
    if exponent == 0:
        return aten.full(list(x.shape), 1.0, dtype=x.dtype, device=x.device)
    if exponent in (0.5, -0.5):
        return x.sqrt() if exponent > 0 else x.rsqrt()
    if float(exponent).is_integer():
        return _whole_power(x, int(exponent)) if abs(exponent) <= _MOST_FACTORS else NotImplemented
    if exponent == 1.5:
        return x * x.sqrt()
    if not math.isfinite(exponent):
        return NotImplemented
    # -inf is the one negative number with a power
    return (torch.where(x == -math.inf, number(x, math.inf), x).log() * exponent).exp()


def _whole_power(x: Tensor, exponent: int) -> Tensor:
    if exponent < 0:
        return _whole_power(x, -exponent).reciprocal()
    if exponent == 1:
        return torch.clone(x)
    half = x if exponent < 4 else _whole_power(x, exponent // 2)
    square = half * half
    return square * x if exponent % 2 else square


@rule(aten.pow.Scalar)
def exponential(base: float, x: Tensor) -> Tensor:
    if not x.dtype.is_floating_point or base <= 0 or not math.isfinite(base):
        return NotImplemented
    return (x * math.log(base)).exp()


@rule(aten.exp2.default)
def exp2(x: Tensor) -> Tensor:
    return exponential(2.0, x)


@rule(aten.log2.default)
def log2(x: Tensor) -> Tensor:
    return x.log() * (1 / math.log(2.0))


@rule(aten.log10.default)
def log10(x: Tensor) -> Tensor:
    return x.log() * (1 / math.log(10.0))


@rule(aten.logaddexp.default)
def logaddexp(x: Tensor, y: Tensor) -> Tensor:
    """The larger one and a correction; equal infinities have no difference that could be computed."""
    apart = torch.where(x == y, number(x, 0.0), x - y)
    return torch.maximum(x, y) + apart.abs().neg().exp().log1p()


@rule(aten.logit.default)
def logit(x: Tensor, eps: float | None = None) -> Tensor:
    x = x if eps is None else x.clamp(eps, 1 - eps)
    return (x / (1 - x)).log()


@rule(aten.tan.default)
def tan(x: Tensor) -> Tensor:
    return x.sin() / x.cos()


@rule(aten.cosh.default)
def cosh(x: Tensor) -> Tensor:
    return (x.exp() + x.neg().exp()) * 0.5


@rule(aten.sinh.default)
def sinh(x: Tensor) -> Tensor:
    """Half of u + u / (u + 1), u = e^|x| - 1, which does not cancel near zero; infinity is its own."""
    power = x.abs().expm1()
    half = torch.where(power > _LARGE, power, power + power / (power + 1)) * 0.5
    return torch.where(x < 0, half.neg(), half)


@rule(aten.asinh.default)
def asinh(x: Tensor) -> Tensor:
    """log1p(|x| + x^2 / (1 + sqrt(1 + x^2))) and the sign of x; far out log |x| + log 2."""
    size = x.abs()
    square = size * size
    near = (size + square / (1 + (square + 1).sqrt())).log1p()
    found = torch.where(size > _LARGE, size.log() + math.log(2), near)
    return torch.where(x < 0, found.neg(), found)


@rule(aten.acosh.default)
def acosh(x: Tensor) -> Tensor:
    """log1p(d + sqrt(d (d + 2))) for d = x - 1; far out log x + log 2."""
    beyond = x - 1
    near = (beyond + (beyond * (beyond + 2)).sqrt()).log1p()
    return torch.where(x > _LARGE, x.log() + math.log(2), near)


@rule(aten.atanh.default)
def atanh(x: Tensor) -> Tensor:
    return (x.log1p() - x.neg().log1p()) * 0.5


@rule(aten.square.default)
def square(x: Tensor) -> Tensor:
    return x * x


# Signs and whole parts.


@rule(aten.sign.default, aten.sgn.default)
def sign(x: Tensor) -> Tensor:
    if x.dtype in INTEGERS:
        return aten.clamp.default(x, -1, 1)
    if not x.dtype.is_floating_point:
        return NotImplemented
    return torch.where(x > 0, number(x, 1.0), torch.where(x < 0, number(x, -1.0), number(x, 0.0)))


@rule(aten.trunc.default, aten.fix.default)
def trunc(x: Tensor) -> Tensor:
    return torch.where(x < 0, x.ceil(), x.floor()) if x.dtype.is_floating_point else NotImplemented


@rule(aten.frac.default)
def frac(x: Tensor) -> Tensor:
    return x - trunc(x)
