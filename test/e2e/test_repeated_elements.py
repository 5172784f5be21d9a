"""Elements that are repeated along the lanes, and what is reduced over the rows that they make: upsampled images."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import atalla_mlir
from atalla_mlir.host.verify import verify


class Upsampled(nn.Module):
    """An image with each pixel repeated, lines and pixels turned, and the highest of all pixels."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        larger = functional.interpolate(x, scale_factor=2.0, mode="nearest").transpose(2, 3)
        return larger, larger.amax((2, 3))


class Repeated(nn.Module):
    """Each element of a row three times, and the highest and the sum of each column."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows, columns = x.shape[1:]
        longer = x[..., None].expand(-1, rows, columns, 3).reshape(-1, rows, 3 * columns)
        return longer, longer.amax(1), longer.sum(1)


@pytest.mark.parametrize("model", [Upsampled(), Repeated()], ids=["upsampled", "repeated"])
@pytest.mark.parametrize(("lines", "pixels"), [(1, 4), (3, 4), (7, 4), (14, 9), (40, 33)])
def test_repeated_elements_are_those_of_their_own_line(model: nn.Module, lines: int, pixels: int) -> None:
    shape = (1, 3, lines, pixels) if isinstance(model, Upsampled) else (3, lines, pixels)
    # small integers: BF16 holds these and sums of some of them
    x = torch.randint(-8, 8, shape, generator=torch.Generator().manual_seed(lines)).float()
    for found, wanted in zip(atalla_mlir.compile(model, (x,))(x), model(x), strict=True):
        torch.testing.assert_close(found.float(), wanted, rtol=0, atol=0)
    report = verify(model, (x,))
    assert report.ok, report.summary()
