"""Concatenations whose parts are stored by the kernels that compute them, each part within its error bound."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.host.report import HOST, Report
from atalla_mlir.host.verify import verify


def _check(model: nn.Module, *shapes: Sequence[int]) -> Report:
    torch.manual_seed(0)
    report = verify(model.eval(), tuple(torch.randn(*shape) for shape in shapes))
    assert report.ok, str(report)
    assert report.totals.cosine_f32 > 0.999
    assert not any(op.device == HOST for op in report.ops)
    return report


def _copies(report: Report) -> list[str]:
    """Kernels that do nothing but copy parts."""
    return [op.name for op in report.ops if set(op.aten) == {"aten.cat.default"}]


class Fire(nn.Module):
    """Two convolutions of one image, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.narrow = nn.Conv2d(24, 16, 1), nn.Conv2d(16, 64, 1)
        self.wide, self.last = nn.Conv2d(16, 40, 3, padding=1), nn.Conv2d(104, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return self.last(torch.cat([torch.relu(self.narrow(x)), torch.relu(self.wide(x))], 1))


class Branches(nn.Module):
    """Parts of all kinds: what others read as well, a pool's convolution, the input, one value twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 40, 1), nn.Conv2d(8, 33, 3, padding=1)
        self.pool, self.third = nn.MaxPool2d(3, 1, 1), nn.Conv2d(8, 20, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = self.first(x), torch.relu(self.second(x))
        return torch.cat([first, second, self.third(self.pool(x)), x, second], 1) + 1, first * 2


class Dense(nn.Module):
    """Each layer reads what all layers before it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 1)
        self.layers = nn.ModuleList(nn.Conv2d(32 + 16 * at, 16, 3, padding=1) for at in range(3))

    def forward(self, x: Tensor) -> Tensor:
        found = [self.first(x)]
        for layer in self.layers:
            found.append(layer(torch.relu(torch.cat(found, 1))))
        return torch.cat(found, 1)


class Rows(nn.Module):
    """Along either dimension, of values as they are and turned."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        below = torch.cat([torch.exp(x), torch.tanh(y)], 0)
        return below, torch.cat([x.t() * 2, (y + 1).t()], 1), torch.stack([x.sum(1), x.amax(1)], 1)


class Ends(nn.Module):
    """Parts that are no multiple of 32 wide."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(40, 64), nn.Linear(40, 33)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.relu(self.first(x)), torch.sigmoid(self.second(x))], -1)


def test_both_convolutions_store_into_the_concatenation() -> None:
    report = _check(Fire(), (1, 24, 9, 9))
    assert not _copies(report)
    assert [op.shapes.outputs for op in report.ops[1:3]] == [((1, 64, 9, 9),), ((1, 40, 9, 9),)]


def test_columns_of_products() -> None:
    assert not _copies(_check(Ends(), (5, 40)))


@pytest.mark.parametrize("batch", [1, 2])
def test_parts_of_all_kinds(batch: int) -> None:
    _check(Branches(), (batch, 8, 9, 7))


def test_layers_that_read_all_before() -> None:
    _check(Dense(), (2, 3, 8, 8))


def test_rows_and_columns() -> None:
    _check(Rows(), (6, 40), (3, 40))
