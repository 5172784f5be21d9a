"""Products whose columns the array turns in the pads, infinities and NaN included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.host.verify import verify


class Product(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(x @ y)


class Joined(nn.Module):
    def forward(self, x: Tensor, y: Tensor, r: Tensor) -> Tensor:
        return torch.relu(x @ y) + r


SHAPES = {"whole tiles": ((6, 64, 64), (6, 64, 96)), "overlapping tiles": ((2, 2, 70, 64), (2, 2, 64, 72))}


@pytest.mark.parametrize("case", SHAPES)
def test_turned_columns(case: str) -> None:
    generator = torch.Generator().manual_seed(5)
    inputs = tuple(torch.randn(shape, generator=generator) for shape in SHAPES[case])
    report = verify(Product(), inputs)
    assert report.ok, str(report)
    (decision,) = [decision for row in report.ops for decision in row.decisions]
    assert decision["form"] == "flowing product"
    assert decision["facts"]["turned_tiles"] > 0


TILES = {
    "one part": ((88, 96), (96, 129), (88, 129)),
    "a batch": ((2, 70, 160), (2, 160, 167), (2, 70, 167)),
}


@pytest.mark.parametrize("case", TILES)
def test_turned_columns_of_tiles(case: str) -> None:
    generator = torch.Generator().manual_seed(7)
    x, y, r = (torch.randn(shape, generator=generator) for shape in TILES[case])
    y.view(-1)[100] = float("inf")
    report = verify(Joined(), (x, y, r))
    assert report.ok, str(report)
    (decision,) = [decision for row in report.ops for decision in row.decisions]
    assert decision["form"] == "tiled product"
    assert decision["facts"]["turned_tiles"] > 0


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_no_number_stays_in_its_column(value: float) -> None:
    generator = torch.Generator().manual_seed(6)
    x, y = (torch.randn(shape, generator=generator) for shape in SHAPES["whole tiles"])
    y[3, 40, 50] = value
    report = verify(Product(), (x, y))
    assert report.ok, str(report)
