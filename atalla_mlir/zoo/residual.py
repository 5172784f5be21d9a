"""Residual networks and inverted residuals, with batch normalisation and random weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

Built = tuple[nn.Module, tuple[torch.Tensor, ...]]


def _normed(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias and a batch normalisation whose statistics are not those of nothing."""
    norm = nn.BatchNorm2d(outputs)
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.1)
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), norm]


class Residual(nn.Module):
    """relu(layers(x) + shortcut(x)); the shortcut is x itself or a 1x1 convolution of it."""

    def __init__(self, layers: Sequence[nn.Module], shortcut: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layers(x) + self.shortcut(x))


def _basic(inputs: int, width: int, stride: int) -> Residual:
    """Two 3x3 convolutions."""
    layers = [*_normed(inputs, width, 3, stride), nn.ReLU(), *_normed(width, width, 3)]
    return Residual(layers, _normed(inputs, width, 1, stride) if stride > 1 or inputs != width else [])


def _bottleneck(inputs: int, width: int, stride: int) -> Residual:
    """A 1x1 convolution that narrows, a 3x3, a 1x1 that widens fourfold."""
    layers = [
        *_normed(inputs, width, 1),
        nn.ReLU(),
        *_normed(width, width, 3, stride),
        nn.ReLU(),
        *_normed(width, 4 * width, 1),
    ]
    return Residual(layers, _normed(inputs, 4 * width, 1, stride) if stride > 1 or inputs != 4 * width else [])


def _resnet(depths: Sequence[int], batch: int, size: int, classes: int, first: int, *, is_deep: bool) -> Built:
    block, growth = (_bottleneck, 4) if is_deep else (_basic, 1)
    layers: list[nn.Module] = [*_normed(3, first, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = first
    for stage, depth in enumerate(depths):
        for at in range(depth):
            width = first << stage
            layers.append(block(channels, width, 2 if stage and not at else 1))
            channels = width * growth
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*layers), (torch.randn(batch, 3, size, size),)


def resnet18(batch: int = 1, size: int = 224, classes: int = 1000, width: int = 64) -> Built:
    """ResNet-18: four stages of two blocks of two 3x3 convolutions; `width` channels in the first."""
    return _resnet((2, 2, 2, 2), batch, size, classes, width, is_deep=False)


def resnet50(batch: int = 1, size: int = 224, classes: int = 1000, width: int = 64) -> Built:
    """ResNet-50: four stages of 3, 4, 6 and 3 bottleneck blocks; `width` channels in the first."""
    return _resnet((3, 4, 6, 3), batch, size, classes, width, is_deep=True)


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a depthwise 3x3, a 1x1 that narrows; with a residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, growth: int) -> None:
        super().__init__()
        wide = inputs * growth
        layers = [*_normed(inputs, wide, 1), nn.ReLU6()] if growth > 1 else []
        layers += [*_normed(wide, wide, 3, stride, wide), nn.ReLU6(), *_normed(wide, outputs, 1)]
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.is_residual else self.layers(x)


def mobilenet_v2(batch: int = 1, size: int = 224, classes: int = 1000, width: float = 1.0) -> Built:
    """MobileNetV2: inverted residuals with depthwise convolutions, channels times `width`."""

    def channels(count: int) -> int:
        return max(8, int(count * width + 4) // 8 * 8)

    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    at = channels(32)
    layers: list[nn.Module] = [*_normed(3, at, 3, 2), nn.ReLU6()]
    for growth, count, repeats, stride in stages:
        for number in range(repeats):
            layers.append(InvertedResidual(at, channels(count), stride if not number else 1, growth))
            at = channels(count)
    layers += [*_normed(at, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(1280, classes)), (torch.randn(batch, 3, size, size),)
