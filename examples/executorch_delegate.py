"""An ExecuTorch program that delegates to the accelerator, run by ExecuTorch's own runtime.

pip install 'atalla-mlir[executorch]'
python examples/executorch_delegate.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import atalla_mlir as atalla
from atalla_mlir import executorch
from atalla_mlir.executorch import runtime


class Folded(nn.Module):
    """A network with one operation in its middle that the accelerator does not have: the remainder of a division."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 48)
        self.norm = nn.LayerNorm(48)
        self.second = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.fmod(x, 0.5)
        return torch.softmax(self.second(x), dim=-1)


def main() -> None:
    torch.manual_seed(0)
    model, inputs = Folded().eval(), (torch.randn(4, 32),)
    lowered = executorch.lower(model, inputs)
    print(lowered.summary)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.pte"
        lowered.save(path)
        (y,) = executorch.run(path, inputs)
    print(f"launches of delegates: {runtime.totals().launches}")
    print(f"same values as the compiled model: {torch.equal(y, atalla.compile(model, inputs)(*inputs))}")


if __name__ == "__main__":
    main()
