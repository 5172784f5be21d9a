"""Attention as two products around a softmax."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from atalla_mlir.frontend.decompositions.products import matmul
from atalla_mlir.frontend.decompositions.reductions import softmax
from atalla_mlir.frontend.decompositions.registry import aten, rule


@rule(aten.scaled_dot_product_attention.default)
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
    if enable_gqa and not is_causal and query.shape[-2] == 1 and key.shape[-3] < query.shape[-3]:
        return _of_one_word(query, key, value, attn_mask, scale)
    if enable_gqa:
        key, value = _repeat_heads(key, query), _repeat_heads(value, query)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = matmul(query, key.transpose(-2, -1)) * factor
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        scores = _masked(scores, attn_mask)
    return matmul(softmax(scores, -1), value)


def _of_one_word(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """The queries of one position that share a head of keys and values are rows of one product; no key is hidden."""
    heads, times = key.shape[-3], query.shape[-3] // key.shape[-3]

    def grouped(x: Tensor) -> Tensor:
        return x.reshape([*x.shape[:-3], heads, times, x.shape[-1]])

    if mask is not None and mask.dim() > 2 and mask.shape[-3] > 1:
        mask = grouped(mask)
    mixed = attention(grouped(query), key, value, mask, scale=query.shape[-1] ** -0.5 if scale is None else scale)
    return mixed.reshape([*query.shape[:-1], value.shape[-1]])


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
