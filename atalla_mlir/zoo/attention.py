"""Models around softmax(a @ b)."""

from __future__ import annotations

import torch
from torch import nn


class Attention(nn.Module):
    """Single-head self-attention with query, key, value and output projections."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.scale = dim**-0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.query(x) @ self.key(x).transpose(-2, -1) * self.scale
        return self.output(torch.softmax(scores, dim=-1) @ self.value(x))


def attention(dim: int = 64, length: int = 32, batch: int = 1) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Single-head attention: q, k, v linears, scaled softmax attention, output linear."""
    return Attention(dim), (torch.randn(batch, length, dim),)


class Trace(nn.Module):
    """relu, matmul with the transposed second input, softmax over the last dimension."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.softmax(torch.relu(x) @ y.transpose(-2, -1), dim=-1)


def trace(rows: int = 32, columns: int = 64, inner: int = 64) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """relu, matmul, softmax over the last dimension of two inputs."""
    return Trace(), (torch.randn(rows, inner), torch.randn(columns, inner))
