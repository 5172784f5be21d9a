"""Depthwise convolutions and pools on the lanes: values within their bounds, each element from DRAM about once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from atalla_mlir.host.verify import verify

MODELS = {
    "tail of channels, batch": (nn.Conv2d(40, 40, 3, 1, 1, groups=40), (2, 40, 9, 11)),
    "lines of several groups": (nn.Conv2d(32, 32, (3, 2), (2, 1), groups=32, bias=False), (1, 32, 7, 41)),
    "lines of several pieces": (nn.MaxPool2d(3, 2), (1, 16, 7, 151)),
    "many taps": (nn.Conv2d(8, 8, 7, 1, 3, groups=8), (1, 8, 9, 9)),
    "gaps in windows": (nn.Conv2d(33, 33, 3, 1, 2, 2, groups=33), (1, 33, 10, 8)),
    "gaps between windows": (nn.AvgPool2d(2, 3), (1, 33, 11, 11)),
    "one dimension": (nn.Conv1d(34, 34, 5, 2, 2, groups=34), (3, 34, 17)),
    "whole images": (nn.AdaptiveAvgPool2d(1), (2, 70, 5, 6)),
}


@pytest.mark.parametrize("name", MODELS)
def test_windows(name: str) -> None:
    model, (batch, channels, *image) = MODELS[name]
    innermost = torch.randn(batch, *image, channels).movedim(-1, 1)
    report = verify(nn.Sequential(model, nn.Hardswish()).eval(), (innermost,))
    assert report.ok, str(report)


def test_traffic() -> None:
    image = torch.randn(1, 24, 24, 64).permute(0, 3, 1, 2)
    report = verify(nn.Conv2d(64, 64, 3, groups=64).eval(), (image,))
    window = report.ops[-1]
    assert report.ok
    assert window.compulsory_bytes is not None
    assert window.dram_bytes_loaded + window.dram_bytes_stored <= 1.15 * window.compulsory_bytes
