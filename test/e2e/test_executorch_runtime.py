"""Programs with delegates in ExecuTorch's own runtime: the values of compiled models, from Python and from C++."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("executorch", reason="needs the extra 'executorch'")

from atalla_mlir import executorch
from atalla_mlir.errors import BadInputError
from atalla_mlir.executorch import runtime
from atalla_mlir.host.program import compile as compiled
from atalla_mlir.sim.native_library import library_path
from atalla_mlir.zoo import registry

pytestmark = pytest.mark.skipif(
    library_path() is None or shutil.which("c++") is None,
    reason="the backend needs the native engine and a C++ compiler",
)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Tokens(nn.Module):
    """Integers come in, an operation without kernels is in the middle, results of three types go out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.body, self.head = nn.Linear(16, 24), nn.Linear(24, 5)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.relu(self.body(self.embedding(tokens)))
        x = torch.fmod(x, 0.5)
        y = torch.softmax(self.head(x), dim=-1)
        return y, y > 0.2, tokens + 1


def build_tokens() -> tuple[nn.Module, tuple[Tensor]]:
    torch.manual_seed(1)
    return Tokens().eval(), (torch.arange(6).reshape(2, 3),)


def test_operations_without_kernels_run_on_those_of_executorch() -> None:
    model, inputs = build_tokens()
    lowered = executorch.lower(model, inputs)
    assert {op.operation for op in lowered.summary.left} == {"aten.fmod.Scalar"}
    before = runtime.totals()
    runtime.set_timing(True)
    results = executorch.run(lowered.buffer, inputs)
    runtime.set_timing(False)
    after = runtime.totals()
    assert after.launches - before.launches == lowered.summary.num_delegates == 2
    assert after.cycles > before.cycles
    for result, expected in zip(results, compiled(model, inputs)(*inputs), strict=True):
        assert torch.equal(result, expected)


@pytest.mark.parametrize("name", ["attention", "alexnet_small"])
def test_models_of_the_zoo_give_the_values_of_the_compiler(name: str) -> None:
    model, inputs = registry.build(name)
    lowered = executorch.lower(model, inputs)
    assert not lowered.summary.left
    (result,) = executorch.run(lowered.buffer, inputs)
    assert torch.equal(result, compiled(model, inputs)(*inputs))


def test_a_cpp_program_runs_a_program_without_python(tmp_path: Path) -> None:
    model, (x,) = registry.build("mlp")
    lowered = executorch.lower(model, (x,))
    lowered.save(tmp_path / "mlp.pte")
    x.numpy().tofile(tmp_path / "x.bin")
    binary = tmp_path / "run_pte"
    source = EXAMPLES / "cpp" / "run_pte.cpp"
    subprocess.run(["c++", str(source), "-Wall", "-Wextra", *runtime.program_options(), "-o", str(binary)], check=True)
    command = [str(binary), str(tmp_path / "mlp.pte"), str(tmp_path / "x.bin")]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    expected = executorch.run(lowered.buffer, (x,))[0]
    assert torch.equal(torch.tensor([float(line) for line in out.split()]).reshape(expected.shape), expected)


def test_a_method_that_is_not_there_is_named() -> None:
    model, inputs = registry.build("mlp")
    lowered = executorch.lower(model, inputs)
    with pytest.raises(BadInputError, match="no method 'predict'; it has forward"):
        executorch.run(lowered.buffer, inputs, method="predict")
