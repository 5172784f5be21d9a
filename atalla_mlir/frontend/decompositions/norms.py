"""Normalisations over layers, groups and batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.reductions import mean, moments
from atalla_mlir.frontend.decompositions.registry import aten, rule


@rule(aten.layer_norm.default)
def layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    return native_layer_norm(x, shape, weight, bias, eps)[0]


@rule(aten.native_layer_norm.default)
def native_layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    dims = list(range(x.dim() - len(shape), x.dim()))
    average, centered, variance = moments(x, dims, 0)
    inverse = (variance + eps).rsqrt()
    return _affine(centered * inverse, weight, bias), average, inverse


@rule(aten.rms_norm.default)
def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    dims = list(range(x.dim() - len(shape), x.dim()))
    power = mean(x * x, dims, True)
    floor = torch.finfo(x.dtype).eps if eps is None else eps
    return _affine(x * (power + floor).rsqrt(), weight, None)


@rule(aten.native_group_norm.default)
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
    average, centered, variance = moments(grouped, [2], 0)
    inverse = (variance + eps).rsqrt()
    normal = (centered * inverse).view(x.shape)
    result = _affine(normal, _per_channel(weight, x.dim()), _per_channel(bias, x.dim()))
    return result, average.view([batch, groups]), inverse.view([batch, groups])


@rule(aten.group_norm.default)
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


@rule(aten._native_batch_norm_legit_no_training.default)
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
