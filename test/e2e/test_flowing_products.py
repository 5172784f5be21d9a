"""Products of two slices in one flow over all tiles, each kernel within its error bound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.host.verify import verify


class Turned(nn.Module):
    """Products of a batch: each part has weights of its own."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(x @ y.transpose(-1, -2))


class Shared(nn.Module):
    """A product of a batch with a row for all rows of a part, and an operand of the result's shape."""

    def forward(self, x: Tensor, y: Tensor, row: Tensor, other: Tensor) -> Tensor:
        return x @ y.transpose(-1, -2) * row + other


CASES = {
    "overlapping blocks of a batch": (Turned(), [(2, 2, 67, 64), (2, 2, 40, 64)]),
    "rows for parts": (Shared(), [(6, 96, 64), (6, 72, 64), (6, 1, 72), (6, 96, 72)]),
    "bias and panels": (nn.Sequential(nn.Linear(64, 200), nn.ReLU()), [(6000, 64)]),
}


@pytest.mark.parametrize("case", CASES)
def test_flows(case: str) -> None:
    model, shapes = CASES[case]
    generator = torch.Generator().manual_seed(5)
    inputs = tuple(torch.randn(shape, generator=generator) for shape in shapes)
    report = verify(model.eval(), inputs, decisions=[{"fix": {"form": "flowing product"}}])
    assert report.ok, str(report)
    assert [decision["form"] for row in report.ops for decision in row.decisions] == ["flowing product"]
