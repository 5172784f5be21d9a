"""Parts of tensors, each a view of its own."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.reductions import drop, reduced_dims
from atalla_mlir.frontend.decompositions.registry import aten, rule


@rule(aten.squeeze.default)
def squeeze_all(x: Tensor) -> Tensor:
    return x.view([size for size in x.shape if size != 1])


@rule(aten.squeeze.dim, aten.squeeze.dims)
def squeeze(x: Tensor, dim: int | Sequence[int]) -> Tensor:
    dims = reduced_dims(x, dim) if isinstance(dim, int) or dim else []
    return drop(x, [d for d in dims if x.shape[d] == 1])


@rule(aten.split_with_sizes.default)
def split_with_sizes(x: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    ends = list(itertools.accumulate(sizes))
    return [aten.slice.Tensor(x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]


@rule(aten.split.Tensor)
def split(x: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    extent = x.shape[dim]
    return split_with_sizes(x, [min(size, extent - start) for start in range(0, extent, size)], dim)


@rule(aten.unbind.int)
def unbind(x: Tensor, dim: int = 0) -> list[Tensor]:
    return [aten.select.int(x, dim, index) for index in range(x.shape[dim])]


@rule(aten.cat.default)
def concatenated(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Parts that hold something, all of the type that the result has."""
    result = functools.reduce(torch.promote_types, (part.dtype for part in tensors))
    parts = [part for part in tensors if part.numel()]
    if not parts or (len(parts) == len(tensors) and all(part.dtype is result for part in parts)):
        return NotImplemented
    same = [part if part.dtype is result else part.to(result) for part in parts]
    return same[0].clone() if len(same) == 1 else aten.cat.default(same, dim)


@rule(aten.constant_pad_nd.default)
def constant_pad(x: Tensor, amounts: Sequence[int], value: float = 0) -> Tensor:
    """Negative amounts as slices: beside a positive one of the same size MLIR takes the pad for no change."""
    if all(amount >= 0 for amount in amounts):
        return NotImplemented
    for at in range(len(amounts) // 2):
        dim = x.dim() - 1 - at
        low, high = (max(0, -amount) for amount in amounts[2 * at : 2 * at + 2])
        if low or high:
            x = aten.slice.Tensor(x, dim, low, x.shape[dim] - high)
    rest = [max(0, amount) for amount in amounts]
    return aten.constant_pad_nd.default(x, rest, value) if any(rest) else x.clone()


@rule(aten.diagonal.default)
def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Every so many elements of the matrices' rows one after the other."""
    dim1, dim2 = dim1 % x.dim(), dim2 % x.dim()
    rows, cols = x.shape[dim1], x.shape[dim2]
    length = min(rows, cols - offset) if offset >= 0 else min(rows + offset, cols)
    if length <= 0:
        return NotImplemented
    lead = [dim for dim in range(x.dim()) if dim not in (dim1, dim2)]
    flat = x.permute([*lead, dim1, dim2]).reshape([*(x.shape[dim] for dim in lead), rows * cols])
    start = offset if offset >= 0 else -offset * cols
    return aten.slice.Tensor(flat, -1, start, start + (length - 1) * (cols + 1) + 1, cols + 1)


@rule(aten.unfold.default)
def unfold(x: Tensor, dim: int, size: int, step: int) -> Tensor:
    """Overlapping windows: their elements of one place are a slice, or each window is one, whichever are fewer."""
    dim = dim % x.dim()
    windows = (x.shape[dim] - size) // step + 1
    if size <= windows:
        last = (windows - 1) * step + 1
        return torch.stack([aten.slice.Tensor(x, dim, at, at + last, step) for at in range(size)], -1)
    parts = [aten.slice.Tensor(x, dim, at * step, at * step + size) for at in range(windows)]
    return torch.stack([part.movedim(dim, -1) for part in parts], dim)
