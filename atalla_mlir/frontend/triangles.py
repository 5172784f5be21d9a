"""Constants of booleans that are a triangle, as causal masks are: kernels then need not look at them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def triangle(value: Tensor) -> tuple[int, bool] | None:
    """(d, true) if the element of row r and column c is true just where c <= r + d, (d, false) if just where it is not.

    None of other tensors, also of those in which no row has both.
    """
    if value.dtype != torch.bool or value.dim() < 2 or math.prod(value.shape[:-2]) != 1:
        return None
    matrix = value.reshape(value.shape[-2:])
    is_lower = bool(matrix[-1, 0])
    inside = matrix if is_lower else ~matrix
    counts = inside.sum(-1).tolist()
    mixed = next((row for row, count in enumerate(counts) if 0 < count < matrix.shape[1]), None)
    if mixed is None:
        return None
    diagonal = counts[mixed] - 1 - mixed
    return (diagonal, is_lower) if torch.equal(inside, torch.ones_like(inside).tril(diagonal)) else None
