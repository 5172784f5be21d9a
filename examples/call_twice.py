"""One compiled program, called twice: compile once, then every call only runs.

python examples/call_twice.py
"""

from __future__ import annotations

import torch
from torch import nn

import atalla_mlir as atalla


def main() -> None:
    model = nn.Softmax(dim=-1)
    program = atalla.compile(model, (torch.zeros(4, 16),))

    # probabilities that BF16 holds exactly, so each row sums to one without rounding
    even = torch.arange(4.0).reshape(4, 1).expand(4, 16)
    sharp = 200 * torch.eye(4, 16)
    for name, x in (("even", even), ("sharp", sharp)):
        y = program(x)
        assert torch.equal(y, model(x)), "the device differs from PyTorch"
        print(f"{name}: shape {tuple(y.shape)}, output sum {y.sum().item():.4f}")


if __name__ == "__main__":
    main()
