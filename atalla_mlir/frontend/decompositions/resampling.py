"""Elements taken at positions that are known: padding with elements of the tensor, and interpolation.

Everything works on one dimension at a time. A list of positions is cut into runs, each of which is a slice, a reversed
slice or a repeated one; an interpolation is the sum of a few such tensors, each times a vector of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.parts import constant_pad
from atalla_mlir.frontend.decompositions.pools import vector
from atalla_mlir.frontend.decompositions.registry import aten, rule

_MOST_SLICES = 8
"""So many elements are moved one by one."""


@dataclass(frozen=True)
class _Run:
    """`length` positions from `start` on, `step` apart, each of them `times` times in a row."""

    start: int
    step: int
    times: int
    length: int

    def of(self, x: Tensor, dim: int) -> Tensor:
        end = self.start + self.step * (self.length - 1)
        low, high = min(self.start, end), max(self.start, end)
        part = aten.slice.Tensor(x, dim, low, high + 1, abs(self.step) or 1)
        if self.step < 0:
            part = reversed_along(part, dim)
        if self.times == 1:
            return part
        wide = [*x.shape[:dim], self.length, self.times, *x.shape[dim + 1 :]]
        return part.unsqueeze(dim + 1).expand(wide).reshape([*wide[:dim], -1, *wide[dim + 2 :]])


def gathered(x: Tensor, dim: int, positions: Sequence[int]) -> Tensor:
    """The elements of `x` at `positions` along `dim`."""
    if list(positions) == list(range(x.shape[dim])):
        return x
    parts = [run.of(x, dim) for run in _runs(positions)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _runs(positions: Sequence[int]) -> list[_Run]:
    runs: list[_Run] = []
    at = 0
    while at < len(positions):
        runs.append(max(_runs_from(positions, at), key=lambda run: (run.length * run.times, -run.times)))
        at += runs[-1].length * runs[-1].times
    return runs


def _runs_from(positions: Sequence[int], at: int) -> list[_Run]:
    """The longest runs of whole repetitions that begin at `at`: one as if nothing repeated, one that repeats."""
    same = next((i for i in range(at, len(positions)) if positions[i] != positions[at]), len(positions)) - at
    found: list[_Run] = []
    for times in {1, same}:
        heads = positions[at::times]
        step = heads[1] - heads[0] if len(heads) > 1 else 0
        step = max(step, -1)  # what is reversed has no gaps, so that few elements behind one another are no run
        fits = [
            positions[at + i * times : at + (i + 1) * times] == [positions[at] + i * step] * times
            for i in range(len(heads))
        ]
        length = fits.index(False) if False in fits else len(fits)
        found.append(_Run(positions[at], step, times, length) if step else _Run(positions[at], 0, times * length, 1))
    return found


def reversed_along(x: Tensor, dim: int) -> Tensor:
    """The last element first: slices when they are few, otherwise a gather."""
    extent = x.shape[dim]
    if extent == 1:
        return x
    if extent <= _MOST_SLICES:
        return torch.cat([aten.slice.Tensor(x, dim, at, at + 1) for at in range(extent - 1, -1, -1)], dim)
    return aten.index_select.default(x, dim, torch.arange(extent - 1, -1, -1, device=x.device))


@rule(aten.flip.default)
def flip(x: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in dims:
        x = reversed_along(x, dim % x.dim())
    return x if dims else x.clone()


# Padding


@rule(aten.pad.default)
def pad(x: Tensor, amounts: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    if mode == "constant":
        return NotImplemented if min(amounts) >= 0 else constant_pad(x, amounts, value or 0.0)
    position = {"reflect": _reflected, "replicate": _replicated, "circular": _circular}[mode]
    for before, after, dim in zip(amounts[::2], amounts[1::2], range(x.dim() - 1, -1, -1), strict=False):
        extent = x.shape[dim]
        x = gathered(x, dim, [position(at, extent) for at in range(-before, extent + after)])
    return x


def _reflected(at: int, extent: int) -> int:
    return -at if at < 0 else 2 * (extent - 1) - at if at >= extent else at


def _replicated(at: int, extent: int) -> int:
    return min(max(at, 0), extent - 1)


def _circular(at: int, extent: int) -> int:
    return at % extent


@rule(aten.reflection_pad1d.default, aten.reflection_pad2d.default, aten.reflection_pad3d.default)
def reflection_pad(x: Tensor, amounts: Sequence[int]) -> Tensor:
    return pad(x, amounts, "reflect")


@rule(aten.replication_pad1d.default, aten.replication_pad2d.default, aten.replication_pad3d.default)
def replication_pad(x: Tensor, amounts: Sequence[int]) -> Tensor:
    return pad(x, amounts, "replicate")


# Interpolation. Positions are computed in float32, as PyTorch does, because they are rounded.

Tap = tuple[list[int], list[float]]
"""Positions along a dimension, and the weight of the element at each."""
Taps = Callable[[int, int, float | None], list[Tap]]
"""Taps for an input extent, an output extent and the scale, when one was given."""


def _resized(x: Tensor, size: Sequence[int], scales: Sequence[float | None], taps: Taps) -> Tensor:
    first = x.dim() - len(size)
    for dim, (extent, scale) in enumerate(zip(size, scales, strict=True), start=first):
        if extent != x.shape[dim] or scale is not None:
            x = _weighted(x, dim, taps(x.shape[dim], extent, scale))
    return x


def _weighted(x: Tensor, dim: int, taps: list[Tap]) -> Tensor:
    total: Tensor | None = None
    for positions, weights in taps:
        if not any(weights):
            continue
        term = gathered(x, dim, positions)
        if set(weights) != {1.0}:
            term = term * vector(x, weights).view([-1, *[1] * (x.dim() - dim - 1)])
        total = term if total is None else total + term
    assert total is not None
    return total


def _ratio(inputs: int, outputs: int, scale: float | None) -> np.float32:
    return np.float32(1 / scale) if scale is not None and scale > 0 else np.float32(inputs) / np.float32(outputs)


def _nearest(shift: float) -> Taps:
    def taps(inputs: int, outputs: int, scale: float | None) -> list[Tap]:
        if outputs in (inputs, 2 * inputs):
            return [([at * inputs // outputs for at in range(outputs)], [1.0] * outputs)]
        ratio = _ratio(inputs, outputs, scale)
        found = [math.floor(np.float32(at + shift) * ratio) for at in range(outputs)]
        return [([min(position, inputs - 1) for position in found], [1.0] * outputs)]

    return taps


def _sources(inputs: int, outputs: int, scale: float | None, *, align_corners: bool) -> list[np.float32]:
    """Where the centre of each output lies between the inputs."""
    if align_corners:
        ratio = np.float32(inputs - 1) / np.float32(outputs - 1) if outputs > 1 else np.float32(0)
        return [ratio * np.float32(at) for at in range(outputs)]
    ratio = _ratio(inputs, outputs, scale)
    return [ratio * np.float32(at + 0.5) - np.float32(0.5) for at in range(outputs)]


def _linear(align_corners: bool) -> Taps:
    def taps(inputs: int, outputs: int, scale: float | None) -> list[Tap]:
        if inputs == outputs:
            return [(list(range(inputs)), [1.0] * inputs)]
        sources = [max(s, np.float32(0)) for s in _sources(inputs, outputs, scale, align_corners=align_corners)]
        first = [min(int(source), inputs - 1) for source in sources]
        second = [min(position + 1, inputs - 1) for position in first]
        shares = [min(float(source) - position, 1.0) for source, position in zip(sources, first, strict=True)]
        return [(first, [1 - share for share in shares]), (second, shares)]

    return taps


def _cubic(align_corners: bool) -> Taps:
    def taps(inputs: int, outputs: int, scale: float | None) -> list[Tap]:
        sources = _sources(inputs, outputs, scale, align_corners=align_corners)
        first = [math.floor(source) for source in sources]
        shares = [float(source) - position for source, position in zip(sources, first, strict=True)]
        return [
            (
                [_replicated(position + offset, inputs) for position in first],
                [_cubic_weight(abs(share - offset)) for share in shares],
            )
            for offset in (-1, 0, 1, 2)
        ]

    return taps


def _cubic_weight(distance: float, a: float = -0.75) -> float:
    """The kernel of cubic convolution, as PyTorch has it."""
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance**2 + 1
    return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a


def _size_of(x: Tensor, size: Sequence[int] | None, factors: Sequence[float] | None) -> list[int]:
    if size is not None:
        return list(size)
    assert factors is not None
    return [int(extent * factor) for extent, factor in zip(x.shape[2:], factors, strict=True)]


def _register_nearest(name: str, shift: float) -> None:
    @rule(getattr(aten, name).default)
    def resize(x: Tensor, size: Sequence[int], *scales: float | None) -> Tensor:
        return _resized(x, size, scales or [None] * len(size), _nearest(shift))

    @rule(getattr(aten, name).vec)
    def resize_by_factors(x: Tensor, size: Sequence[int] | None, factors: Sequence[float] | None) -> Tensor:
        found = _size_of(x, size, factors)
        return _resized(x, found, factors or [None] * len(found), _nearest(shift))


def _register_smooth(name: str, taps_of: Callable[[bool], Taps]) -> None:
    @rule(getattr(aten, name).default)
    def resize(x: Tensor, size: Sequence[int], align_corners: bool, *scales: float | None) -> Tensor:
        return _resized(x, size, scales or [None] * len(size), taps_of(align_corners))

    @rule(getattr(aten, name).vec)
    def resize_by_factors(
        x: Tensor, size: Sequence[int] | None, align_corners: bool, factors: Sequence[float] | None
    ) -> Tensor:
        found = _size_of(x, size, factors)
        return _resized(x, found, factors or [None] * len(found), taps_of(align_corners))


for _rank in (1, 2, 3):
    _register_nearest(f"upsample_nearest{_rank}d", 0.0)
    _register_nearest(f"_upsample_nearest_exact{_rank}d", 0.5)
for _name in ("linear1d", "bilinear2d", "trilinear3d"):
    _register_smooth(f"upsample_{_name}", _linear)
_register_smooth("upsample_bicubic2d", _cubic)
