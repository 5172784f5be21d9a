"""Reductions and what is made of them: means, variances, softmax, vector norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.registry import Rule, aten, rule
from atalla_mlir.frontend.integers import INTEGERS


@rule(aten.mean.default)
def mean_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    return mean(x, None, dtype=dtype)


@rule(aten.mean.dim)
def mean(x: Tensor, dim: Sequence[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    dims = reduced_dims(x, dim)
    return aten.sum.dim_IntList(x, dims, keepdim) / _extent(x, dims)


@rule(aten.sum.default)
def sum_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    return aten.sum.dim_IntList(x, reduced_dims(x, None), False, dtype=dtype)


@rule(aten.amax.default)
def amax(x: Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> Tensor:
    return _one_dimension_at_a_time(aten.amax, x, reduced_dims(x, dim), keepdim)


@rule(aten.amin.default)
def amin(x: Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> Tensor:
    return _one_dimension_at_a_time(aten.amin, x, reduced_dims(x, dim), keepdim)


def _one_dimension_at_a_time(reduce: Rule, x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    """What torch-mlir would do anyway, with a name for each intermediate value."""
    if x.dtype is torch.uint8:
        return reduce(x.to(torch.int32), dims, keepdim).to(x.dtype)
    if len(dims) < 2:
        return NotImplemented
    for dim in reversed(dims):
        x = reduce(x, [dim], keepdim)
    return x


@rule(aten.argmax.default)
def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return _arg_of_all(aten.argmax.default, x, dim, keepdim)


@rule(aten.argmin.default)
def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return _arg_of_all(aten.argmin.default, x, dim, keepdim)


def _arg_of_all(reduce: Rule, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    """An index into the flattened tensor where no dimension is given; of whole numbers the first place that has it."""
    if dim is None:
        index = reduce(x.reshape([-1]), 0, False)
        return index.view([1] * x.dim()) if keepdim else index
    if x.dtype not in INTEGERS or not x.dim():
        return NotImplemented
    dim = dim % x.dim()
    extreme = (aten.amax if reduce is aten.argmax.default else aten.amin)(x, [dim], True)
    places = torch.arange(x.shape[dim], device=x.device).view([-1, *[1] * (x.dim() - dim - 1)])
    return aten.amin(aten.where.ScalarOther(x == extreme, places, x.shape[dim]), [dim], keepdim)


@rule(aten.max.dim)
def max_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return aten.amax(x, [dim], keepdim), aten.argmax(x, dim, keepdim)


@rule(aten.min.dim)
def min_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return aten.amin(x, [dim], keepdim), aten.argmin(x, dim, keepdim)


@rule(aten.max.default)
def max_all(x: Tensor) -> Tensor:
    return aten.amax(x, reduced_dims(x, None))


@rule(aten.min.default)
def min_all(x: Tensor) -> Tensor:
    return aten.amin(x, reduced_dims(x, None))


@rule(aten.var.correction)
def var(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    dims = reduced_dims(x, dim)
    variance = moments(x, dims, correction)[2]
    return variance if keepdim else drop(variance, dims)


@rule(aten.var.default)
def var_all(x: Tensor, unbiased: bool = True) -> Tensor:
    return var(x, correction=float(unbiased))


@rule(aten.var.dim)
def var_dim(x: Tensor, dim: Sequence[int] | None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    return var(x, dim, correction=float(unbiased), keepdim=keepdim)


@rule(aten.std.correction)
def std(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    return var(x, dim, correction=correction, keepdim=keepdim).sqrt()


@rule(aten.std.default)
def std_all(x: Tensor, unbiased: bool = True) -> Tensor:
    return var_all(x, unbiased).sqrt()


@rule(aten.std.dim)
def std_dim(x: Tensor, dim: Sequence[int] | None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    return var_dim(x, dim, unbiased, keepdim).sqrt()


@rule(aten.var_mean.correction)
def var_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    dims = reduced_dims(x, dim)
    average, _, variance = moments(x, dims, correction)
    return (variance, average) if keepdim else (drop(variance, dims), drop(average, dims))


def moments(x: Tensor, dims: list[int], correction: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, x minus mean, and variance, the reduced dimensions kept with extent 1."""
    average = mean(x, dims, True)
    centered = x - average
    divisor = max(_extent(x, dims) - (1 if correction is None else correction), 0)
    total = aten.sum.dim_IntList(centered * centered, dims, True)
    # with no degrees of freedom the variance is 0/0, as in PyTorch
    return average, centered, total / divisor if divisor else total * math.nan


@rule(aten.softmax.int)
def softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    powers, total = _shifted_exp(x if dtype is None else x.to(dtype), dim)
    return powers / total


@rule(aten._softmax.default, aten._safe_softmax.default)
def softmax_prim(x: Tensor, dim: int, half_to_float: bool | torch.dtype | None = False) -> Tensor:
    return softmax(x, dim, _widened(half_to_float))


@rule(aten.log_softmax.int)
def log_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    shifted = x - _largest(x, dim)
    return shifted - _total(shifted.exp(), dim).log()


@rule(aten._log_softmax.default)
def log_softmax_prim(x: Tensor, dim: int, half_to_float: bool = False) -> Tensor:
    return log_softmax(x, dim, _widened(half_to_float))


@rule(aten.logsumexp.default)
def logsumexp(x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
    dims = reduced_dims(x, dim)
    largest = aten.amax(x, dims, True)
    total = aten.sum.dim_IntList((x - largest).exp(), dims, True).log() + largest
    return total if keepdim else drop(total, dims)


def _widened(half_to_float: bool | torch.dtype | None) -> torch.dtype | None:
    if isinstance(half_to_float, bool):
        return torch.float32 if half_to_float else None
    return half_to_float


def _shifted_exp(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    powers = (x - _largest(x, dim)).exp()
    return powers, _total(powers, dim)


def _largest(x: Tensor, dim: int) -> Tensor:
    return aten.amax(x, [dim], True) if x.dim() else x


def _total(x: Tensor, dim: int) -> Tensor:
    return aten.sum.dim_IntList(x, [dim], True) if x.dim() else x


def reduced_dims(x: Tensor, dim: Sequence[int] | int | None) -> list[int]:
    """Every reduced dimension, counted from the front; none given means all."""
    if isinstance(dim, int):
        dim = [dim]
    chosen = range(x.dim()) if dim is None or len(dim) == 0 else dim
    return sorted(d % x.dim() for d in chosen) if x.dim() else []


def _extent(x: Tensor, dims: Sequence[int]) -> int:
    return math.prod(x.shape[d] for d in dims)


def drop(x: Tensor, dims: Sequence[int]) -> Tensor:
    return x.view([size for d, size in enumerate(x.shape) if d not in dims])


@rule(aten.linalg_vector_norm.default)
def vector_norm(
    x: Tensor,
    ord: float = 2,  # noqa: A002 - the operation's own name for it
    dim: Sequence[int] | int | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    dims = reduced_dims(x, dim)
    if ord == 2:
        return aten.sum.dim_IntList(x * x, dims, keepdim).sqrt()
    if ord == 1:
        return aten.sum.dim_IntList(x.abs(), dims, keepdim)
    if math.isinf(ord):
        return (aten.amax if ord > 0 else aten.amin)(x.abs(), dims, keepdim)
    if ord == 0:
        return aten.sum.dim_IntList((x != 0).to(x.dtype), dims, keepdim)
    return aten.sum.dim_IntList(x.abs() ** ord, dims, keepdim) ** (1 / ord)


@rule(aten.norm.ScalarOpt_dim)
def norm(x: Tensor, p: float | None, dim: Sequence[int], keepdim: bool = False) -> Tensor:
    return vector_norm(x, 2 if p is None else p, dim, keepdim)


@rule(aten._cdist_forward.default)
def cdist(a: Tensor, b: Tensor, p: float, compute_mode: int | None = None) -> Tensor:
    """Norms of all differences; squares of the norms beside products would cancel."""
    return vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), p, [-1])


@rule(aten.prod.dim_int)
def product(x: Tensor, dim: int, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    """One half times the other until one factor is left."""
    x = x if dtype is None else x.to(dtype)
    x = x.long() if x.dtype in INTEGERS else x
    if (not x.dtype.is_floating_point and x.dtype not in INTEGERS) or not x.dim():
        return NotImplemented
    dim = dim % x.dim()
    while (extent := x.shape[dim]) > 1:
        half = extent // 2
        factors = aten.slice.Tensor(x, dim, 0, half) * aten.slice.Tensor(x, dim, half, 2 * half)
        x = torch.cat([factors, aten.slice.Tensor(x, dim, 2 * half, extent)], dim) if extent % 2 else factors
    return x if keepdim else x.squeeze(dim)


@rule(aten.prod.default)
def product_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    return product(x.reshape([-1]), 0, dtype=dtype)


# Conditions on all elements


@rule(aten.any.default)
def any_of_all(x: Tensor) -> Tensor:
    return any_along(x, list(range(x.dim())))


@rule(aten.any.dim)
def any_of_one(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    return any_along(x, [dim], keepdim)


@rule(aten.any.dims)
def any_along(x: Tensor, dim: Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    return _as_flags(x, aten.amax, reduced_dims(x, dim), keepdim)


@rule(aten.all.default)
def all_of_all(x: Tensor) -> Tensor:
    return all_along(x, list(range(x.dim())))


@rule(aten.all.dim)
def all_of_one(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    return all_along(x, [dim], keepdim)


@rule(aten.all.dims)
def all_along(x: Tensor, dim: Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    return _as_flags(x, aten.amin, reduced_dims(x, dim), keepdim)


def _as_flags(x: Tensor, reduce: Rule, dims: list[int], keepdim: bool) -> Tensor:
    """The extreme of the conditions as the numbers 0 and 1."""
    if not x.numel() or x.dtype is torch.uint8:
        return NotImplemented
    flags = (x if x.dtype is torch.bool else x != 0).to(torch.get_default_dtype())
    return (reduce(flags, dims, keepdim) if dims else flags) != 0
