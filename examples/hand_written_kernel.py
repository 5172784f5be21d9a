"""A kernel written in assembly, called from a model like any operation and verified against its reference.

atalla-run examples/hand_written_kernel.py:build --verify
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import atalla_mlir as atalla


@atalla.assembly_operation(Path(__file__).parent / "kernels" / "gated.s")
def gated(gate: Tensor, value: Tensor, scale: float) -> Tensor:
    """What the kernel computes; on the CPU this runs instead of it."""
    return torch.relu(gate).square() * value * scale


class Block(nn.Module):
    """A gated feed-forward block."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden)
        self.value = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(gated(self.gate(x), self.value(x), 0.5))


def build(width: int = 64, hidden: int = 96, rows: int = 40) -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return Block(width, hidden), (torch.randn(rows, width),)


def main() -> None:
    model, (x,) = build()
    program = atalla.compile(model, (x,))
    for kernel in program.kernels:
        print(f"{kernel['function']}: {', '.join(kernel['aten'])}")
    print(atalla.verify(model, (x,)))


if __name__ == "__main__":
    main()
