"""What a model is made of: capture it, list its operations and where they run, then run it.

python examples/capture_operations.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import atalla_mlir as atalla


class Similarity(nn.Module):
    """relu(x @ y.T): every row of x against every row of y."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(x @ y.T)


class Trace(nn.Module):
    """relu, matmul, softmax."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.softmax(torch.relu(x) @ y, dim=-1)


class Gammas(nn.Module):
    """lgamma + digamma, which the Ax01 does not compute: PyTorch does, and the table says so."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.lgamma(x) + torch.digamma(x)


def show(model: nn.Module, *inputs: Tensor) -> Tensor:
    print(f"--- {type(model).__name__}")
    program = atalla.compile(model, inputs)
    print(program.coverage)
    return program(*inputs)


def main() -> None:
    torch.manual_seed(0)
    print(show(Similarity(), torch.randn(128, 64), torch.randn(128, 64)).shape)
    print(show(Trace(), torch.randn(32, 128), torch.randn(128, 64)).shape)
    print(f"sum {show(Gammas(), torch.linspace(1, 2, 16)).sum().item():.4f}")


if __name__ == "__main__":
    main()
