"""Every example runs and prints what its page promises."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from torch import nn

from atalla_mlir.sim.native_library import library_path
from atalla_mlir.tools import atalla_compile, atalla_run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def output_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    load(name).main()
    return capsys.readouterr().out


def test_capture_operations(capsys: pytest.CaptureFixture[str]) -> None:
    out = output_of("capture_operations", capsys)
    assert "torch.Size([128, 128])" in out
    assert "torch.Size([32, 64])" in out
    table = out.split("--- Gammas")[1]
    assert "aten.lgamma.default" in table
    assert "aten.digamma.default has no lowering" in table
    assert "\nsum -1.29" in table


def test_explore_graph(capsys: pytest.CaptureFixture[str]) -> None:
    out = output_of("explore_graph", capsys)
    assert "aten.bmm.default" in out
    assert "aten.softmax.int at attention.py:" in out
    assert "p_query_bias" in out


def test_compile_model(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of("compile_model", capsys).splitlines()
    assert lines[:2] == ["partitions:", "  device main(x) -> add_2"]
    assert lines[-2].startswith("program length ")
    assert int(lines[-1].split()[1]) > 10000


def test_greedy_generation(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of("greedy_generation", capsys).splitlines()
    assert lines[0] == "kept on the device: count, layers.0.attention.keys, layers.0.attention.values"
    assert len(lines[2].split()) == 1 + 6


def test_call_twice(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of("call_twice", capsys).splitlines()
    assert len(lines) == 2
    assert all(line.endswith("output sum 4.0000") for line in lines)


def test_fallback(capsys: pytest.CaptureFixture[str]) -> None:
    out = output_of("fallback", capsys)
    assert "aten.sort.default has no lowering" in out
    assert "strict: 1 operation would run on the host" in out


def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("demo").main() == 0
    out = capsys.readouterr().out
    assert out.count("coverage 100 %") == 3
    assert out.endswith("all models are right\n")


def test_own_device(capsys: pytest.CaptureFixture[str]) -> None:
    out = output_of("own_device", capsys)
    assert out.startswith("board and simulator give the same values\nlink: ")
    assert out.endswith(" 1 start\n")


def test_hand_written_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of("hand_written_kernel", capsys).splitlines()
    assert "asm0_gated: example.gated.default" in lines
    assert any(line.startswith("Block: 4 kernels within their error bounds") for line in lines)
    assert atalla_run.main([f"{EXAMPLES / 'hand_written_kernel.py'}:build", "--verify"]) == 0
    assert "gated" in capsys.readouterr().out


def test_page_policy(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of("page_policy", capsys).splitlines()
    assert [line.split(":")[0] for line in lines] == ["lowest pages first", "alternate", "guarded"]
    assert all(line.endswith("cycles, the same values") for line in lines[1:])


@pytest.mark.skipif(library_path() is None, reason="the native engine was not built")
def test_test_bench(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of("test_bench", capsys).splitlines()
    assert [line.split(":")[0] for line in lines[:5]] == [
        "code.hex",
        "dram.hex",
        "expected.hex",
        "run.txt",
        "trace.txt",
    ]
    assert int(lines[4].split()[1]) == int(lines[5].split()[1]) + 1
    assert lines[6].startswith("the bench is right")
    assert "1 of 1" in lines[7] and lines[7].endswith("got deadbeef (ATALLA_MISMATCH)")


def test_a_model_of_ones_own_goes_through_the_same_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = f"{EXAMPLES / 'own_model.py'}:build"
    assert atalla_compile.main([model, "--arg", "width=33", "--strict", "-o", str(tmp_path / "own.atalla")]) == 0
    assert atalla_run.main([model, "--arg", "width=33", "--verify"]) == 0
    assert "within their error bounds" in capsys.readouterr().out


def test_several_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of("several_shapes", capsys).splitlines()
    assert lines[1:3] == ["one: (1, 64) -> (1, 10)", "many: (8, 64) -> (8, 10)"]
    assert "  embed(x: f32[8, 64])" in lines
    assert lines[-1] == "from scorer.pt2: (5, 10)"


def test_onnx_model(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx", reason="needs the extra 'onnx'")
    pytest.importorskip("onnxscript", reason="PyTorch's exporter needs onnxscript")
    lines = output_of("onnx_model", capsys).splitlines()
    assert lines[0].startswith("alexnet_small: ") and lines[0].endswith("same values as from PyTorch: True")
    assert lines[1].startswith("vit_micro: ") and lines[1].endswith("same values as from PyTorch: True")
    assert lines[2] == "open.onnx: 1 and 4 rows"


def test_torch_device(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of("torch_device", capsys).splitlines()
    assert lines[0] == "product on atalla:0, (32, 48); same values as the compiled model: True"
    assert lines[2].startswith("mlp: off by ") and lines[2].endswith("6 found compiled, 0 on the CPU")
    assert lines[3].startswith("attention: ") and lines[3].endswith(", 0 on the CPU")
    assert lines[4].startswith("1 x aten.sort.default on the CPU: aten.sort.default has no lowering")


def test_executorch_delegate(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("executorch", reason="needs the extra 'executorch'")
    if library_path() is None or shutil.which("c++") is None:
        pytest.skip("the backend needs the native engine and a C++ compiler")
    lines = output_of("executorch_delegate", capsys).splitlines()
    (left,) = [line for line in lines if " executorch " in line]
    assert "aten.fmod.Scalar" in left and left.endswith("aten.fmod.Scalar has no lowering")
    assert lines[-3] == "5 of 6 operations in 2 delegates"
    assert int(lines[-2].split()[-1]) >= 2
    assert lines[-1] == "same values as the compiled model: True"


def test_torchvision_models(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a package of one model in place of torchvision, which test_vision_packages.py needs."""

    def tiny(init_weights: bool = True) -> nn.Module:
        assert not init_weights
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

    models = SimpleNamespace(
        get_model_builder=lambda name: tiny, get_model=lambda name, weights, **options: tiny(**options)
    )
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    assert load("torchvision_models").main(["tiny", "--size", "8"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("| tiny | 8 | 1 of 1 | 0.9999")
    assert " | - | " in line


TESTED = {
    "call_twice",
    "capture_operations",
    "compile_model",
    "demo",
    "executorch_delegate",
    "explore_graph",
    "fallback",
    "greedy_generation",
    "hand_written_kernel",
    "onnx_model",
    "own_device",
    "own_model",
    "page_policy",
    "several_shapes",
    "test_bench",
    "torch_device",
    "torchvision_models",
}


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED
