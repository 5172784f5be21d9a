"""Extents of 1000, a length that is no multiple of anything the machine has, in every place where an extent can be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.host.verify import verify
from atalla_mlir.testing.random_models import Function

CASES: dict[str, tuple[Callable[..., Tensor] | nn.Module, tuple[tuple[int, ...], ...]]] = {
    "depth": (torch.matmul, ((2, 1000), (1000, 5))),
    "columns": (torch.matmul, ((2, 7), (7, 1000))),
    "rows": (torch.matmul, ((1000, 3), (3, 2))),
    "batch": (lambda x: torch.relu(x) + 1, ((1000, 2, 3),)),
    "softmax of rows": (lambda x: torch.softmax(x, -1), ((2, 1000),)),
    "softmax across rows": (lambda x: torch.softmax(x, 0), ((1000, 3),)),
    "sum of everything": (lambda x: x.sum(), ((3, 1000),)),
    "largest across rows": (lambda x: x.amax(0), ((1000, 33),)),
    "layer norm": (nn.LayerNorm(1000), ((2, 1000),)),
}


@pytest.mark.parametrize("case", CASES)
def test_extents_of_a_thousand(case: str) -> None:
    torch.manual_seed(0)
    function, shapes = CASES[case]
    model = function if isinstance(function, nn.Module) else Function(function)
    report = verify(model, tuple(torch.randn(shape) for shape in shapes), strict=True)
    assert report.ok, str(report)
