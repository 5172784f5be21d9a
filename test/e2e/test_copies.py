"""Copies that only transfers make: exact for every value, wherever rows begin and however many there are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.compiler import compile_plan
from atalla_mlir.frontend.capture import capture
from atalla_mlir.frontend.partition import partition
from atalla_mlir.loadable.format import Loadable
from atalla_mlir.runtime.program import Program
from atalla_mlir.testing.random_models import Function

CASES: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "part of a row": (lambda x: x[:, 5:101].contiguous(), (50, 133)),
    "rows that are joined": (lambda x: torch.cat([x, x], dim=-1), (70, 45)),
    "all elements": (lambda x: torch.cat([x, x], dim=0), (96, 64)),
    "few long rows": (lambda x: torch.cat([x, x], dim=-1), (3, 2048)),
    "dimensions that change places": (lambda x: x.permute(1, 0, 2).contiguous(), (6, 35, 40)),
    "narrow rows": (lambda x: x.permute(1, 0, 2).contiguous(), (3, 7, 5)),
    "a frame": (lambda x: nn.functional.pad(x, (3, 2, 1, 4)), (1, 3, 20, 40)),
}


def _compiled(case: str) -> tuple[Loadable, Tensor, Tensor]:
    torch.manual_seed(0)
    function, shape = CASES[case]
    x = torch.randn(shape).bfloat16().float()
    x.view(-1)[[5, 77, -1]] = torch.tensor([torch.inf, torch.nan, -torch.inf])
    return compile_plan(partition(capture(Function(function), (x,))), cache=False), x, function(x)


@pytest.mark.parametrize("case", CASES)
def test_copies_are_exact_on_both_engines(case: str) -> None:
    loadable, x, expected = _compiled(case)
    forms = [row["form"] for kernel in loadable.meta["kernels"] for row in kernel["decisions"]]
    assert "copy" in forms
    cycles = set[int]()
    for engine in ("native", "reference"):
        program = Program(loadable, engine=engine, timing=True)
        (found,) = program.run_entry(loadable.entries[0].name, [x.numpy()])
        np.testing.assert_array_equal(found, expected.numpy())
        cycles.add(program.engine.counters.cycles or 0)
    assert len(cycles) == 1
