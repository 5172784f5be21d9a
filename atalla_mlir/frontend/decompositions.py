"""The table that turns ATen into the primitive operations that the compiler lowers.

Every rule leaves operations of which each becomes one `linalg` operation (or a few elementwise ones): products,
pointwise arithmetic, reductions and views. Nothing here widens a type or adds a run-time check, which the rules of
PyTorch and torch-mlir do in places (variance in float64, products of bfloat16 in float32, rows of -inf in attention).

The base is torch-mlir's table, which drops what its importer cannot take; `KEPT` are operations that stay whole
because the compiler expands their scalar function itself, with a bound on the error.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_mlir.extras.fx_decomp_util import get_decomposition_table

aten = torch.ops.aten

Rule = Callable[..., Any]
Table = dict[Any, Rule]

KEPT = frozenset(
    {
        aten._to_copy,
        aten.gelu,
        aten.silu,
        aten.sigmoid,
        aten.tanh,
        aten.rsqrt,
        aten.reciprocal,
        aten.full,
        aten.pad,
        aten.elu,
        aten.softplus,
    }
)


@functools.cache
def table() -> Table:
    """Overload -> rule, for `ExportedProgram.run_decompositions`; do not change it, copy it."""
    base = {overload: rule for overload, rule in get_decomposition_table().items() if not _is_kept(overload)}
    return {**base, **_RULES}


def _is_kept(overload: Any) -> bool:
    return getattr(overload, "_overloadpacket", None) in KEPT


_RULES: Table = {}


def _rule(*overloads: Any) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for overload in overloads:
            _RULES[overload] = function
        return function

    return register


# Products. Weights stay matrices: leading dimensions of the other operand are folded into its rows.


@_rule(aten.linear.default)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = aten.matmul(x, aten.permute(weight, [1, 0]))
    return product if bias is None else product + bias


@_rule(aten.addmm.default)
def addmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(aten.mm(a, b), alpha) + _scaled(c, beta)


@_rule(aten.baddbmm.default)
def baddbmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(aten.bmm(a, b), alpha) + _scaled(c, beta)


@_rule(aten.addbmm.default)
def addbmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(aten.bmm(a, b).sum(0), alpha) + _scaled(c, beta)


@_rule(aten.addmv.default)
def addmv(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _scaled(aten.mv(a, b), alpha) + _scaled(c, beta)


@_rule(aten.mv.default)
def mv(a: Tensor, b: Tensor) -> Tensor:
    return aten.mm(a, b.unsqueeze(1)).squeeze(1)


@_rule(aten.dot.default, aten.vdot.default)
def dot(a: Tensor, b: Tensor) -> Tensor:
    return aten.mm(a.unsqueeze(0), b.unsqueeze(1)).view([])


@_rule(aten.matmul.default)
def matmul(a: Tensor, b: Tensor) -> Tensor:
    if a.dim() == 1:
        product = matmul(a.unsqueeze(0), b)
        return product.squeeze(-2) if b.dim() > 1 else product.squeeze(0)
    if b.dim() == 1:
        return matmul(a, b.unsqueeze(1)).squeeze(-1)
    if b.dim() == 2:
        rows = aten.mm(a if a.dim() == 2 else a.reshape(-1, a.shape[-1]), b)
        return rows if a.dim() == 2 else rows.view([*a.shape[:-1], b.shape[-1]])
    return _batched_matmul(a, b)


def _batched_matmul(a: Tensor, b: Tensor) -> Tensor:
    """Product of operands of which the second has batch dimensions: one bmm between reshapes."""
    batch = list(torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    left = _batch_as_one(a, batch)
    right = _batch_as_one(b, batch)
    product = aten.bmm(left, right)
    return product if len(batch) == 1 else product.view([*batch, a.shape[-2], b.shape[-1]])


def _batch_as_one(x: Tensor, batch: list[int]) -> Tensor:
    matrix = list(x.shape[-2:])
    full = x if list(x.shape[:-2]) == batch else x.expand([*batch, *matrix])
    return full if len(batch) == 1 else full.reshape([math.prod(batch), *matrix])


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor


# Reductions and what is made of them.


@_rule(aten.mean.default)
def mean_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    return mean(x, None, dtype=dtype)


@_rule(aten.mean.dim)
def mean(x: Tensor, dim: Sequence[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    dims = _dims(x, dim)
    return aten.sum.dim_IntList(x, dims, keepdim) / _extent(x, dims)


@_rule(aten.sum.default)
def sum_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    return aten.sum.dim_IntList(x, _dims(x, None), False, dtype=dtype)


@_rule(aten.amax.default)
def amax(x: Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> Tensor:
    return _one_dimension_at_a_time(aten.amax, x, _dims(x, dim), keepdim)


@_rule(aten.amin.default)
def amin(x: Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> Tensor:
    return _one_dimension_at_a_time(aten.amin, x, _dims(x, dim), keepdim)


def _one_dimension_at_a_time(reduce: Rule, x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    """What torch-mlir would do anyway, with a name for each intermediate value."""
    if len(dims) < 2:
        return NotImplemented
    for dim in reversed(dims):
        x = reduce(x, [dim], keepdim)
    return x


@_rule(aten.max.default)
def max_all(x: Tensor) -> Tensor:
    return aten.amax(x, _dims(x, None))


@_rule(aten.min.default)
def min_all(x: Tensor) -> Tensor:
    return aten.amin(x, _dims(x, None))


@_rule(aten.var.correction)
def var(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    dims = _dims(x, dim)
    variance = _moments(x, dims, correction)[2]
    return variance if keepdim else _drop(variance, dims)


@_rule(aten.var.default)
def var_all(x: Tensor, unbiased: bool = True) -> Tensor:
    return var(x, correction=float(unbiased))


@_rule(aten.var.dim)
def var_dim(x: Tensor, dim: Sequence[int] | None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    return var(x, dim, correction=float(unbiased), keepdim=keepdim)


@_rule(aten.std.correction)
def std(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    return var(x, dim, correction=correction, keepdim=keepdim).sqrt()


@_rule(aten.std.default)
def std_all(x: Tensor, unbiased: bool = True) -> Tensor:
    return var_all(x, unbiased).sqrt()


@_rule(aten.std.dim)
def std_dim(x: Tensor, dim: Sequence[int] | None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    return var_dim(x, dim, unbiased, keepdim).sqrt()


@_rule(aten.var_mean.correction)
def var_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    dims = _dims(x, dim)
    average, _, variance = _moments(x, dims, correction)
    return (variance, average) if keepdim else (_drop(variance, dims), _drop(average, dims))


def _moments(x: Tensor, dims: list[int], correction: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, x minus mean, and variance, the reduced dimensions kept with extent 1."""
    average = mean(x, dims, True)
    centered = x - average
    divisor = max(_extent(x, dims) - (1 if correction is None else correction), 0)
    total = aten.sum.dim_IntList(centered * centered, dims, True)
    # with no degrees of freedom the variance is 0/0, as in PyTorch
    return average, centered, total / divisor if divisor else total * math.nan


@_rule(aten.softmax.int)
def softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    powers, total = _shifted_exp(x if dtype is None else x.to(dtype), dim)
    return powers / total


@_rule(aten._softmax.default, aten._safe_softmax.default)
def softmax_prim(x: Tensor, dim: int, half_to_float: bool | torch.dtype | None = False) -> Tensor:
    return softmax(x, dim, _widened(half_to_float))


@_rule(aten.log_softmax.int)
def log_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    shifted = x - _largest(x, dim)
    return shifted - _total(shifted.exp(), dim).log()


@_rule(aten._log_softmax.default)
def log_softmax_prim(x: Tensor, dim: int, half_to_float: bool = False) -> Tensor:
    return log_softmax(x, dim, _widened(half_to_float))


@_rule(aten.logsumexp.default)
def logsumexp(x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
    dims = _dims(x, dim)
    largest = aten.amax(x, dims, True)
    total = aten.sum.dim_IntList((x - largest).exp(), dims, True).log() + largest
    return total if keepdim else _drop(total, dims)


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


def _dims(x: Tensor, dim: Sequence[int] | int | None) -> list[int]:
    """Every reduced dimension, counted from the front; none given means all."""
    if isinstance(dim, int):
        dim = [dim]
    chosen = range(x.dim()) if dim is None or len(dim) == 0 else dim
    return sorted(d % x.dim() for d in chosen) if x.dim() else []


def _extent(x: Tensor, dims: Sequence[int]) -> int:
    return math.prod(x.shape[d] for d in dims)


def _drop(x: Tensor, dims: Sequence[int]) -> Tensor:
    return x.view([size for d, size in enumerate(x.shape) if d not in dims])


@_rule(aten.linalg_vector_norm.default)
def vector_norm(
    x: Tensor,
    ord: float = 2,  # noqa: A002 - the operation's own name for it
    dim: Sequence[int] | int | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    dims = _dims(x, dim)
    if ord == 2:
        return aten.sum.dim_IntList(x * x, dims, keepdim).sqrt()
    if ord == 1:
        return aten.sum.dim_IntList(x.abs(), dims, keepdim)
    if ord == math.inf:
        return aten.amax(x.abs(), dims, keepdim)
    return NotImplemented


# Norms.


@_rule(aten.layer_norm.default)
def layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    return native_layer_norm(x, shape, weight, bias, eps)[0]


@_rule(aten.native_layer_norm.default)
def native_layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    dims = list(range(x.dim() - len(shape), x.dim()))
    average, centered, variance = _moments(x, dims, 0)
    inverse = (variance + eps).rsqrt()
    return _affine(centered * inverse, weight, bias), average, inverse


@_rule(aten.rms_norm.default)
def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    dims = list(range(x.dim() - len(shape), x.dim()))
    power = mean(x * x, dims, True)
    floor = torch.finfo(x.dtype).eps if eps is None else eps
    return _affine(x * (power + floor).rsqrt(), weight, None)


@_rule(aten.native_group_norm.default)
def native_group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    batch: int,
    channels: int,
    spatial: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    grouped = x.reshape([batch, groups, channels // groups * spatial])
    average, centered, variance = _moments(grouped, [2], 0)
    inverse = (variance + eps).rsqrt()
    normal = (centered * inverse).view(x.shape)
    result = _affine(normal, _per_channel(weight, x.dim()), _per_channel(bias, x.dim()))
    return result, average.view([batch, groups]), inverse.view([batch, groups])


@_rule(aten.group_norm.default)
def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    batch, channels = x.shape[:2]
    spatial = math.prod(x.shape[2:])
    return native_group_norm(x, weight, bias, batch, channels, spatial, groups, eps)[0]


@_rule(aten._native_batch_norm_legit_no_training.default)
def batch_norm_inference(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """x * scale + shift; both are made of parameters only, so that they are computed once, when compiling."""
    inverse = (running_var + eps).rsqrt()
    scale = inverse if weight is None else weight * inverse
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    result = x * _as_channels(scale, x.dim()).to(x.dtype) + _as_channels(shift, x.dim()).to(x.dtype)
    nothing = x.new_empty([0])
    return result, nothing, nothing


def _per_channel(x: Tensor | None, rank: int) -> Tensor | None:
    return None if x is None else _as_channels(x, rank)


def _as_channels(x: Tensor, rank: int) -> Tensor:
    return x.view([-1, *[1] * (rank - 2)])


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


# Attention.


@_rule(aten.scaled_dot_product_attention.default)
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q @ k^T * scale + mask) @ v; a row that is masked throughout gives NaN, as the formula does."""
    if dropout_p:
        raise NotImplementedError("attention with dropout")
    if enable_gqa:
        key, value = _repeat_heads(key, query), _repeat_heads(value, query)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = matmul(query, key.transpose(-2, -1)) * factor
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        scores = _masked(scores, attn_mask)
    return matmul(softmax(scores, -1), value)


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return scores + mask
    return torch.where(mask, scores, -math.inf)


def _repeat_heads(x: Tensor, query: Tensor) -> Tensor:
    """Each head of `x` as often as query heads share it, one after the other."""
    *batch, heads, length, width = x.shape
    times = query.shape[-3] // heads
    if times == 1:
        return x
    repeated = x.unsqueeze(-3).expand([*batch, heads, times, length, width])
    return repeated.reshape([*batch, heads * times, length, width])


# Pointwise operations in terms of simpler ones.


@_rule(aten.pow.Tensor_Scalar)
def power(x: Tensor, exponent: float) -> Tensor:
    if not x.dtype.is_floating_point:
        return NotImplemented
    if exponent in (2, 3, 4):
        square = x * x
        return {2: lambda: square, 3: lambda: square * x, 4: lambda: square * square}[int(exponent)]()
    simple = {1: torch.clone, 0.5: torch.sqrt, -0.5: torch.rsqrt, -1: torch.reciprocal}
    return simple[exponent](x) if exponent in simple else NotImplemented


@_rule(aten.lerp.Scalar, aten.lerp.Tensor)
def lerp(start: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    return start + (end - start) * weight


@_rule(aten.clamp.Tensor)
def clamp_between_tensors(
    x: Tensor,
    min: Tensor | None = None,  # noqa: A002 - the operation's own names
    max: Tensor | None = None,  # noqa: A002
) -> Tensor:
    x = x if min is None else torch.maximum(x, min)
    return x if max is None else torch.minimum(x, max)


@_rule(aten.hardtanh.default)
def hardtanh(x: Tensor, low: float = -1, high: float = 1) -> Tensor:
    return x.clamp(low, high)


@_rule(aten.relu6.default)
def relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6)


@_rule(aten.leaky_relu.default)
def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    return torch.where(x > 0, x, x * slope)


@_rule(aten.hardsigmoid.default)
def hardsigmoid(x: Tensor) -> Tensor:
    return (x + 3).clamp(0, 6) / 6


@_rule(aten.hardswish.default)
def hardswish(x: Tensor) -> Tensor:
    return x * hardsigmoid(x)


@_rule(aten.full_like.default)
def full_like(x: Tensor, value: float, *, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
    return aten.full(list(x.shape), value, dtype=x.dtype if dtype is None else dtype)


# Parts of tensors, each a view of its own.


@_rule(aten.squeeze.default)
def squeeze_all(x: Tensor) -> Tensor:
    return x.view([size for size in x.shape if size != 1])


@_rule(aten.squeeze.dim, aten.squeeze.dims)
def squeeze(x: Tensor, dim: int | Sequence[int]) -> Tensor:
    dims = _dims(x, dim) if isinstance(dim, int) or dim else []
    return _drop(x, [d for d in dims if x.shape[d] == 1])


@_rule(aten.split_with_sizes.default)
def split_with_sizes(x: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    ends = list(itertools.accumulate(sizes))
    return [aten.slice.Tensor(x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]


@_rule(aten.split.Tensor)
def split(x: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    extent = x.shape[dim]
    return split_with_sizes(x, [min(size, extent - start) for start in range(0, extent, size)], dim)


@_rule(aten.unbind.int)
def unbind(x: Tensor, dim: int = 0) -> list[Tensor]:
    return [aten.select.int(x, dim, index) for index in range(x.shape[dim])]
