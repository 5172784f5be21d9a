"""Pointwise operations in terms of simpler ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.registry import aten, rule


@rule(aten.pow.Tensor_Scalar)
def power(x: Tensor, exponent: float) -> Tensor:
    if not x.dtype.is_floating_point:
        return NotImplemented
    if exponent in (2, 3, 4):
        square = x * x
        return {2: lambda: square, 3: lambda: square * x, 4: lambda: square * square}[int(exponent)]()
    simple = {1: torch.clone, 0.5: torch.sqrt, -0.5: torch.rsqrt, -1: torch.reciprocal}
    return simple[exponent](x) if exponent in simple else NotImplemented


@rule(aten.lerp.Scalar, aten.lerp.Tensor)
def lerp(start: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    return start + (end - start) * weight


@rule(aten.clamp.Tensor)
def clamp_between_tensors(
    x: Tensor,
    min: Tensor | None = None,  # noqa: A002 - the operation's own names
    max: Tensor | None = None,  # noqa: A002
) -> Tensor:
    x = x if min is None else torch.maximum(x, min)
    return x if max is None else torch.minimum(x, max)


@rule(aten.hardtanh.default)
def hardtanh(x: Tensor, low: float = -1, high: float = 1) -> Tensor:
    return x.clamp(low, high)


@rule(aten.relu6.default)
def relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6)


@rule(aten.leaky_relu.default)
def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    return torch.where(x > 0, x, x * slope)


@rule(aten.hardsigmoid.default)
def hardsigmoid(x: Tensor) -> Tensor:
    return (x + 3).clamp(0, 6) / 6


@rule(aten.hardswish.default)
def hardswish(x: Tensor) -> Tensor:
    return x * hardsigmoid(x)


@rule(aten.full_like.default)
def full_like(x: Tensor, value: float, *, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
    return aten.full(list(x.shape), value, dtype=x.dtype if dtype is None else dtype)
