"""Copies that turn a matrix are exact for every value but -0, which they may make +0; also where tiles overlap."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import atalla_mlir
from atalla_mlir.testing.random_models import Function

CASES: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "whole tiles": (lambda x: x.t().contiguous(), (96, 128)),
    "overlapping tiles": (lambda x: x.t().contiguous(), (77, 301)),
    "one column of tiles": (lambda x: x.t().contiguous(), (300, 32)),
    "batches": (lambda x: x.transpose(1, 2).contiguous(), (3, 65, 70)),
}


@pytest.mark.parametrize("is_special", [False, True], ids=["numbers", "with infinities and NaN"])
@pytest.mark.parametrize("case", CASES)
def test_turned_copies_are_exact(case: str, is_special: bool) -> None:
    torch.manual_seed(0)
    function, shape = CASES[case]
    x = torch.randn(shape).bfloat16().float()
    if is_special:
        flat = x.view(-1)
        flat[[5, 999, -1]] = torch.tensor([torch.inf, torch.nan, -torch.inf])
    expected = function(x)
    program = atalla_mlir.compile(Function(function), (x,), strict=True)
    found = program(x)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())
