"""Parts of tensors, each a view of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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


@rule(aten.pad.default)
def pad(x: Tensor, amounts: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    if mode != "constant" or min(amounts) >= 0:
        return NotImplemented
    return constant_pad(x, amounts, value or 0.0)


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
