"""Images and matrices between kernels that stay in the pads: right values, fewer bytes, and no room left taken."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from atalla_mlir.compiler import compile_plan
from atalla_mlir.frontend.capture import capture
from atalla_mlir.frontend.partition import partition
from atalla_mlir.host.verify import verify
from atalla_mlir.testing.kept_values import (
    compile_keeping,
    engines_agree,
    in_pads,
    kept_and_apart,
    moved_bytes,
    random_windows,
)


class Residual(nn.Module):
    """A block of a ResNet, then one that halves the image with a branch of 1x1, then a product of all."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.third = nn.Conv2d(32, 32, 3, padding=1)
        self.halving, self.branch = nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.Conv2d(32, 64, 1, stride=2)
        self.last = nn.Conv2d(64, 32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = (self.third(self.second(x).relu()) + x).relu()
        return self.last((self.halving(x) + self.branch(x)).relu())


def _bottleneck() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(64, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU6(), nn.Conv2d(32, 128, 1)
    )


def _windows() -> nn.Module:
    """Other windows than 3x3, and frames that differ along lines and pixels."""
    return nn.Sequential(
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(64, 32, (1, 3), padding=(0, 1)),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(32, 32, (3, 2), stride=(1, 2), padding=(1, 0)),
        nn.ReLU(),
        nn.Conv2d(32, 64, (2, 1)),
    )


def _pools() -> nn.Module:
    """Windows on the lanes between convolutions: their results are images, in lines of one group and of several."""
    return nn.Sequential(
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.AvgPool2d(2, stride=1),
        nn.ReLU(),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.ReLU6(),
        nn.Conv2d(32, 64, (3, 1), stride=2),
    )


def _depthwise() -> nn.Module:
    """Windows of which several are computed at once: the last group of a line of few pixels is smaller."""
    layers = [nn.Conv2d(64, 64, size, padding=size // 2, groups=64) for size in (3, 5)]
    return nn.Sequential(layers[0], nn.Hardswish(), nn.Conv2d(64, 64, 1), layers[1], nn.SiLU(), nn.Conv2d(64, 32, 1))


def _shared_line() -> nn.Module:
    """A first product whose tiles have all lines, the odd one of both halves first, but not all pixels."""
    return nn.Sequential(nn.Conv2d(32, 64, 1), nn.ReLU(), *(nn.Conv2d(64, 64, 3, padding=1) for _ in range(2)))


def _deep() -> nn.Module:
    """More than one slice of channels and several blocks of columns."""
    return nn.Sequential(
        nn.Conv2d(64, 96, 3, padding=1), nn.ReLU(), nn.Conv2d(96, 128, 1), nn.ReLU(), nn.Conv2d(128, 64, 3, padding=1)
    )


def _stem() -> nn.Module:
    """Runs of three channels, the pool that reads them from the pads, and what reads that from there."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, stride=2, padding=3),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.AvgPool2d(2),
    )


class Normed(nn.Module):
    """Linears, each behind a norm of its rows, with residuals; the last map meets two matrices."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList([nn.Linear(width, width) for _ in range(4)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second, *last = self.linears
        x = first(x)
        x = second(self.norms[0](x)) + x
        x = self.norms[1](x)
        return last[0](x) * last[1](x)


class NormedImage(nn.Module):
    """Pixels normed along their channels between convolutions, the second of which has a frame to be stored."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(32, 96, 3, padding=1), nn.Conv2d(96, 32, kernel, padding=kernel // 2)
        self.norm = nn.LayerNorm(96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.norm(self.first(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def _linears(*widths: int) -> nn.Module:
    """Which are kernels of two products each, and one that is left."""
    layers = [layer for sizes in itertools.pairwise(widths) for layer in (nn.Linear(*sizes), nn.GELU())]
    return nn.Sequential(*layers[:-1])


def _small_image() -> nn.Module:
    """Images of one block of rows: windows of more steps than are summed in sequence, and columns of one block."""
    widths = (64, 128, 96, 32)
    layers = [nn.Conv2d(*sizes, 3, padding=1) for sizes in itertools.pairwise(widths)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU6(), layers[2])


def _long_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.LayerNorm(128), nn.Linear(128, 32))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (1, 32, 18, 20)),
    "odd lines and pixels": (Residual, (1, 32, 13, 11)),
    "few lines": (Residual, (1, 32, 5, 23)),
    "bottleneck": (_bottleneck, (1, 64, 10, 17)),
    "windows": (_windows, (1, 32, 11, 12)),
    "pools": (_pools, (1, 64, 23, 39)),
    "pools of few lines": (_pools, (1, 64, 13, 24)),
    "windows on lines of a prime number of pixels": (_depthwise, (1, 64, 9, 7)),
    "a line of both halves in two blocks": (_shared_line, (1, 32, 5, 20)),
    "deep": (_deep, (1, 64, 14, 14)),
    "stem": (_stem, (1, 3, 64, 48)),
    "one block of rows": (_small_image, (1, 64, 7, 7)),
    "one block of few rows": (_small_image, (1, 64, 3, 5)),
    "one block of a matrix, whose tiles are joined": (partial(Normed, 288), (64, 288)),
    "one block of a matrix of many rows": (partial(Normed, 288), (98, 288)),
    "linears": (partial(_linears, 96, 64, 160, 32, 64, 96, 32, 64), (36, 96)),
    "norms": (partial(Normed, 96), (1, 30, 96)),
    "norms of two parts": (partial(Normed, 64), (2, 9, 64)),
    "norms of an odd number of rows": (partial(Normed, 64), (33, 64)),
    "norms of long rows": (partial(Normed, 256), (130, 256)),
    "norms of an image": (partial(NormedImage, 1), (1, 32, 13, 16)),
    "norms of an image with a frame": (partial(NormedImage, 3), (1, 32, 7, 9)),
}


@pytest.mark.parametrize("name", CASES)
def test_each_kernel_is_within_its_bound(name: str) -> None:
    make, shape = CASES[name]
    torch.manual_seed(7)
    model, inputs = make().eval(), (torch.randn(shape),)
    kept, apart = kept_and_apart(model, inputs)
    assert kept.ok, str(kept)
    assert len(in_pads(kept)) >= 3
    assert not in_pads(apart)
    assert moved_bytes(kept) < moved_bytes(apart)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (Residual, (1, 32, 9, 8)),
        (_stem, (1, 3, 32, 32)),
        (_small_image, (1, 64, 7, 7)),
        (partial(Normed, 64), (10, 64)),
        (partial(Normed, 256), (60, 256)),
        (_long_norm, (128, 64)),
    ],
)
def test_both_engines_agree_and_nothing_stays_taken(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    model, x = make().eval(), torch.randn(shape)
    assert engines_agree(model, x)


def _chain(seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """Convolutions, of all channels or of each, and pools, with any windows, on images of whole slices."""
    draw = random.Random(seed)
    channels, lines, pixels = draw.choice((32, 64)), draw.randint(7, 16), draw.randint(7, 20)
    shape = (1, channels, lines, pixels)
    layers, channels = random_windows(draw, channels, lines, pixels)
    return nn.Sequential(*layers, nn.Conv2d(channels, 32, 1)), shape


@pytest.mark.parametrize("seed", range(4))
def test_random_chains_are_within_their_bounds(seed: int) -> None:
    torch.manual_seed(seed)
    model, shape = _chain(seed)
    kept = verify(model.eval(), (torch.randn(shape),), images="always", cache=False)
    assert kept.ok, str(kept)
    assert in_pads(kept)


def _matrices(seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """Linears, norms and maps on any number of rows."""
    draw = random.Random(seed)
    rows, width = draw.randint(4, 180), 32 * draw.randint(1, 9)
    layers, shape = list[nn.Module](), (rows, width)
    for _ in range(5):
        wider = 32 * draw.randint(1, 9)
        kind = draw.choice(("linear", "norm", "softmax", "both"))
        if kind in ("norm", "both"):
            layers.append(nn.LayerNorm(width))
        if kind == "softmax":
            layers.append(nn.Softmax(-1))
        layers += [nn.Linear(width, wider), draw.choice((nn.Identity(), nn.ReLU(), nn.GELU(), nn.Hardswish()))]
        width = wider
    return nn.Sequential(*layers), shape


@pytest.mark.parametrize("seed", range(4))
def test_random_matrices_are_within_their_bounds(seed: int) -> None:
    torch.manual_seed(seed)
    model, shape = _matrices(seed)
    kept = verify(model.eval(), (torch.randn(shape),), images="always", cache=False)
    assert kept.ok, str(kept)
    assert in_pads(kept)


def test_what_a_pool_reads_may_be_written_over_by_its_result() -> None:
    """The images of both do not fit side by side: 6,496 of 8,192 rows in each pad, and 3,480 in two of them."""
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1), nn.Conv2d(64, 32, 3, padding=1)
    )
    report = verify(model.eval(), (torch.randn(1, 3, 112, 112),), images="always", cache=False)
    assert report.ok, str(report)
    assert in_pads(report) == ["result", "operand, result", "operand"]


@pytest.mark.parametrize("shape", [(1, 32, 7, 18), (1, 32, 9, 5)])
def test_a_map_of_an_odd_number_of_lines_may_go_to_dram(shape: tuple[int, ...]) -> None:
    """Each half is stored by itself; both have the line in the middle."""
    torch.manual_seed(6)
    model = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.AvgPool2d(1))
    report = verify(model.eval(), (torch.randn(shape),), images="always", cache=False)
    assert report.ok, str(report)
    assert in_pads(report) == ["result", "operand"]


def test_values_that_stay_in_the_pads_take_no_room_in_dram() -> None:
    torch.manual_seed(3)
    inputs = (torch.randn(1, 32, 18, 20),)
    model = Residual().eval()
    kept = compile_keeping(model, inputs)
    apart = compile_plan(partition(capture(model, inputs)), images="never", cache=False)
    images = [row for kernel in kept.meta["kernels"] for row in kernel["outputs"] if "image" in row]
    assert len(images) >= 3
    assert all(row["address"] == 0 for row in images)
    assert kept.dram_size < apart.dram_size
