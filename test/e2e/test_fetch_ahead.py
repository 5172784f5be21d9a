"""Products of one row fetch the first columns of the next one's matrix: values, bounds, and what changes in time."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.compiler import compile_model
from atalla_mlir.host.profile import Profile, profile_program
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.verify import verify
from atalla_mlir.runtime.decisions import decisions_text


class Layers(nn.Module):
    """Linears with norms between them: other kernels run while the first columns of the next matrix are there."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList([nn.Linear(depth, columns, bias=False) for depth, columns in pairwise(sizes)])
        self.norms = nn.ModuleList([nn.RMSNorm(columns) for columns in sizes[1:]])

    def forward(self, x: Tensor) -> Tensor:
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = norm(linear(x))
        return x


class Mixed(nn.Module):
    """A convolution whose image stays in the pads, between products of one row."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(1024, 2048, bias=False), nn.Linear(2048, 512)
        self.image = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.image(self.before(x).view(1, 32, 8, 8)).reshape(1, 2048))


def _profile(model: nn.Module, x: Tensor, *, ahead: bool, engine: str = "auto") -> Profile:
    program = TorchProgram(compile_model(model, (x,), ahead=ahead), engine=engine)
    return profile_program(program, program.initial_values((x,), {}), name="model")


@pytest.mark.parametrize(
    "sizes",
    [
        (1024, 512, 1024),
        (1056, 992, 1056, 506),  # odd numbers of slices, so first slices in both halves; parts of 17 and of 31 slices
        (2048, 128, 4096, 2080),
    ],
)
def test_products_that_fetch_for_one_another_are_within_their_bounds(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(sizes[0])
    report = verify(Layers(*sizes), (torch.randn(1, sizes[0]),))
    assert report.ok, str(report)


def test_images_lie_behind_what_is_fetched_ahead() -> None:
    torch.manual_seed(3)
    model, x = Mixed().eval(), torch.randn(1, 1024)
    loadable = compile_model(model, (x,), images="always")
    kernels = loadable.meta["kernels"]
    assert [row["ahead"]["found_bytes"] > 0 for row in kernels if "ahead" in row] == [False, True]
    bases = [
        value["image"]["base"] for row in kernels for value in (*row["inputs"], *row["outputs"]) if "image" in value
    ]
    assert bases
    assert min(bases) >= 160
    report = verify(model, (x,), images="always")
    assert report.ok, str(report)


def test_the_next_product_begins_sooner_and_nothing_comes_twice() -> None:
    torch.manual_seed(5)
    model, x = Layers(2048, 2048, 2048).eval(), torch.randn(1, 2048)
    alone, ahead = (_profile(model, x, ahead=choice).report for choice in (False, True))
    assert alone.totals.timing.cycles is not None
    assert ahead.totals.timing.cycles is not None
    assert ahead.totals.timing.cycles < alone.totals.timing.cycles
    # but for single elements
    moved = ahead.totals.dram_bytes_loaded - alone.totals.dram_bytes_loaded
    assert abs(moved) < 200
    num_bytes = 4 * (29 + 3 * 32) * 64
    own, other = ([row for row in report.ops if "mm" in row.aten[0]] for report in (alone, ahead))
    compulsory = [
        (row.compulsory_bytes or 0) - (plain.compulsory_bytes or 0) for plain, row in zip(own, other, strict=True)
    ]
    assert compulsory == [num_bytes, -num_bytes]


def test_both_engines_fetch_the_same() -> None:
    torch.manual_seed(7)
    model, x = Layers(1056, 992, 506).eval(), torch.randn(1, 1056)
    native, reference = (_profile(model, x, ahead=True, engine=engine) for engine in ("native", "reference"))
    assert native.report.totals.timing.cycles == reference.report.totals.timing.cycles
    for name, value in native.values.items():
        assert torch.equal(value, reference.values[name])


def test_decisions_say_what_is_fetched_ahead() -> None:
    x = torch.randn(1, 1024)
    text = decisions_text(compile_model(Layers(1024, 512, 1024), (x,)))
    assert "    first columns: fetched for 1 launch, 19,712 bytes" in text
    assert "    first columns: found in 1 launch, 19,712 bytes" in text
    assert "first columns" not in decisions_text(compile_model(Layers(1024, 512, 1024), (x,), ahead=False))
