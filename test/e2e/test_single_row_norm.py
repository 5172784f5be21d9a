"""The norm of one row whose squares another kernel has made: what a decoding step does after each residual."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import atalla_mlir
from atalla_mlir.host.profile import profile_program
from atalla_mlir.host.verify import verify


class NormOfSquares(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor, squares: Tensor) -> Tensor:
        return x * torch.rsqrt(squares.mean(-1, keepdim=True) + 1e-5) * self.weight


def test_sum_and_scaled_row_share_the_lanes() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(1, 1, 1024), torch.rand(1, 1, 1024)
    model = NormOfSquares(1024)
    assert verify(model, inputs).totals.ok
    program = atalla_mlir.compile(model, inputs)
    (op,) = profile_program(program, program.initial_values(inputs, {}), name="norm").report.ops
    assert op.timing.cycles is not None
    # elements that are rows of one take ten times as long
    assert op.timing.cycles < 3000
