"""Batches of images that stay in the pads between kernels: right values, fewer bytes, equal engines."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import nn

from atalla_mlir.host.verify import verify
from atalla_mlir.testing.kept_values import engines_agree, in_pads, kept_and_apart, moved_bytes, random_windows


class Block(nn.Module):
    """Two convolutions and what enters them, of a ResNet."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        out = channels * stride
        self.first = nn.Conv2d(channels, out, 3, stride, padding=1)
        self.second = nn.Conv2d(out, out, 3, padding=1)
        self.branch = nn.Conv2d(channels, out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.second(self.first(x).relu()) + self.branch(x)).relu()


def _blocks() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), Block(32), Block(32, 2), Block(64))


def _pointwise() -> nn.Module:
    """Windows of one pixel: the lines of all pictures are those of one image."""
    layers = [nn.Conv2d(32, 64, 1), nn.GELU(), nn.Conv2d(64, 96, 1, stride=(2, 1)), nn.ReLU(), nn.Conv2d(96, 32, 1)]
    return nn.Sequential(*layers, nn.Conv2d(32, 64, 1), nn.Conv2d(64, 64, 1))


def _mixed() -> nn.Module:
    """Some kernels have one loop over the lines of all pictures, others one over pictures."""
    return nn.Sequential(
        nn.Conv2d(32, 64, (3, 5), padding=(0, 2)),
        nn.ReLU(),
        nn.Conv2d(64, 64, 1),
        nn.Hardswish(),
        nn.Conv2d(64, 32, 2, stride=(1, 2)),
        nn.ReLU(),
        nn.Conv2d(32, 64, 1),
        nn.Conv2d(64, 128, 3, padding=2, dilation=2),
    )


def _depthwise() -> nn.Module:
    """Windows on the lanes, which read images that are dealt out, in lines of one group and of several."""
    return nn.Sequential(
        nn.Conv2d(32, 64, 1),
        nn.ReLU6(),
        nn.Conv2d(64, 64, 3, padding=1, groups=64),
        nn.Hardswish(),
        nn.Conv2d(64, 32, 1),
        nn.Conv2d(32, 96, 3, padding=1),
        nn.Conv2d(96, 96, 5, stride=2, padding=2, groups=96),
        nn.ReLU6(),
        nn.Conv2d(96, 32, 3, padding=1),
    )


def _pools() -> nn.Module:
    return nn.Sequential(
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.AvgPool2d(2, stride=1),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 2),
    )


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "blocks, two": (_blocks, (2, 3, 13, 11)),
    "blocks, six": (_blocks, (6, 3, 8, 12)),
    "blocks of eight small pictures": (_blocks, (8, 3, 5, 4)),
    "blocks, three": (_blocks, (3, 3, 13, 11)),
    "blocks of five small pictures": (_blocks, (5, 3, 5, 4)),
    "mixed, three": (_mixed, (3, 32, 9, 10)),
    "pointwise": (_pointwise, (4, 32, 6, 7)),
    "pointwise, an odd number": (_pointwise, (3, 32, 10, 9)),
    "mixed": (_mixed, (4, 32, 9, 10)),
    "depthwise": (_depthwise, (4, 32, 8, 12)),
    "depthwise on lines of a prime number of pixels": (_depthwise, (2, 32, 9, 7)),
    "pools": (_pools, (2, 32, 23, 39)),
    "pools, six": (_pools, (6, 32, 13, 12)),
}


@pytest.mark.parametrize("name", CASES)
def test_each_kernel_is_within_its_bound(name: str) -> None:
    make, shape = CASES[name]
    torch.manual_seed(7)
    kept, apart = kept_and_apart(make().eval(), (torch.randn(shape),))
    assert kept.ok, str(kept)
    assert len(in_pads(kept)) >= 3
    assert moved_bytes(kept) < moved_bytes(apart)


@pytest.mark.parametrize(
    ("make", "shape"),
    [(_blocks, (4, 3, 6, 7)), (_blocks, (3, 3, 7, 6)), (_pointwise, (2, 32, 6, 5)), (_depthwise, (2, 32, 6, 8))],
)
def test_both_engines_agree_and_nothing_stays_taken(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    model, x = make().eval(), torch.randn(shape)
    assert engines_agree(model, x)


def test_pictures_of_an_odd_number_have_halves_each() -> None:
    """Windows of several pixels would see lines of two pictures if halves were whole ones; those on the lanes do so."""
    torch.manual_seed(4)
    model = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.MaxPool2d(2))
    report = verify(model.eval(), (torch.randn(3, 32, 6, 6),), images="always", cache=False)
    assert report.ok, str(report)
    assert in_pads(report) == ["result", "operand"]


def _chain(seed: int, pictures: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    """Windows of all kinds, and a block behind them."""
    draw = random.Random(seed)
    channels, lines, pixels = draw.choice((32, 64)), draw.randint(4, 12), draw.randint(4, 12)
    shape = (draw.choice(pictures), channels, lines, pixels)
    layers, channels = random_windows(draw, channels, lines, pixels)
    return nn.Sequential(*layers, Block(channels), nn.Conv2d(channels, 32, 1)), shape


@pytest.mark.parametrize("pictures", [(2, 4, 6), (3, 5)])
@pytest.mark.parametrize("seed", range(4))
def test_random_chains_are_within_their_bounds(seed: int, pictures: tuple[int, ...]) -> None:
    torch.manual_seed(seed)
    model, shape = _chain(seed, pictures)
    kept = verify(model.eval(), (torch.randn(shape),), images="always", cache=False)
    assert kept.ok, str(kept)
    assert in_pads(kept)


def test_a_frame_in_dram_has_room_behind_a_small_product() -> None:
    """Pictures of one pixel a line are no pictures before they have a frame, so the second result stays in DRAM."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.MaxPool2d((1, 2)), nn.Conv2d(64, 128, 1, stride=(2, 1)), nn.GELU(), nn.Conv2d(128, 32, 3, padding=1)
    )
    report = verify(model.eval(), (torch.randn(8, 64, 6, 2),), images="always", cache=False)
    assert report.ok, str(report)
    assert in_pads(report) == ["result", "operand"]
