"""Pointwise operations in terms of simpler ones."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.activations import number
from atalla_mlir.frontend.decompositions.registry import aten, rule


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


@rule(aten.isnan.default)
def isnan(x: Tensor) -> Tensor:
    return x != x if x.dtype.is_floating_point else NotImplemented


@rule(aten.isinf.default)
def isinf(x: Tensor) -> Tensor:
    return x.abs() == math.inf if x.dtype.is_floating_point else NotImplemented


@rule(aten.isfinite.default)
def isfinite(x: Tensor) -> Tensor:
    return x.abs() < math.inf if x.dtype.is_floating_point else NotImplemented


@rule(aten.nan_to_num.default)
def nan_to_num(x: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Infinities become the largest number of the device, where that of the type would be rounded to infinity."""
    if not x.dtype.is_floating_point:
        return NotImplemented
    largest = min(torch.finfo(x.dtype).max, torch.finfo(torch.bfloat16).max)
    x = torch.where(isnan(x), number(x, nan or 0.0), x)
    x = torch.where(x == math.inf, number(x, largest if posinf is None else posinf), x)
    return torch.where(x == -math.inf, number(x, -largest if neginf is None else neginf), x)


@rule(aten.fmax.default)
def fmax(x: Tensor, y: Tensor) -> Tensor:
    """The larger number; NaN only where both are."""
    return torch.where(isnan(x), y, torch.where(isnan(y), x, torch.maximum(x, y)))


@rule(aten.fmin.default)
def fmin(x: Tensor, y: Tensor) -> Tensor:
    return torch.where(isnan(x), y, torch.where(isnan(y), x, torch.minimum(x, y)))


@rule(aten.empty_like.default)
def empty_like(x: Tensor, *, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
    """Whatever it holds is right; zeros are the same in each run."""
    return torch.zeros(x.shape, dtype=dtype or x.dtype, device=x.device)


@rule(aten.full_like.default)
def full_like(x: Tensor, value: float, *, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
    return aten.full(list(x.shape), value, dtype=x.dtype if dtype is None else dtype)
