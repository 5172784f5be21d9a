"""Queries and keys made by one linear: the scale of their product is a power of two."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class JointProjection(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.joint = nn.Linear(16, 32)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        query, key = self.joint(x).chunk(2, dim=-1)
        return torch.softmax(query @ key.t() * self.factor, dim=-1)


def build(factor: float = 0.25) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return JointProjection(factor), (torch.randn(4, 16),)
