"""Activation functions in terms of the functions that the compiler expands (sigmoid, tanh, expm1, log1p)."""

from __future__ import annotations

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.registry import aten, rule

_NO_TRACE = 16.0
"""From here on log(1 + e^x) and x are one number in every type that the device can hold."""


@rule(aten.relu6.default)
def relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6)


@rule(aten.hardtanh.default)
def hardtanh(x: Tensor, low: float = -1, high: float = 1) -> Tensor:
    return x.clamp(low, high)


@rule(aten.hardsigmoid.default)
def hardsigmoid(x: Tensor) -> Tensor:
    return (x + 3).clamp(0, 6) / 6


@rule(aten.hardswish.default)
def hardswish(x: Tensor) -> Tensor:
    return x * hardsigmoid(x)


@rule(aten.leaky_relu.default)
def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    return torch.where(x > 0, x, x * slope)


@rule(aten.rrelu_with_noise_functional.default)
def rrelu_functional(
    x: Tensor, noise: Tensor, low: float = 1 / 8, high: float = 1 / 3, training: bool = False, generator: None = None
) -> tuple[Tensor, Tensor]:
    """At inference the slope is the mean of the interval, and the noise is left alone."""
    return NotImplemented if training else (leaky_relu(x, (low + high) / 2), noise)


@rule(aten.prelu.default)
def prelu(x: Tensor, weight: Tensor) -> Tensor:
    shape = [-1, *[1] * (x.dim() - 2)] if x.dim() > 1 else [-1]
    return prelu_kernel(x, weight.view(shape) if weight.numel() > 1 else weight)


@rule(aten._prelu_kernel.default)
def prelu_kernel(x: Tensor, weight: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * weight)


@rule(aten.elu.default)
def elu(x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    negative = scaled(scaled(x, input_scale).expm1(), alpha * scale)
    return torch.where(x > 0, scaled(x, scale), negative)


@rule(aten.celu.default)
def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return elu(x, alpha, 1, 1 / alpha)


@rule(aten.selu.default)
def selu(x: Tensor) -> Tensor:
    return elu(x, 1.6732632423543772, 1.0507009873554805)


@rule(aten.silu.default)
def silu(x: Tensor) -> Tensor:
    return x * x.sigmoid()


@rule(aten.glu.default)
def glu(x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * gate.sigmoid()


@rule(aten.softplus.default)
def softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + e^x) without overflow: x and a correction for positive x, the correction alone for negative."""
    wide = scaled(x, beta)
    smooth = wide.relu() + wide.abs().neg().exp().log1p()
    smooth = smooth if beta == 1 else smooth / beta
    return smooth if threshold >= _NO_TRACE else torch.where(wide > threshold, x, smooth)


@rule(aten.log_sigmoid.default)
def log_sigmoid(x: Tensor) -> Tensor:
    return x.clamp(max=0) - x.abs().neg().exp().log1p()


@rule(aten.log_sigmoid_forward.default)
def log_sigmoid_forward(x: Tensor) -> tuple[Tensor, Tensor]:
    return log_sigmoid(x), x.new_empty([0])


@rule(aten.mish.default)
def mish(x: Tensor) -> Tensor:
    return x * softplus(x).tanh()


@rule(aten.hardshrink.default)
def hardshrink(x: Tensor, limit: float = 0.5) -> Tensor:
    return torch.where(x.abs() <= limit, number(x, 0.0), x)


@rule(aten.softshrink.default)
def softshrink(x: Tensor, limit: float = 0.5) -> Tensor:
    return torch.where(x > limit, x - limit, torch.where(x < -limit, x + limit, x * 0))


@rule(aten.threshold.default)
def threshold(x: Tensor, limit: float, value: float) -> Tensor:
    return torch.where(x <= limit, number(x, value), x)


def scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor


def number(x: Tensor, value: float) -> Tensor:
    """`value` in the type of `x`, without dimensions."""
    return aten.full([], value, dtype=x.dtype, device=x.device)
