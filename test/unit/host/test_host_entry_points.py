"""Programs with several entry points: which one a call runs, what they share, and what they say when none fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import atalla_mlir as atalla
from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.entry_points import plan_entries
from atalla_mlir.host.verify import verify_program
from atalla_mlir.runtime.program import Program


class Pair(nn.Module):
    """A product; the other method has a host step, keywords and a constant among its results."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def ranked(self, x: Tensor, *, scale: float) -> dict[str, object]:
        return {"order": torch.sort(self.layer(x) * scale, dim=-1).values, "n": 3}


MODEL = Pair()
ONE, MANY = torch.randn(1, 16), torch.randn(5, 16)
ENTRIES = {
    "one": atalla.EntryPoint((ONE,)),
    "many": atalla.EntryPoint((MANY,)),
    "ranked": atalla.EntryPoint((MANY,), {"scale": 2.0}, "ranked"),
}


@pytest.fixture(scope="module")
def program() -> atalla.Program:
    return atalla.compile(MODEL, entries=ENTRIES, engine="reference")


def test_a_call_runs_the_entry_point_that_takes_its_arguments(program: atalla.Program) -> None:
    for x in (ONE, MANY):
        assert torch.equal(program(x), atalla.compile(MODEL, (x,), engine="reference")(x))
    ranked = program(MANY, scale=2.0)
    assert ranked["n"] == 3
    torch.testing.assert_close(ranked["order"], MODEL.ranked(MANY, scale=2.0)["order"], rtol=2e-2, atol=2e-2)


def test_an_entry_point_by_name_is_a_program(program: atalla.Program) -> None:
    many = program.entry("many")
    assert torch.equal(many(MANY), program(MANY))
    assert [str(spec) for spec in many.inputs] == ["x: float32[5, 16]"]
    assert many.coverage.host_operations == ()
    assert [op.aten for op in program.coverage.host_operations] == ["aten.sort.default"]
    assert many.device is program.device
    assert repr(program).startswith("<atalla program for ax01: 3 entry points, on ax01: ")
    with pytest.raises(BadInputError) as error:
        program.entry("two")
    assert str(error.value) == "the program has no entry point 'two'; there are one, many, ranked"


def test_no_entry_point_fits(program: atalla.Program) -> None:
    with pytest.raises(BadInputError) as error:
        program(torch.ones(2, 16))
    assert str(error.value) == (
        "no entry point takes float32[2, 16]; the program was compiled for:"
        "\n  one(x: f32[1, 16])\n  many(x: f32[5, 16])\n  ranked(x: f32[5, 16])"
    )
    with pytest.raises(BadInputError, match=r"^no entry point takes float32\[5, 16\], 3.0; "):
        program(MANY, scale=3.0)


def test_several_entry_points_fit() -> None:
    program = atalla.compile(nn.ReLU(), entries={"a": (ONE,), "b": (ONE,)}, engine="reference")
    with pytest.raises(BadInputError) as error:
        program(ONE)
    assert str(error.value) == (
        "several entry points take float32[1, 16]; choose one by its name:"
        "\n  a(input: f32[1, 16])\n  b(input: f32[1, 16])"
    )


def test_what_speaks_of_one_entry_point_wants_its_name(program: atalla.Program) -> None:
    with pytest.raises(BadInputError) as error:
        program.run({})
    assert str(error.value) == "the program has several entry points; choose one of one, many, ranked with entry()"


def test_saved_and_run_without_torch(program: atalla.Program, tmp_path: Path) -> None:
    path = tmp_path / "pair.atalla"
    program.save(path)
    assert torch.equal(atalla.load(path, engine="reference")(ONE), program(ONE))
    numpy_program = Program.load(path, engine="reference")
    by_shape = numpy_program.run({"x": ONE.numpy()})
    by_name = numpy_program.run({"x": ONE.numpy()}, entry_point="one")
    assert [np.array_equal(value, program(ONE).numpy()) for value in (*by_shape.values(), *by_name.values())] == [
        True
    ] * 2
    with pytest.raises(BadInputError, match=r"^several entry points take x\[5, 16\]; choose one by its name:\n  many"):
        numpy_program.run({"x": MANY.numpy()})
    with pytest.raises(BadInputError, match=r"^no entry point takes x\[2, 16\]; the program was compiled for:\n  one"):
        numpy_program.run({"x": np.zeros((2, 16), np.float32)})


def test_every_entry_point_is_verified() -> None:
    plans = {named.name: named.plan for named in plan_entries(MODEL, ENTRIES)}
    program = atalla.compile(MODEL, entries=ENTRIES, engine="reference")
    for name in ("one", "many"):
        report = verify_program(program.entry(name), plans[name], MODEL, ENTRIES[name].args)
        assert report.ok
        assert len(report.ops) == 1
