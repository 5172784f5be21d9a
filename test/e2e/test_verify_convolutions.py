"""Convolutions, pools and networks of them, each kernel within its error bound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir import zoo
from atalla_mlir.host.program import compile as program_of
from atalla_mlir.host.report import HOST
from atalla_mlir.host.verify import verify


def check(model: nn.Module, *inputs: Tensor) -> None:
    report = verify(model.eval(), inputs)
    assert report.ok, str(report)
    assert report.totals.cosine_f32 > 0.999
    assert not any(op.device == HOST for op in report.ops)


LAYERS = {
    "3x3": (nn.Conv2d(33, 40, 3, padding=1), (1, 33, 9, 9)),
    "first": (nn.Conv2d(3, 40, 7, 2, 3), (1, 3, 20, 20)),
    "first of alexnet": (nn.Conv2d(3, 40, 11, 4, 2), (1, 3, 40, 40)),
    "runs packed into steps": (nn.Conv2d(5, 70, (4, 9), (1, 2), 1), (1, 5, 17, 30)),
    "runs in the pads": (nn.Conv2d(3, 30, 7, 2, 3), (1, 3, 30, 30)),
    "1x1": (nn.Conv2d(40, 33, 1, 2), (2, 40, 7, 7)),
    "dilated": (nn.Conv2d(8, 9, 3, dilation=2, padding="same"), (1, 8, 9, 10)),
    "depthwise": (nn.Conv2d(40, 40, 3, 2, 1, groups=40), (1, 40, 9, 9)),
    "depthwise in chunks as far apart": (nn.Conv2d(80, 80, 3, 2, 1, groups=80), (1, 80, 7, 9)),
    "depthwise with a chunk nearer": (nn.Conv2d(67, 67, 3, padding=1, groups=67), (2, 67, 5, 6)),
    "grouped": (nn.Conv2d(64, 64, 3, padding=1, groups=8), (1, 64, 5, 5)),
    "groups on one line, with a frame": (
        nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, groups=2), nn.MaxPool2d(3, 2, 1)),
        (2, 64, 1, 18),
    ),
    "groups on one column, with a frame": (
        nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, groups=2), nn.Conv2d(64, 40, 3, padding=1)),
        (1, 64, 18, 1),
    ),
    "transposed": (nn.ConvTranspose2d(8, 12, 3, 2, 1, 1), (1, 8, 6, 6)),
    "transposed-column": (nn.ConvTranspose2d(1, 31, 3, (1, 3), 1, (0, 1)), (1, 1, 8, 1)),
    "1d": (nn.Conv1d(8, 12, 3, padding="same"), (2, 8, 20)),
    "max": (nn.MaxPool2d(3, 2, 1), (1, 40, 9, 9)),
    "average of one channel": (nn.AvgPool2d(3, (3, 1), 1, count_include_pad=False), (1, 1, 10, 5)),
    "max of one channel": (nn.MaxPool2d(3, 1, 1), (1, 1, 20, 40)),
    "average": (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (1, 40, 10, 10)),
    "adaptive": (nn.AdaptiveAvgPool2d((3, 4)), (1, 40, 9, 8)),
    "adaptive-max": (nn.AdaptiveMaxPool2d((3, 4)), (2, 8, 7, 6)),
    "transposed-groups": (nn.ConvTranspose2d(8, 8, 3, 2, 1, groups=2, dilation=2), (2, 8, 7, 6)),
    "3x1": (nn.Conv2d(8, 5, (3, 1), (2, 1), (1, 0), dilation=(1, 2)), (2, 8, 7, 6)),
    "columns of one pixel": (nn.Conv2d(1, 1, (3, 1), (2, 1), (0, 1), padding_mode="replicate"), (1, 1, 7, 1)),
    "lines of one pixel": (nn.Conv2d(40, 33, 1, padding=(1, 2), padding_mode="replicate"), (2, 40, 1, 1)),
    "3d": (nn.Conv3d(3, 4, 3, padding=1), (1, 3, 4, 5, 6)),
    "3d depthwise": (nn.Conv3d(40, 40, (2, 3, 2), (1, 2, 1), 1, groups=40), (2, 40, 3, 5, 4)),
    "3d grouped": (nn.Conv3d(66, 70, 2, groups=2), (1, 66, 3, 3, 4)),
    "3d transposed-groups": (nn.ConvTranspose3d(40, 40, 2, 2, groups=40), (1, 40, 2, 3, 2)),
    "instance": (nn.InstanceNorm2d(8, affine=True), (2, 8, 7, 6)),
    "windows in the pads": (nn.Conv2d(64, 33, 3, padding=1), (1, 64, 12, 14)),
    "windows in the pads, strided": (nn.Conv2d(32, 40, (3, 5), (2, 1), 2), (1, 32, 13, 12)),
    "windows in the pads, dilated": (nn.Conv2d(64, 40, 3, padding=3, dilation=(2, 3)), (1, 64, 11, 10)),
    "windows in the pads, two levels of sums": (nn.Conv2d(128, 40, 3, padding=1), (1, 128, 8, 8)),
    "windows in the pads, totals too": (nn.Conv2d(128, 33, 3, padding=1), (1, 128, 14, 14)),
    "shuffle": (nn.PixelShuffle(2), (2, 8, 7, 6)),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_layers(layer: str) -> None:
    module, shape = LAYERS[layer]
    check(module, torch.randn(shape))


FRAMED = {
    "depthwise": (nn.Conv2d(40, 40, 3, padding=1, groups=40), nn.ReLU6()),
    "depthwise 5x5": (nn.Conv2d(40, 40, 5, 2, 2, groups=40), nn.Hardswish()),
    "dilated": (nn.Conv2d(40, 40, 3, padding=2, dilation=2, groups=40),),
    "above and right": (nn.ZeroPad2d((0, 1, 2, 0)), nn.Conv2d(40, 40, 3, 2, groups=40)),
    "left and below": (nn.ConstantPad2d((3, 0, 0, 2), 0.5), nn.Conv2d(40, 40, (2, 4), groups=40)),
    "above": (nn.ZeroPad2d((0, 0, 2, 0)), nn.Conv2d(40, 40, 3, 2, groups=40)),
    "wide": (nn.Conv2d(40, 40, (1, 5), (9, 1), (0, 5), (1, 2), groups=40),),
    "max": (nn.MaxPool2d(3, 2, 1),),
    "average": (nn.AvgPool2d(3, 1, 1),),
}


@pytest.mark.parametrize("size", [(1, 8, 9, 10), (2, 8, 14, 7)])
@pytest.mark.parametrize("layer", FRAMED)
def test_windows_look_at_the_frame_of_an_image_that_nobody_stores(layer: str, size: tuple[int, ...]) -> None:
    report = verify(nn.Sequential(nn.Conv2d(8, 40, 1), nn.ReLU(), *FRAMED[layer]).eval(), (torch.randn(size),))
    assert report.ok, str(report)
    assert [decision["form"] for decision in report.ops[1].decisions] == ["windows"]
    assert len(report.ops) == 2


@pytest.mark.parametrize("scale", [0.01, 0.05, 0.1, 0.2, 0.5, 1.0])
def test_alexnet_small(scale: float) -> None:
    model, inputs = zoo.build("alexnet_small", scale=scale)
    check(model, *inputs)


def test_alexnet_small_in_batches() -> None:
    model, inputs = zoo.build("alexnet_small", scale=0.05, batch=3)
    check(model, *inputs)


def test_pointers_of_deep_loops_fit_in_registers() -> None:
    """The last stage of a residual network: many rows far from each other, below four loops with pointers each."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(512, 512, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.conv(x) + x)

    check(Block(), torch.randn(1, 512, 7, 7))


class Returned(nn.Module):
    """Gives a convolution's result in several forms and orders."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 6, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.conv(x)
        return y, y, x + 1, y.permute(0, 2, 3, 1), y.flatten(1), torch.sigmoid(y)


def test_inputs_and_results_are_stored_channels_innermost() -> None:
    x = torch.randn(2, 5, 7, 6)
    check(Returned(), x)
    entry = program_of(nn.Conv2d(5, 6, 3, padding=1).eval(), (x,), strict=True).loadable.entries[0]
    assert [spec.strides for spec in entry.inputs] == [(5 * 6 * 7, 1, 5 * 6, 5)]
    assert [spec.strides for spec in entry.outputs] == [(6 * 6 * 7, 1, 6 * 6, 6)]


BATCHES = {
    "3x3": (nn.Conv2d(33, 40, 3, padding=1), (3, 33, 9, 9)),
    "footprints": (nn.Conv2d(64, 70, 3, padding=1), (2, 64, 12, 14)),
    "footprints, strided": (nn.Conv2d(32, 40, (3, 5), (2, 1), 2), (3, 32, 13, 12)),
    "two levels of sums": (nn.Conv2d(128, 40, 3, padding=1), (2, 128, 14, 14)),
    "runs packed into steps": (nn.Conv2d(5, 70, (4, 9), (1, 2), 1), (2, 5, 17, 30)),
    "runs in the pads": (nn.Conv2d(3, 30, 7, 2, 3), (2, 3, 30, 30)),
    "1x1": (nn.Conv2d(64, 64, 1, 2), (5, 64, 7, 7)),
    "volumes": (nn.Conv3d(32, 33, (1, 3, 3), padding=(0, 1, 1)), (1, 32, 3, 9, 9)),
}


@pytest.mark.parametrize("layer", BATCHES)
def test_tiles_go_over_the_pictures_of_a_batch(layer: str) -> None:
    module, shape = BATCHES[layer]
    report = verify(module.eval(), (torch.randn(shape),))
    assert report.ok, str(report)
    assert "tiled product" in [decision["form"] for op in report.ops for decision in op.decisions]


def test_a_batch_meets_residuals() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.Conv2d(64, 64, 3, padding=1) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.second(torch.relu(self.first(x))) + x)

    check(Residual(), torch.randn(3, 64, 10, 10))
