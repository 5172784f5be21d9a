"""Recurrent networks; the loop over time is unrolled when they are captured."""

from __future__ import annotations

import torch
from torch import nn

Built = tuple[nn.Module, tuple[torch.Tensor, ...]]


class Recurrent(nn.Module):
    """An LSTM and a linear layer on its last output."""

    def __init__(self, inputs: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def lstm(
    inputs: int = 64, hidden: int = 64, layers: int = 2, length: int = 8, outputs: int = 10, batch: int = 1
) -> Built:
    """`layers` LSTM layers over a sequence, then a linear layer on the last output."""
    return Recurrent(inputs, hidden, layers, outputs), (torch.randn(batch, length, inputs),)
