"""One row times a matrix: the matrix streams through the array, the row's slices are its weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import atalla_mlir as atalla
from atalla_mlir.host.profile import profile_program
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.verify import verify


class Gated(nn.Module):
    """A product whose epilogue takes its result in another shape, and stores both."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(512, 192, bias=False)
        self.scale = nn.Parameter(torch.randn(1, 1, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.linear(x)
        return y, functional.relu(y.view(1, 3, 64) * self.scale)


@pytest.mark.parametrize(
    ("depth", "columns", "bias"),
    [
        (256, 128, False),  # one block of columns, one part of the depth
        (1056, 64, True),  # a slice is left over
        (320, 129, False),  # a block of one column
        (2080, 300, True),  # several blocks, parts of 22 slices; the last block has no columns that come whole
        (1088, 506, False),  # parts of 17 slices; the last block has such columns in some pads and rows
        (2304, 256, True),  # three parts of 24 slices
    ],
)
def test_products_with_one_row_are_within_their_bounds(depth: int, columns: int, bias: bool) -> None:
    torch.manual_seed(depth)
    report = verify(nn.Linear(depth, columns, bias=bias), (torch.randn(1, depth),))
    assert report.ok, str(report)
    assert report.totals.cosine_f32 is not None
    assert report.totals.cosine_f32 > 0.9999


def test_the_epilogue_sees_the_product_in_any_shape() -> None:
    torch.manual_seed(1)
    report = verify(Gated(), (torch.randn(1, 512),))
    assert report.ok, str(report)


def test_infinities_stay_in_their_columns() -> None:
    model = nn.Linear(256, 96, bias=False)
    with torch.no_grad():
        model.weight[5, 40] = torch.inf
        model.weight[95, 255] = torch.nan
        x = torch.rand(1, 256) + 0.5
        found = atalla.compile(model, (x,), engine="reference")(x)
        expected = model(x)
    assert torch.equal(found.isinf(), expected.isinf())
    assert torch.equal(found.isnan(), expected.isnan())


def test_the_matrix_is_read_once_and_nearly_at_full_speed() -> None:
    model = nn.Linear(1024, 512, bias=False).eval()
    program = TorchProgram(atalla.compile(model, (torch.ones(1, 1024),)).loadable)
    totals = profile_program(program, program.initial_values((torch.ones(1, 1024),), {}), name="product").report.totals
    assert totals.compulsory_bytes is not None
    assert totals.timing.cycles is not None
    assert totals.timing.bound_cycles is not None
    assert totals.dram_bytes_loaded + totals.dram_bytes_stored < 1.01 * totals.compulsory_bytes
    assert totals.timing.cycles < 1.25 * totals.timing.bound_cycles
