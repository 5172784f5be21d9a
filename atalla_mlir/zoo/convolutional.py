"""Convolutional networks with the layouts of the published ones and random weights."""

from __future__ import annotations

import torch
from torch import nn

Built = tuple[nn.Module, tuple[torch.Tensor, ...]]


def _scaled(channels: int, scale: float) -> int:
    return max(1, int(channels * scale))


def alexnet_small(scale: float = 0.1, batch: int = 1) -> Built:
    """AlexNet's layout with 3x3 convolutions on 32x32 images, channels times `scale`."""
    first, second, third, fourth, fifth, wide = (_scaled(c, scale) for c in (64, 192, 384, 256, 256, 4096))
    features = nn.Sequential(
        nn.Conv2d(3, first, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(second, third, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(third, fourth, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(fourth, fifth, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    classifier = nn.Sequential(
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(fifth * 2 * 2, wide),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(wide, wide),
        nn.ReLU(),
        nn.Linear(wide, 10),
    )
    return nn.Sequential(features, classifier), (torch.randn(batch, 3, 32, 32),)


def alexnet(batch: int = 1, size: int = 224, classes: int = 1000, wide: int = 4096, scale: float = 1.0) -> Built:
    """AlexNet: five convolutions of channels times `scale`, three fully connected layers of `wide` features."""
    first, second, third, last = (_scaled(channels, scale) for channels in (64, 192, 384, 256))
    features = nn.Sequential(
        nn.Conv2d(3, first, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(second, third, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(third, last, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(last, last, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )
    classifier = nn.Sequential(
        nn.AdaptiveAvgPool2d((6, 6)),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(last * 6 * 6, wide),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(wide, wide),
        nn.ReLU(),
        nn.Linear(wide, classes),
    )
    return nn.Sequential(features, classifier), (torch.randn(batch, 3, size, size),)


def vgg11(batch: int = 1, size: int = 224, classes: int = 1000, wide: int = 4096, scale: float = 1.0) -> Built:
    """VGG-11: eight 3x3 convolutions of channels times `scale`, three fully connected layers of `wide` features."""
    layers: list[nn.Module] = []
    channels = 3
    for count in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        if not count:
            layers.append(nn.MaxPool2d(2))
            continue
        width = _scaled(count, scale)
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        channels = width
    classifier = nn.Sequential(
        nn.AdaptiveAvgPool2d((7, 7)),
        nn.Flatten(),
        nn.Linear(channels * 7 * 7, wide),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(wide, wide),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(wide, classes),
    )
    return nn.Sequential(*layers, classifier), (torch.randn(batch, 3, size, size),)


class Fire(nn.Module):
    """A 1x1 convolution that narrows, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, inputs: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, narrow, 1)
        self.expand1 = nn.Conv2d(narrow, wide, 1)
        self.expand3 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1(x)), torch.relu(self.expand3(x))], 1)


def squeezenet(batch: int = 1, size: int = 224, classes: int = 1000) -> Built:
    """SqueezeNet 1.1: fire modules and a convolution as classifier."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2),
        nn.ReLU(),
        pool(),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        pool(),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        pool(),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
        nn.Dropout(),
        nn.Conv2d(512, classes, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ), (torch.randn(batch, 3, size, size),)
