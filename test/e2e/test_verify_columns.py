"""Operands of which each row has one element: products of depth 1, columns that are added to or scale a matrix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import atalla_mlir as atalla
from atalla_mlir.host.verify import verify


class Function(torch.nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs)


def _beside_a_product(x: torch.Tensor, y: torch.Tensor, *columns: torch.Tensor) -> torch.Tensor:
    """More than 32 columns, but fewer than 64, are straight code, which loads each number once."""
    first, second, third = columns
    return (x @ y.T * first + second) * third


CASES = {
    "outer product": (torch.matmul, (100, 1), (1, 333)),
    "long outer product": (torch.matmul, (1024, 1), (1, 64)),
    "batch of outer products": (torch.bmm, (3, 70, 1), (3, 1, 90)),
    "scaled rows": (lambda x, s: torch.relu(x * s) + x, (4, 50, 96), (4, 50, 1)),
    "two columns": (lambda x, s, t: torch.exp(x - s) * t, (800, 40), (800, 1), (800, 1)),
    "columns beside a product": (_beside_a_product, (96, 96), (49, 96), (96, 1), (96, 1), (96, 1)),
    "columns beside a deep product": (_beside_a_product, (300, 1100), (40, 1100), (300, 1), (300, 1), (300, 1)),
    "reduced rows": (lambda x, s: (x * s).sum(-1), (96, 256), (96, 1)),
    "reduced columns": (lambda x, s: (x * s).sum(0), (128, 64), (128, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_columns_keep_their_bounds(name: str) -> None:
    function, *shapes = CASES[name]
    torch.manual_seed(0)
    report = verify(Function(function), tuple(torch.randn(shape) for shape in shapes), strict=True)
    assert report.ok, report.summary()


def test_an_outer_product_does_not_use_the_array() -> None:
    inputs = (torch.randn(64, 1), torch.randn(1, 96))
    program = atalla.compile(Function(torch.matmul), inputs, strict=True)
    program(*inputs)
    assert program.device.engine.counters.gemm_rows == 0
