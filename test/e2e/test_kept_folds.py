"""Folds over the pixels of images that stay in the pads, and what meets the row that they give."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from atalla_mlir.host.report import Report
from atalla_mlir.host.verify import verify
from atalla_mlir.testing.kept_values import engines_agree, in_pads, kept_and_apart, moved_bytes

Fold = Callable[[torch.Tensor], torch.Tensor]


def _mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean((2, 3))


def _sum_of_maps(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.gelu(x).sum((2, 3))


def _square_root_of_mean(x: torch.Tensor) -> torch.Tensor:
    return (x * x).mean((2, 3)).sqrt() * 3.0


class Pooled(nn.Module):
    """A classifier: a convolution, a fold over its pixels, a linear."""

    def __init__(self, fold: Fold, kernel: int = 3, channels: int = 64) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(32, channels, kernel, padding=kernel // 2), nn.Linear(channels, 64)
        self.fold = fold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.fold(self.first(x)))


class Tokens(nn.Module):
    """The rows of a matrix folded as an image of two lines, or of as many as rows."""

    def __init__(self, fold: Fold) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 96), nn.Linear(96, 64)
        self.fold = fold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.fold(self.first(x)))


class Squeezed(nn.Module):
    """A block of squeeze and excite behind a depthwise convolution, and the convolution and residual behind it."""

    def __init__(self, channels: int = 96) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(32, channels, 1), nn.Conv2d(channels, 32, 1)
        self.each = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.squeeze, self.excite = nn.Conv2d(channels, 32, 1), nn.Conv2d(32, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.each(self.first(x).relu()).relu()
        return x + self.last(y * self.excite(self.squeeze(y.mean((2, 3), keepdim=True)).relu()).sigmoid())


class Framed(nn.Module):
    """What has a frame for the next convolution is folded without it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1)
        self.scale = nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        return self.second(x) * self.scale(x.mean((2, 3)))[:, :, None, None]


class Classified(nn.Module):
    """What has a frame for the next convolution is folded without it, and so is what that makes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
        self.last = nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        return self.last(self.second(x).mean((2, 3)) + x.mean((2, 3)))


class Beside(nn.Module):
    """A fold of what is in DRAM while an image is in the pads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(32, 64, 1), nn.Conv2d(64, 32, 1)
        self.scale = nn.Linear(32, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x).relu()
        return self.last(y * self.scale(x.mean((2, 3)))[:, :, None, None])


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "few pixels": (partial(Pooled, _mean), (1, 32, 5, 9), 2),
    "more pixels than straight code takes": (partial(Pooled, _mean), (1, 32, 13, 15), 2),
    "many chunks": (partial(Pooled, _mean, 1, 320), (1, 32, 7, 7), 2),
    "a map of each pixel": (partial(Pooled, _sum_of_maps), (1, 32, 9, 9), 2),
    "maps on both sides": (partial(Pooled, _square_root_of_mean), (1, 32, 15, 12), 2),
    "the largest of rows": (partial(Tokens, partial(torch.amax, dim=0)), (37, 64), 2),
    "the least of many rows": (partial(Tokens, partial(torch.amin, dim=1)), (1, 190, 64), 2),
    "the mean of rows": (partial(Tokens, partial(torch.mean, dim=0)), (150, 64), 2),
    "squeeze and excite": (Squeezed, (1, 32, 9, 10), 5),
    "squeeze and excite of odd lines": (partial(Squeezed, 64), (1, 32, 7, 7), 5),
    "a frame": (Framed, (1, 32, 9, 12), 4),
    "beside an image": (Beside, (1, 32, 8, 6), 3),
    "four pictures": (partial(Pooled, _mean), (4, 32, 5, 9), 2),
    "pictures of more pixels than straight code takes": (partial(Pooled, _mean), (2, 32, 13, 15), 2),
    "maps on both sides, of pictures": (partial(Pooled, _square_root_of_mean, 1), (6, 32, 7, 7), 2),
    "pictures with a frame": (Classified, (4, 32, 9, 12), 4),
}


def _forms(report: Report) -> list[str]:
    return [str(decision["form"]) for row in report.ops for decision in row.decisions]


@pytest.mark.parametrize("name", CASES)
def test_each_kernel_is_within_its_bound(name: str) -> None:
    make, shape, kept = CASES[name]
    torch.manual_seed(11)
    report = verify(make().eval(), (torch.randn(shape),), images="always", cache=False)
    assert report.ok, str(report)
    assert len(in_pads(report)) == kept
    assert ("folds of images" in _forms(report)) == (name != "beside an image")


def test_an_image_is_fetched_neither_for_its_mean_nor_to_be_scaled() -> None:
    torch.manual_seed(12)
    model, inputs = Squeezed().eval(), (torch.randn(1, 32, 14, 14),)
    kept, apart = kept_and_apart(model, inputs)
    image = 2 * 14 * 14 * 96
    moved = [moved_bytes(report) for report in (kept, apart)]
    assert moved[1] - moved[0] >= 5 * image  # stored twice, read for the mean, to be scaled and by the convolution


@pytest.mark.parametrize(
    ("make", "pictures"), [(partial(Pooled, _mean), 1), (Squeezed, 1), (partial(Pooled, _mean), 4)]
)
def test_both_engines_agree(make: Callable[[], nn.Module], pictures: int) -> None:
    torch.manual_seed(13)
    x = torch.randn(pictures, 32, 7, 9)
    assert engines_agree(make().eval(), x)
