"""Products one slice deep, whose weights stay in the array, each kernel within its error bound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import atalla_mlir as atalla
from atalla_mlir.host.profile import profile_program
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.verify import verify


class Turned(nn.Module):
    """Products of a batch: each part has weights of its own."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(x @ y.transpose(-1, -2))


class Both(nn.Module):
    """A product that leaves the kernel before and after its maps."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(20, 50)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.linear(x)
        return y, torch.sigmoid(y) * y


CASES = {
    "overlapping groups and columns": (nn.Conv2d(24, 40, 1), [(1, 24, 13, 13)]),
    "lines with a border": (nn.Sequential(nn.Conv2d(16, 70, 1), nn.ReLU6(), nn.ZeroPad2d(1)), [(1, 16, 19, 21)]),
    "stride": (nn.Conv2d(32, 64, 1, 2, bias=False), [(1, 32, 23, 23)]),
    "images": (nn.Sequential(nn.Conv2d(8, 12, 1), nn.ZeroPad2d((0, 1, 2, 0))), [(3, 8, 9, 11)]),
    "groups": (nn.Conv2d(64, 96, 1, groups=2), [(1, 64, 12, 12)]),
    "batch": (Turned(), [(3, 130, 20), (3, 50, 20)]),
    "windows of few channels": (nn.Sequential(nn.Conv2d(3, 40, 3, 2), nn.ReLU6()), [(1, 3, 39, 41)]),
    "windows of one channel": (nn.Conv2d(1, 8, 5), [(1, 1, 22, 20)]),
    "two results": (Both(), [(300, 20)]),
    "panels": (nn.Linear(4, 40), [(33_000, 4)]),
}


@pytest.mark.parametrize("case", CASES)
def test_streams(case: str) -> None:
    model, shapes = CASES[case]
    generator = torch.Generator().manual_seed(5)
    report = verify(model.eval(), tuple(torch.randn(shape, generator=generator) for shape in shapes))
    assert report.ok, str(report)


def test_one_slice_is_near_its_bound() -> None:
    model, x = nn.Conv2d(32, 16, 1).eval(), torch.ones(1, 32, 80, 80)
    program = TorchProgram(atalla.compile(model, (x,)).loadable)
    totals = profile_program(program, program.initial_values((x,), {}), name="product").report.totals
    assert totals.compulsory_bytes is not None
    assert totals.timing.cycles is not None
    assert totals.timing.bound_cycles is not None
    assert totals.dram_bytes_loaded + totals.dram_bytes_stored < 1.02 * totals.compulsory_bytes
    assert totals.timing.cycles < 1.4 * totals.timing.bound_cycles
