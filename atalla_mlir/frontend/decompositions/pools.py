"""Decompositions of pooling: windows without padding, of which the maximum or the sum is taken.

The base forms are `aten.max_pool2d_with_indices` without padding and `aten.avg_pool2d` with a divisor of 1, a sum.
Where windows differ in size, the sums are multiplied by a table of reciprocals.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.convolutions import padded
from atalla_mlir.frontend.decompositions.registry import aten, rule


@rule(aten.max_pool2d.default)
def max_pool2d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Tensor:
    kernel, padding, dilation = _pair(kernel), _pair(padding), _pair(dilation)
    stride = _pair(stride) if stride else kernel
    if x.dim() == 3:
        return aten.max_pool2d.default(x.unsqueeze(0), kernel, stride, padding, dilation, ceil_mode).squeeze(0)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    amounts = _amounts(x, reach, stride, padding, ceil_mode=ceil_mode)
    if not any(map(any, amounts)) and not ceil_mode:
        return NotImplemented
    return aten.max_pool2d.default(padded(x, amounts, -math.inf), kernel, stride, [0, 0], dilation, False)


@rule(aten.max_pool1d.default)
def max_pool1d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Tensor:
    across = [1, *(stride or kernel)]
    flat = aten.max_pool2d.default(x.unsqueeze(-2), [1, *kernel], across, [0, *padding], [1, *dilation], ceil_mode)
    return flat.squeeze(-2)


@rule(aten.avg_pool2d.default)
def avg_pool2d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    kernel, padding = _pair(kernel), _pair(padding)
    stride = _pair(stride) if stride else kernel
    if x.dim() == 3:
        pooled = aten.avg_pool2d.default(
            x.unsqueeze(0), kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
        )
        return pooled.squeeze(0)
    amounts = _amounts(x, kernel, stride, padding, ceil_mode=ceil_mode)
    if divisor_override == 1 and not any(map(any, amounts)) and not ceil_mode:
        return NotImplemented
    total = aten.avg_pool2d.default(padded(x, amounts, 0.0), kernel, stride, [0, 0], False, True, 1)
    if divisor_override is not None:
        return total * (1 / divisor_override)
    counts = [
        _counts(x.shape[dim], total.shape[dim], k, s, p, include_padding=count_include_pad)
        for dim, k, s, p in zip((2, 3), kernel, stride, padding, strict=True)
    ]
    if all(len(set(own)) == 1 for own in counts):
        return total * (1 / (counts[0][0] * counts[1][0]))
    rows, columns = (vector(x, [1 / count for count in own]) for own in counts)
    return total * (rows.unsqueeze(1) * columns)


def vector(like: Tensor, numbers: Sequence[float]) -> Tensor:
    """A constant tensor of one dimension (a literal would not be functional while decomposing)."""
    return torch.cat([torch.full([1], number, dtype=like.dtype, device=like.device) for number in numbers])


@rule(aten.avg_pool1d.default)
def avg_pool1d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    across = [1, *(stride or kernel)]
    pooled = aten.avg_pool2d.default(x.unsqueeze(-2), [1, *kernel], across, [0, *padding], ceil_mode, count_include_pad)
    return pooled.squeeze(-2)


def _pair(amounts: Sequence[int]) -> list[int]:
    return list(amounts) * 2 if len(amounts) == 1 else list(amounts)


def _amounts(
    x: Tensor, reach: Sequence[int], stride: Sequence[int], padding: Sequence[int], *, ceil_mode: bool
) -> list[tuple[int, int]]:
    """Padding before and after each spatial dimension, as far as windows extend."""
    found: list[tuple[int, int]] = []
    for extent, k, s, p in zip(x.shape[2:], reach, stride, padding, strict=True):
        span = extent + 2 * p - k
        windows = (-(-span // s) if ceil_mode else span // s) + 1
        if ceil_mode and (windows - 1) * s >= extent + p:
            windows -= 1  # a window must start inside the input or before it
        found.append((p, max(0, (windows - 1) * s + k - extent - p)))
    return found


def _counts(extent: int, windows: int, kernel: int, stride: int, padding: int, *, include_padding: bool) -> list[int]:
    """Elements that each window is divided by, along one dimension."""
    low, high = (-padding, extent + padding) if include_padding else (0, extent)
    starts = [at * stride - padding for at in range(windows)]
    return [min(start + kernel, high) - max(start, low) for start in starts]


# Pooling to a given size


@rule(aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool3d.default, aten._adaptive_avg_pool3d.default)
def adaptive_avg_pool(x: Tensor, size: Sequence[int]) -> Tensor:
    """Means over windows that divide each dimension as evenly as possible, for one to three dimensions."""
    first = x.dim() - len(size)
    for dim, windows in enumerate(size, start=first):
        x = _adaptive(x, dim, windows, _mean)
    return x


def _mean(x: Tensor, dim: int) -> Tensor:
    return aten.mean.dim(x, [dim], True)


def _adaptive(x: Tensor, dim: int, windows: int, reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
    extent = x.shape[dim]
    if windows == extent:
        return x
    if extent % windows == 0:
        split = x.view([*x.shape[:dim], windows, extent // windows, *x.shape[dim + 1 :]])
        return reduce(split, dim + 1).squeeze(dim + 1)
    bounds = [(at * extent // windows, -(-(at + 1) * extent // windows)) for at in range(windows)]
    return torch.cat([reduce(aten.slice.Tensor(x, dim, start, end), dim) for start, end in bounds], dim)


@rule(aten.adaptive_avg_pool2d.default, aten._adaptive_avg_pool2d.default)
def adaptive_avg_pool2d(x: Tensor, size: Sequence[int]) -> Tensor:
    if all(extent % windows == 0 for extent, windows in zip(x.shape[-2:], size, strict=True)):
        kernel = [extent // windows for extent, windows in zip(x.shape[-2:], size, strict=True)]
        if list(size) == [1, 1]:
            return aten.mean.dim(x, [-2, -1], True)
        return x if kernel == [1, 1] else aten.avg_pool2d.default(x, kernel, kernel)
    return adaptive_avg_pool(x, size)


@rule(aten.adaptive_max_pool1d.default, aten.adaptive_max_pool2d.default, aten.adaptive_max_pool3d.default)
def adaptive_max_pool(x: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The largest element of each window, and its index among all, which costs nothing where nobody asks."""
    first = x.dim() - len(size)
    largest = x
    for dim, windows in enumerate(size, start=first):
        largest = _adaptive(largest, dim, windows, _largest)
    return largest, _indices_of_largest(x, size)


def _largest(x: Tensor, dim: int) -> Tensor:
    return aten.amax.default(x, [dim], True)


def _indices_of_largest(x: Tensor, size: Sequence[int]) -> Tensor:
    """For each window, the place of its first largest element in the flattened spatial dimensions."""
    lead, extents = list(x.shape[: -len(size)]), list(x.shape[-len(size) :])
    places = torch.arange(math.prod(extents), device=x.device).view(extents)
    found: list[Tensor] = []
    for window in itertools.product(*map(range, size)):
        part, numbers = x, places
        for dim, (at, windows, extent) in enumerate(zip(window, size, extents, strict=True)):
            start, end = at * extent // windows, -(-(at + 1) * extent // windows)
            part = aten.slice.Tensor(part, len(lead) + dim, start, end)
            numbers = aten.slice.Tensor(numbers, dim, start, end)
        inside = aten.argmax.default(part.reshape([*lead, -1]), -1)
        found.append(aten.index_select.default(numbers.reshape([-1]), 0, inside.reshape([-1])))
    return torch.stack(found, -1).view([*lead, *size])


# Three dimensions: a window is one over the plane and one over the depth.


@rule(aten.max_pool3d.default)
def max_pool3d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Tensor:
    kernel, padding, dilation = (_per_dimension(item) for item in (kernel, padding, dilation))
    stride = _per_dimension(stride) if stride else kernel

    def pool(plane: Tensor, dims: slice, ones: list[int]) -> Tensor:
        k, s, d = ([*item[dims], *ones] for item in (kernel, stride, dilation))
        return aten.max_pool2d.default(plane, k, s, [*padding[dims], *(0 for _ in ones)], d, ceil_mode)

    return _over_plane_and_depth(x, pool)


@rule(aten.avg_pool3d.default)
def avg_pool3d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    kernel, padding = _per_dimension(kernel), _per_dimension(padding)
    stride = _per_dimension(stride) if stride else kernel
    divisor = None if divisor_override is None else 1

    def pool(plane: Tensor, dims: slice, ones: list[int]) -> Tensor:
        k, s = ([*item[dims], *ones] for item in (kernel, stride))
        p = [*padding[dims], *(0 for _ in ones)]
        return aten.avg_pool2d.default(plane, k, s, p, ceil_mode, count_include_pad, divisor)

    pooled = _over_plane_and_depth(x, pool)
    return pooled if divisor_override is None else pooled * (1 / divisor_override)


def _over_plane_and_depth(x: Tensor, pool: Callable[[Tensor, slice, list[int]], Tensor]) -> Tensor:
    """`pool(images, dimensions of the window, ones behind them)` for height and width, then for the depth."""
    *lead, depth, height, width = x.shape
    planes = pool(x.reshape([-1, depth, height, width]), slice(1, 3), [])
    rows, cols = planes.shape[-2:]
    columns = pool(planes.reshape([-1, 1, depth, rows * cols]), slice(0, 1), [1])
    return columns.reshape([*lead, -1, rows, cols])


def _per_dimension(amounts: Sequence[int]) -> list[int]:
    return list(amounts) * 3 if len(amounts) == 1 else list(amounts)
