"""Pointwise operations in terms of simpler ones."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

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


@rule(aten.fmax.default)
def fmax(x: Tensor, y: Tensor) -> Tensor:
    """The larger number; NaN only where both are."""
    return torch.where(isnan(x), y, torch.where(isnan(y), x, torch.maximum(x, y)))


@rule(aten.fmin.default)
def fmin(x: Tensor, y: Tensor) -> Tensor:
    return torch.where(isnan(x), y, torch.where(isnan(y), x, torch.minimum(x, y)))


@rule(aten.full_like.default)
def full_like(x: Tensor, value: float, *, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
    return aten.full(list(x.shape), value, dtype=x.dtype if dtype is None else dtype)
