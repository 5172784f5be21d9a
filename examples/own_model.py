"""A model of your own for the command line: a function that returns the module and example inputs.

atalla-compile examples/own_model.py:build -o own.atalla
atalla-run examples/own_model.py:build --arg width=96 --verify
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GatedBlock(nn.Module):
    """Two projections of which one scales the other, normalized over the features, with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.gate(x), dim=-1)
        mixed = self.value(x) * weights
        return x + mixed - mixed.mean(dim=-1, keepdim=True)


def build(width: int = 48, batch: int = 5) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return GatedBlock(width), (torch.randn(batch, width),)
