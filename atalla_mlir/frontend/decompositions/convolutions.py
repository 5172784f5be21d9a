"""Decompositions of convolutions: what remains is `aten.convolution` without padding, bias or transposition.

Padding becomes a tensor of its own (which the producer writes straight into), the bias an addition. A transposed
convolution becomes one ordinary convolution for each residue of the output position modulo the stride, so that no
multiplication by an inserted zero is ever done.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.registry import aten, rule

# Lanes of the array: groups that are narrower share them.
_LANES = 32
# Dimensions of images that linalg has convolutions of groups for; groups of volumes are convolutions of their own.
_GROUPED_RANK = 2


@rule(aten.convolution.default)
def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    rank = weight.dim() - 2
    if x.dim() == rank + 1:
        return aten.convolution.default(
            x.unsqueeze(0), weight, bias, stride, padding, dilation, transposed, output_padding, groups
        ).squeeze(0)
    stride, padding, dilation, output_padding = (
        _per_dimension(item, rank) for item in (stride, padding, dilation, output_padding)
    )
    if rank == 1:
        flat = aten.convolution.default(
            x.unsqueeze(2),
            weight.unsqueeze(2),
            bias,
            [1, *stride],
            [0, *padding],
            [1, *dilation],
            transposed,
            [0, *output_padding],
            groups,
        )
        return flat.squeeze(2)
    if bias is not None:
        product = aten.convolution.default(
            x, weight, None, stride, padding, dilation, transposed, output_padding, groups
        )
        return product + bias.view([-1, *[1] * rank])
    if transposed:
        return _transposed(x, weight, stride, padding, dilation, output_padding, groups)
    if any(padding):
        return _plain(padded(x, [(amount, amount) for amount in padding], 0.0), weight, stride, dilation, groups)
    merged = _merged_groups(weight, groups)
    if merged > 1:
        return _plain(x, _block_diagonal(weight, groups, merged), stride, dilation, groups // merged)
    if groups > 1 and rank > _GROUPED_RANK:
        parts = zip(x.chunk(groups, 1), weight.chunk(groups), strict=True)
        return torch.cat([_plain(part, own, stride, dilation, 1) for part, own in parts], 1)
    return NotImplemented


def _plain(x: Tensor, weight: Tensor, stride: Sequence[int], dilation: Sequence[int], groups: int) -> Tensor:
    zeros = [0] * len(stride)
    return aten.convolution.default(x, weight, None, list(stride), zeros, list(dilation), False, zeros, groups)


def _per_dimension(amounts: Sequence[int], rank: int) -> list[int]:
    return list(amounts) * rank if len(amounts) == 1 else list(amounts)


def padded(x: Tensor, amounts: Sequence[tuple[int, int]], value: float) -> Tensor:
    """`x` with (before, after) elements of `value` added to its last dimensions; negative amounts cut off.

    Where all of it is cut off, only `value` is left.
    """
    if not any(itertools.chain(*amounts)):
        return x
    outer, sizes = x.shape[: -len(amounts)], x.shape[-len(amounts) :]
    if any(size <= sum(max(0, -amount) for amount in pair) for size, pair in zip(sizes, amounts, strict=True)):
        whole = [size + sum(pair) for size, pair in zip(sizes, amounts, strict=True)]
        return torch.full([*outer, *whole], value, dtype=x.dtype, device=x.device)
    return aten.constant_pad_nd.default(x, [amount for pair in reversed(amounts) for amount in pair], value)


# Groups


def _merged_groups(weight: Tensor, groups: int) -> int:
    """How many groups become one, with zeros between them, so that narrow groups fill the lanes.

    1 for depthwise convolutions of images, which are windows on the lanes.
    """
    inputs, outputs, rank = weight.shape[1], weight.shape[0] // groups, weight.dim() - 2
    if groups == 1 or (inputs == outputs == 1 and rank <= _GROUPED_RANK):
        return 1
    return max(m for m in range(1, groups + 1) if groups % m == 0 and (m == 1 or m * max(inputs, outputs) <= _LANES))


def _block_diagonal(weight: Tensor, groups: int, merged: int) -> Tensor:
    """The weights of `groups // merged` groups that do what `groups` groups did."""
    inputs, outputs, kernel = weight.shape[1], weight.shape[0] // groups, list(weight.shape[2:])
    ones = [1] * len(kernel)
    blocks = weight.view([groups // merged, merged, outputs, 1, inputs, *kernel])
    diagonal = torch.eye(merged, dtype=torch.bool, device=weight.device).view([1, merged, 1, merged, 1, *ones])
    return torch.where(diagonal, blocks, 0.0).reshape([weight.shape[0], merged * inputs, *kernel])


# Transposition


def _transposed(
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    kernel = weight.shape[2:]
    outputs = [
        (extent - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for extent, s, p, d, k, extra in zip(
            x.shape[2:], stride, padding, dilation, kernel, output_padding, strict=True
        )
    ]
    steps = [-(-extent // s) for extent, s in zip(outputs, stride, strict=True)]
    forward = _exchanged(weight, groups)
    parts = []
    for residues in itertools.product(*(range(s) for s in stride)):
        taps = [
            _taps(k, r + p, s, d) for k, r, p, s, d in zip(kernel, residues, padding, stride, dilation, strict=True)
        ]
        parts.append(_phase(x, forward, taps, steps, groups))
    return _interleaved(parts, stride, steps, outputs)


def _exchanged(weight: Tensor, groups: int) -> Tensor:
    """Weights [in, out / groups, ...] of a transposed convolution as [out, in / groups, ...]."""
    inputs, outputs, *kernel = weight.shape
    split = weight.view([groups, inputs // groups, outputs, *kernel])
    return split.transpose(1, 2).reshape([groups * outputs, inputs // groups, *kernel])


def _taps(kernel: int, shift: int, stride: int, dilation: int) -> list[tuple[int, int]]:
    """(input offset, tap) of all taps that meet outputs whose position plus padding is `shift` modulo the stride."""
    fitting = [k for k in range(kernel) if (shift - k * dilation) % stride == 0]
    return sorted(((shift - k * dilation) // stride, k) for k in fitting)


def _phase(
    x: Tensor, weight: Tensor, taps: Sequence[Sequence[tuple[int, int]]], steps: Sequence[int], groups: int
) -> Tensor:
    """Outputs of one residue in each dimension: a convolution with stride 1 of the taps that meet them."""
    if not all(taps):
        return torch.zeros([x.shape[0], weight.shape[0], *steps], dtype=x.dtype, device=x.device)
    amounts: list[tuple[int, int]] = []
    dilation: list[int] = []
    for dim, (own, length) in enumerate(zip(taps, steps, strict=True), start=2):
        first, last = own[0][0], own[-1][0]
        amounts.append((-first, length + last - x.shape[dim]))
        dilation.append(own[1][0] - first if len(own) > 1 else 1)
        weight = torch.cat([aten.slice.Tensor(weight, dim, k, k + 1) for _, k in own], dim)
    return _plain(padded(x, amounts, 0.0), weight, [1] * len(steps), dilation, groups)


def _interleaved(
    parts: Sequence[Tensor], stride: Sequence[int], steps: Sequence[int], outputs: Sequence[int]
) -> Tensor:
    """One tensor from the outputs of all residues, which are in row-major order of the residues."""
    if len(parts) == 1:
        return parts[0]
    rank = len(stride)
    batch, channels = parts[0].shape[:2]
    stacked = torch.stack(list(parts), 2).view([batch, channels, *stride, *steps])
    order = [0, 1, *(axis for at in range(rank) for axis in (2 + rank + at, 2 + at))]
    whole = stacked.permute(order).reshape([batch, channels, *(s * n for s, n in zip(stride, steps, strict=True))])
    for dim, extent in enumerate(outputs, start=2):
        whole = whole if whole.shape[dim] == extent else aten.slice.Tensor(whole, dim, 0, extent)
    return whole
