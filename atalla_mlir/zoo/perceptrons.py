"""Models made of linear layers."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional


class Basic(nn.Module):
    """`depth` blocks of matmul + bias + relu, a scaled residual on the odd ones, and a final linear layer."""

    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(dim, dim) / dim**0.5) for _ in range(depth)])
        self.biases = nn.ParameterList([nn.Parameter(0.1 * torch.randn(dim)) for _ in range(depth)])
        self.head = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            residual = out
            out = torch.relu(torch.matmul(out, weight) + bias)
            if layer % 2 == 1:
                out = out + 0.5 * residual
        return self.head(out)


def basic(dim: int = 32, depth: int = 2, batch: int = 4) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """matmul + bias + relu blocks with residual, then a linear layer."""
    return Basic(dim, depth), (torch.randn(batch, dim),)


class Mlp(nn.Module):
    """Linear layers with relu between them."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in itertools.pairwise(sizes)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = functional.relu(layer(x))
        return self.layers[-1](x)


def mlp(
    inputs: int = 64, hidden: int = 128, outputs: int = 10, depth: int = 3, batch: int = 4
) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """`depth` linear layers with relu between them."""
    return Mlp((inputs, *[hidden] * (depth - 1), outputs)), (torch.randn(batch, inputs),)
