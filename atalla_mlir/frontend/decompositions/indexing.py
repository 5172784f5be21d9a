"""Reading and writing at places that tensors of whole numbers say, scans, and the largest k."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.registry import aten, rule
from atalla_mlir.frontend.integers import INTEGERS

# Each of the k largest costs a search of the whole row.
_MAX_K = 32
# Pairs of a place and a row that are compared for a copy of several rows.
_MAX_COMPARED = 1 << 18
# Terms that one product sums up to each place.
_SCAN_BLOCK = 64


@rule(aten.index.Tensor)
def index(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """One selection along one dimension: indexed dimensions are brought together and numbered through."""
    indexed = [dim for dim, index in enumerate(indices) if index is not None]
    given = [index for index in indices if index is not None]
    if any(index.dtype is torch.bool or index.dtype is torch.uint8 for index in given):
        return NotImplemented
    is_run = indexed == list(range(indexed[0], indexed[-1] + 1))
    if not is_run:
        x = x.permute([*indexed, *(dim for dim in range(x.dim()) if dim not in indexed)])
    first = indexed[0] if is_run else 0
    extents = list(x.shape[first : first + len(indexed)])
    places = _places(given, extents)
    joined = x.reshape([*x.shape[:first], math.prod(extents), *x.shape[first + len(indexed) :]])
    found = aten.index_select.default(joined, first, places.reshape([-1]))
    return found.reshape([*x.shape[:first], *places.shape, *x.shape[first + len(indexed) :]])


def _places(indices: Sequence[Tensor], extents: Sequence[int]) -> Tensor:
    """The number of each element among the indexed dimensions, in row-major order."""
    total: Tensor | None = None
    for index, extent in zip(indices, extents, strict=True):
        wrapped = aten.where.self(index < 0, index + extent, index)
        total = wrapped if total is None else total * extent + wrapped
    assert total is not None
    return total


@rule(aten.index_copy.default)
def index_copy(x: Tensor, dim: int, places: Tensor, source: Tensor) -> Tensor:
    """A choice for each place: the new element, if it is one of `places`."""
    dim = dim % x.dim()
    numbers = torch.arange(x.shape[dim], device=x.device, dtype=places.dtype)
    after = [1] * (x.dim() - dim - 1)
    if places.numel() == 1:
        chosen = (numbers == places.reshape([1])).view([-1, *after])
        return aten.where.self(chosen, source.reshape([*x.shape[:dim], 1, *x.shape[dim + 1 :]]), x)
    if places.numel() * x.shape[dim] > _MAX_COMPARED or not places.numel():
        return NotImplemented
    hits = numbers.unsqueeze(1) == places.reshape([1, -1])
    # counted from 1; of a place that is given twice PyTorch says nothing, but it must not lead elsewhere
    from_one = torch.arange(1, places.numel() + 1, device=x.device)
    number = aten.where.ScalarOther(hits, from_one, 0).sum(1)
    row = aten.minimum.default(aten.maximum.default(number - 1, from_one[:1] - 1), from_one[-1:] - 1)
    return aten.where.self((number > 0).view([-1, *after]), aten.index_select.default(source, dim, row), x)


@rule(aten.index_put.default)
def index_put(x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    """Rows at places along one dimension."""
    indexed = [dim for dim, index in enumerate(indices) if index is not None]
    if accumulate or len(indexed) != 1:
        return NotImplemented
    (dim,) = indexed
    place = indices[dim]
    assert place is not None
    if place.dtype is torch.bool or place.dtype is torch.uint8:
        return NotImplemented
    before, after = x.shape[:dim], x.shape[dim + 1 :]
    wrapped = _places([place.reshape([-1])], [x.shape[dim]])
    rows = values.expand([*before, *place.shape, *after]).reshape([*before, place.numel(), *after])
    return index_copy(x, dim, wrapped, rows)


@rule(aten.slice_scatter.default)
def slice_scatter(
    x: Tensor, source: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """What lies before, `source`, what lies behind."""
    dim, extent = dim % x.dim(), x.shape[dim]
    low, high, stride = slice(start, end, step).indices(extent)
    if source.shape[dim] != len(range(low, high, stride)):
        return NotImplemented
    if stride != 1:
        return _scattered(x, source, dim, low, stride)
    parts = [(x, 0, low), (source, 0, high - low), (x, high, extent)]
    kept = [
        part if (begin, finish) == (0, part.shape[dim]) else aten.slice.Tensor(part, dim, begin, finish)
        for part, begin, finish in parts
        if finish > begin
    ]
    return kept[0].clone() if len(kept) == 1 else torch.cat(kept, dim)


def _scattered(x: Tensor, source: Tensor, dim: int, low: int, stride: int) -> Tensor:
    """Each element of `source` before the `stride` - 1 that follow it in x; behind the last there may be fewer."""
    count, extent = source.shape[dim], x.shape[dim]
    blocks = min(count, (extent - low) // stride)
    high = low + blocks * stride
    lead, rest = list(x.shape[:dim]), list(x.shape[dim + 1 :])
    others = aten.slice.Tensor(x, dim, low, high).reshape([*lead, blocks, stride, *rest])
    chosen = aten.slice.Tensor(source, dim, 0, blocks).unsqueeze(dim + 1)
    joined = torch.cat([chosen, aten.slice.Tensor(others, dim + 1, 1, stride)], dim + 1)
    parts = [aten.slice.Tensor(x, dim, 0, low), joined.reshape([*lead, blocks * stride, *rest])]
    if blocks < count:
        parts.append(aten.slice.Tensor(source, dim, blocks, count))
    parts.append(aten.slice.Tensor(x, dim, high + count - blocks, extent))
    return torch.cat([part for part in parts if part.shape[dim]], dim)


@rule(aten.copy.default)
def copy(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    return source.to(x.dtype).expand(x.shape).clone()


@rule(aten.fill.Scalar)
def fill(x: Tensor, value: float) -> Tensor:
    return torch.full(x.shape, value, dtype=x.dtype, device=x.device)


@rule(aten.select_scatter.default)
def select_scatter(x: Tensor, source: Tensor, dim: int, index: int) -> Tensor:
    at = index % x.shape[dim]
    return slice_scatter(x, source.unsqueeze(dim), dim, at, at + 1)


@rule(aten.one_hot.default)
def one_hot(x: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes < 1:
        return NotImplemented
    return (x.unsqueeze(-1) == torch.arange(num_classes, device=x.device)).to(torch.int64)


@rule(aten.roll.default)
def roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    if not dims:
        return roll(x.reshape([-1]), shifts, [0]).view(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        extent = x.shape[dim]
        at = -shift % extent
        if at:
            x = torch.cat([aten.slice.Tensor(x, dim, at, extent), aten.slice.Tensor(x, dim, 0, at)], dim)
    return x


@rule(aten.cumsum.default)
def cumsum(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """A product with a triangle of ones; long rows in blocks, each moved by the sum of those before it."""
    x = x if dtype is None else x.to(dtype)
    if not x.dim():
        return NotImplemented
    if not x.dtype.is_floating_point:
        return _doubled(x.to(torch.int64), dim, operator.add)
    return _scanned(x.transpose(dim, -1)).transpose(dim, -1)


def _doubled(x: Tensor, dim: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Each step doubles how many elements an element is made of."""
    dim, reach = dim % x.dim(), 1
    extent = x.shape[dim]
    while reach < extent:
        combined = combine(aten.slice.Tensor(x, dim, reach, extent), aten.slice.Tensor(x, dim, 0, extent - reach))
        x = torch.cat([aten.slice.Tensor(x, dim, 0, reach), combined], dim)
        reach *= 2
    return x if extent > 1 else x.clone()


def _scanned(x: Tensor) -> Tensor:
    *batch, extent = x.shape
    if extent <= _SCAN_BLOCK:
        triangle = torch.ones([extent, extent], dtype=x.dtype, device=x.device).triu()
        return aten.matmul(x, triangle)
    blocks = -(-extent // _SCAN_BLOCK)
    padded = aten.constant_pad_nd.default(x, [0, blocks * _SCAN_BLOCK - extent], 0.0)
    within = _scanned(padded.reshape([*batch, blocks, _SCAN_BLOCK]))
    totals = aten.select.int(within, -1, _SCAN_BLOCK - 1)
    before = aten.constant_pad_nd.default(_scanned(totals), [1, -1], 0.0)
    joined = (within + before.unsqueeze(-1)).reshape([*batch, blocks * _SCAN_BLOCK])
    return aten.slice.Tensor(joined, -1, 0, extent)


@rule(aten.cumprod.default)
def cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    if not x.dim():
        return NotImplemented
    return _doubled(x if x.dtype.is_floating_point else x.to(torch.int64), dim, operator.mul)


@rule(aten.topk.default)
def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:  # noqa: A002
    """The extreme, k times, each time without those found before, which are farther out than any number.

    Infinite elements at that end count as the largest number of the device, so that they differ from those found.
    """
    if k > _MAX_K or k > x.shape[dim] or not (x.dtype.is_floating_point or x.dtype in INTEGERS):
        return NotImplemented
    dim = dim % x.dim()
    numbers = torch.arange(x.shape[dim], device=x.device).view([-1, *[1] * (x.dim() - dim - 1)])
    find = aten.argmax.default if largest else aten.argmin.default
    rest, nothing = _with_room(x, lowest=largest)
    places: list[Tensor] = []
    for _ in range(k):
        places.append(find(rest, dim, True))
        if len(places) < k:
            rest = aten.where.ScalarSelf(numbers == places[-1], nothing, rest)
    indices = torch.cat(places, dim)
    return aten.gather.default(x, dim, indices), indices


def _with_room(x: Tensor, *, lowest: bool) -> tuple[Tensor, float]:
    """`x` without what is beyond its lowest (or its highest) elements, and that."""
    if x.dtype in INTEGERS:
        least, most = -(2**31), 2**31 - 1
        return (x.clamp(min=least + 1), least) if lowest else (x.clamp(max=most - 1), most)
    most = torch.finfo(torch.bfloat16).max
    return (x.clamp(min=-most), -math.inf) if lowest else (x.clamp(max=most), math.inf)
