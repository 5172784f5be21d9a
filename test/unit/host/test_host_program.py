"""Compiled programs on torch tensors: calls, host steps, saving, and what they say about themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import atalla_mlir as atalla
from atalla_mlir import zoo
from atalla_mlir.errors import BadInputError, UnsupportedError
from atalla_mlir.loadable.reader import load_loadable
from atalla_mlir.loadable.writer import save_loadable

# Each element is rounded to BF16 (8 bits) a handful of times.
TOLERANCE = 2e-2


class Mixed(nn.Module):
    """Device and host steps, integers, nested results with constants."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.layer = nn.Linear(8, 4)

    def forward(self, indices: Tensor, x: Tensor) -> dict[str, Any]:
        rows = self.table(indices) + x
        y = self.layer(rows)
        return {"y": torch.lgamma(y) * 2, "same": (x, 3), "weight": self.layer.bias}


class Logarithm(nn.Module):
    """An operation that the device lacks."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.lgamma(x)


@pytest.fixture(scope="module")
def mixed() -> tuple[nn.Module, tuple[Tensor, ...], atalla.Program]:
    torch.manual_seed(0)
    model, inputs = Mixed(), (torch.tensor([1, 4, 9]), torch.randn(3, 8))
    return model, inputs, atalla.compile(model, inputs, engine="reference")


def test_results_nest_and_agree(mixed: tuple[nn.Module, tuple[Tensor, ...], atalla.Program]) -> None:
    model, inputs, program = mixed
    with torch.no_grad():
        expected = model(*inputs)
    result = program(*inputs)
    torch.testing.assert_close(result["y"], expected["y"], rtol=TOLERANCE, atol=TOLERANCE)
    assert torch.equal(result["same"][0], inputs[1])
    assert result["same"][1] == 3
    assert torch.equal(result["weight"], expected["weight"])


def test_coverage_names_host_operations(mixed: tuple[nn.Module, tuple[Tensor, ...], atalla.Program]) -> None:
    program = mixed[2]
    assert [op.aten for op in program.coverage.host_operations] == ["aten.lgamma.default"]
    assert program.loadable.meta["coverage"] == program.coverage.to_json()


def test_calls_are_independent(mixed: tuple[nn.Module, tuple[Tensor, ...], atalla.Program]) -> None:
    _, (indices, x), program = mixed
    first = program(indices, x)["y"]
    program(indices, 2 * x)
    assert torch.equal(program(indices, x)["y"], first)


def test_counters_are_those_of_the_last_call(mixed: tuple[nn.Module, tuple[Tensor, ...], atalla.Program]) -> None:
    _, inputs, program = mixed
    program(*inputs)
    assert set(program.counters) == {step["entry"] for step in program.loadable.meta["steps"] if "entry" in step}
    assert all(counters.packets > 0 for counters in program.counters.values())


def test_wrong_arguments_are_refused(mixed: tuple[nn.Module, tuple[Tensor, ...], atalla.Program]) -> None:
    _, (indices, x), program = mixed
    with pytest.raises(BadInputError, match=r"^input 'x': expected float32\[3, 8\], got float32\[3, 7\]$"):
        program(indices, x[:, 1:])


def test_a_saved_program_runs_in_another_process(
    mixed: tuple[nn.Module, tuple[Tensor, ...], atalla.Program], tmp_path: Path
) -> None:
    _, (indices, x), program = mixed
    program.save(tmp_path / "mixed.atalla")
    torch.save((indices, x), tmp_path / "inputs.pt")
    script = (
        "import sys, torch, atalla_mlir\n"
        "inputs = torch.load(sys.argv[1])\n"
        "program = atalla_mlir.load(sys.argv[2], engine='reference')\n"
        "torch.save(program(*inputs), sys.argv[3])\n"
    )
    files = [str(tmp_path / name) for name in ("inputs.pt", "mixed.atalla", "results.pt")]
    subprocess.run([sys.executable, "-c", script, *files], check=True, timeout=120)
    results, expected = torch.load(files[2]), program(indices, x)
    assert torch.equal(results["y"], expected["y"])
    assert torch.equal(results["weight"], expected["weight"])


@pytest.mark.parametrize("name", ["attention", "basic", "mlp", "trace"])
def test_zoo_models_run_on_the_device_alone(name: str) -> None:
    model, inputs = zoo.build(name)
    program = atalla.compile(model, inputs, strict=True, engine="reference")
    assert program.coverage.host_operations == ()
    with torch.no_grad():
        torch.testing.assert_close(program(*inputs), model(*inputs), rtol=TOLERANCE, atol=TOLERANCE)


def test_a_model_without_device_operations() -> None:
    program = atalla.compile(Logarithm(), (torch.ones(2),), engine="reference")
    assert program.coverage.device_flops_fraction == 0.0
    assert torch.equal(program(torch.ones(2)), torch.zeros(2))


def test_bfloat16_models_stay_bfloat16() -> None:
    model = nn.Linear(8, 4).bfloat16()
    x = torch.randn(3, 8, dtype=torch.bfloat16)
    result = atalla.compile(model, (x,), engine="reference")(x)
    assert result.dtype is torch.bfloat16
    with torch.no_grad():
        torch.testing.assert_close(result, model(x), rtol=TOLERANCE, atol=TOLERANCE)


def test_exported_programs_compile() -> None:
    x = torch.randn(3, 8)
    exported = torch.export.export(nn.Linear(8, 4), (x,))
    result = atalla.compile(exported, engine="reference")(x)
    with torch.no_grad():
        torch.testing.assert_close(result, exported.module()(x), rtol=TOLERANCE, atol=TOLERANCE)


def test_strict_refuses_host_operations() -> None:
    with pytest.raises(
        UnsupportedError, match=r"^1 operation would run on the host, which strict compilation refuses:"
    ):
        atalla.compile(Logarithm(), (torch.ones(2),), strict=True)


def test_a_loadable_without_a_model(
    mixed: tuple[nn.Module, tuple[Tensor, ...], atalla.Program], tmp_path: Path
) -> None:
    import dataclasses

    path = tmp_path / "bare.atalla"
    save_loadable(dataclasses.replace(mixed[2].loadable, meta={}), path)
    assert load_loadable(path).meta == {}
    with pytest.raises(BadInputError) as caught:
        atalla.load(path)
    assert str(caught.value) == "the loadable does not describe a PyTorch model: its metadata lacks 'coverage'"


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from atalla_mlir import zoo\n"
        "from atalla_mlir.compiler import compile_model\n"
        "from atalla_mlir.loadable.writer import save_loadable\n"
        "save_loadable(compile_model(*zoo.build('attention')), sys.argv[1])\n"
    )
    files = [tmp_path / "first.atalla", tmp_path / "second.atalla"]
    for seed, file in enumerate(files):
        environment = {"PYTHONHASHSEED": str(seed + 1)}
        subprocess.run([sys.executable, "-c", script, str(file)], check=True, timeout=120, env=environment)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_named_tuples_come_back_as_tuples(tmp_path: Path) -> None:
    class Best(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"two": torch.topk(x * 2, 2), "one": [x.max(1)]}

    x = torch.tensor([[1.0, 3.0, 2.0], [0.5, 0.25, 4.0]])
    atalla.compile(Best(), (x,), engine="reference").save(tmp_path / "best.atalla")
    results = atalla.load(tmp_path / "best.atalla", engine="reference")(x)
    values, places = results["two"]
    assert values.tolist() == [[6.0, 4.0], [8.0, 1.0]]
    assert places.tolist() == [[1, 2], [2, 0]]
    ((largest, _),) = results["one"]
    assert largest.tolist() == [3.0, 4.0]


def test_classes_of_arguments_cannot_be_stored() -> None:
    class Pair(NamedTuple):
        x: Tensor
        y: Tensor

    class Adds(nn.Module):
        def forward(self, pair: Pair) -> Tensor:
            return pair.x + pair.y

    with pytest.raises(UnsupportedError) as caught:
        atalla.compile(Adds(), (Pair(torch.ones(2), torch.ones(2)),))
    assert str(caught.value) == (
        "the model takes an object of a class that a loadable cannot name; use tensors, tuples, lists and dictionaries"
    )
