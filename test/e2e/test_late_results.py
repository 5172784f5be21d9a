"""Tiles whose rows are finished beside the steps of the following tile, each kernel within its error bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from atalla_mlir.compiler import compile_model
from atalla_mlir.host.verify import verify
from atalla_mlir.runtime.program import Program

LATE = "beside the next tile"


class Scaled(nn.Module):
    """A row that all rows of a tile meet behind the activation."""

    def __init__(self, depth: int, columns: int) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(depth, columns), nn.Parameter(torch.rand(columns))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(self.linear(x)) * self.scale


class Both(nn.Module):
    """Two results of one product."""

    def __init__(self, depth: int, columns: int) -> None:
        super().__init__()
        self.linear = nn.Linear(depth, columns)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.linear(x)
        return y, nn.functional.gelu(y, approximate="tanh")


CASES = {
    "a row of each pad is left": (nn.Sequential(nn.Linear(768, 1024), nn.GELU()), (99, 768)),
    "all rows have a step": (nn.Sequential(nn.Linear(800, 1024), nn.GELU()), (96, 800)),
    "overlapping blocks": (nn.Sequential(nn.Linear(832, 520), nn.GELU(approximate="tanh")), (197, 832)),
    "some rows in a step": (nn.Sequential(nn.Linear(416, 992), nn.GELU()), (100, 416)),
    "rows of columns": (Scaled(800, 512), (291, 800)),
    "a batch": (nn.Sequential(nn.Linear(768, 480), nn.GELU()), (3, 100, 768)),
}


def inputs_of(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("case", CASES)
def test_rows_of_a_tile_are_finished_beside_the_next_one(case: str) -> None:
    model, shape = CASES[case]
    report = verify(model.eval(), (inputs_of(shape),))
    assert report.ok, str(report)
    assert [decision["facts"]["epilogue"] for row in report.ops for decision in row.decisions] == [LATE]


def test_several_results_of_a_tile() -> None:
    report = verify(Both(768, 256).eval(), (inputs_of((99, 768)),))
    assert report.ok, str(report)


def test_several_panels() -> None:
    model = nn.Sequential(nn.Linear(800, 1024), nn.GELU()).eval()
    fixed = {"stays": "columns", "panel_blocks": 16, "width": 96}
    report = verify(model, (inputs_of((288, 800)),), decisions=[{"fix": fixed}])
    assert report.ok, str(report)
    (facts,) = (decision["facts"] for row in report.ops for decision in row.decisions)
    assert facts["epilogue"] == LATE
    assert facts["panels"] > 1


def test_both_engines_give_the_same_bytes() -> None:
    model, x = nn.Sequential(nn.Linear(384, 768), nn.GELU()).eval(), inputs_of((96, 384))
    assert [decision["facts"]["epilogue"] for row in verify(model, (x,)).ops for decision in row.decisions] == [LATE]
    loadable = compile_model(model, (x,))
    native, reference = (
        Program(loadable, engine=engine).run_entry(loadable.entries[0].name, [x.numpy()])[0]
        for engine in ("native", "reference")
    )
    assert np.array_equal(native, reference)
