"""Kernels that are loops of steps: with rests of steps, tails of rows, and data that is the same for all rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.host.verify import verify
from atalla_mlir.testing.random_models import Function

Shapes = tuple[tuple[int, ...], ...]


CASES: dict[str, tuple[Callable[..., Tensor] | nn.Module, Shapes]] = {
    "a run": (lambda x: torch.relu(x) * 2, ((70_001,),)),
    "two runs": (torch.add, ((300, 333), (300, 333))),
    "three long runs": (lambda x, y: x * y + 1, ((200_007,), (200_007,))),
    "rest of rows": (lambda x, a, b: x * a + b, ((266, 256), (256,), (256,))),
    "outer product": (lambda x, a: torch.relu(x * a + 1), ((203, 1), (1, 256))),
    "scaled rows": (lambda x, s: torch.softmax(x * s, -1), ((130, 320), (130, 1))),
    "tails of rows": (lambda x, y: x * y, ((333, 65), (333, 1))),
    "sums over columns": (lambda x: (x * x).mean(0), ((1030, 70),)),
    "largest of columns": (lambda x, y: torch.exp((x + y).amax(0) * 0.1), ((300, 333), (300, 333))),
    "softmax with tails": (nn.Softmax(-1), ((66, 299),)),
    "layer norm with tails": (nn.LayerNorm(161), ((70, 161),)),
    "layer norm in parts": (nn.LayerNorm(2048), ((33, 2048),)),
}


@pytest.mark.parametrize("case", CASES)
def test_steps_and_their_rests(case: str) -> None:
    torch.manual_seed(0)
    function, shapes = CASES[case]
    model = function if isinstance(function, nn.Module) else Function(function)
    report = verify(model.eval(), tuple(torch.randn(shape) for shape in shapes), strict=True)
    assert report.ok, str(report)
