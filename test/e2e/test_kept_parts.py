"""Concatenations that stay in the pads: several kernels store slices of one image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from atalla_mlir.host.verify import verify
from atalla_mlir.testing.kept_values import engines_agree, in_pads, kept_and_apart, moved_bytes


class Fire(nn.Module):
    """A block of SqueezeNet: two convolutions of one image, whose results lie behind each other."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.one, self.three = nn.Conv2d(squeezed, expanded, 1), nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.one(x).relu(), self.three(x).relu()], 1)


class Branches(nn.Module):
    """Three parts of different sizes, and the mean of all of them beside the convolution that reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Conv2d(64, channels, 1) for channels in (32, 96, 64))
        self.last, self.scale = nn.Conv2d(192, 32, 1), nn.Linear(192, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([part(x).relu() for part in self.parts], 1)
        return self.last(x) * self.scale(x.mean((2, 3)))[:, :, None, None]


class Sliced(nn.Module):
    """A residual that is the last slice of an image, and others that are the first ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(32, 96, 1), nn.Conv2d(96, 32, 1)
        self.third, self.last = nn.Conv2d(32, 64, 1), nn.Conv2d(64, 32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        y = self.second(x) + x[:, 64:]
        return self.last(self.third(y) + x[:, :64])


def _fires() -> nn.Module:
    return nn.Sequential(Fire(32, 64, 64), Fire(128, 32, 96), nn.Conv2d(192, 32, 1))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "fires": (_fires, (1, 32, 10, 14), 7),
    "fires of odd lines": (_fires, (1, 32, 9, 7), 7),
    "three parts": (Branches, (1, 64, 8, 9), 6),
    "three parts of odd lines": (Branches, (1, 64, 5, 6), 6),
    "slices as residuals": (Sliced, (1, 32, 7, 10), 3),
}


@pytest.mark.parametrize("name", CASES)
def test_each_kernel_is_within_its_bound(name: str) -> None:
    make, shape, kept = CASES[name]
    torch.manual_seed(17)
    report = verify(make().eval(), (torch.randn(shape),), images="always", cache=False)
    assert report.ok, str(report)
    assert len(in_pads(report)) == kept, in_pads(report)


def test_a_concatenation_goes_through_no_dram() -> None:
    torch.manual_seed(18)
    inputs = (torch.randn(1, 32, 12, 12),)
    model = nn.Sequential(Fire(32, 32, 64), nn.Conv2d(128, 32, 1)).eval()
    kept, apart = kept_and_apart(model, inputs)
    moved = [moved_bytes(report) for report in (kept, apart)]
    squeezed, whole = 2 * 14 * 14 * 32, 2 * 12 * 12 * 128
    assert moved[1] - moved[0] >= squeezed + 2 * whole


@pytest.mark.parametrize("make", [_fires, partial(nn.Sequential, Fire(32, 32, 32), Branches())])
def test_both_engines_agree(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(19)
    x = torch.randn(1, 32, 7, 8)
    assert engines_agree(make().eval(), x)
