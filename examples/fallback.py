"""A model with an operation that the Ax01 lacks: it runs through PyTorch, in the open, and strict mode refuses it.

python examples/fallback.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import atalla_mlir as atalla
from atalla_mlir.errors import UnsupportedError


class RankedFeatures(nn.Module):
    """A linear layer, the indices that sort its result, and a product with the sorted values."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(32, 32)
        self.head = nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.features(x))
        ranked, _ = torch.sort(features, dim=-1)
        return self.head(ranked)


def main() -> None:
    torch.manual_seed(0)
    model, x = RankedFeatures(), torch.randn(4, 32)
    program = atalla.compile(model, (x,))
    print(program.coverage)

    error = (program(x) - model(x)).abs().max().item()
    print(f"largest difference to PyTorch in float32: {error:.4f}")

    try:
        atalla.compile(model, (x,), strict=True)
    except UnsupportedError as refusal:
        print(f"strict: {refusal}")


if __name__ == "__main__":
    main()
