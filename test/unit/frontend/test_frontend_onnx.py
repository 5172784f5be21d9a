"""ONNX models: what the importer makes of them in PyTorch, open extents, folded shapes, and refusals."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import atalla_mlir as atalla
from atalla_mlir.errors import BadInputError, ConfigurationError, UnsupportedError
from atalla_mlir.frontend.onnx_file import OnnxFile, load_onnx
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.tools import atalla_compile

onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
helper: Any = onnx.helper
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def file(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[int | str]],
    rank: int = 2,
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 18,
) -> OnnxFile:
    """A model of one or more float inputs; of its output only the rank is said."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, FLOAT, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", FLOAT, [f"y{dim}" for dim in range(rank)])],
        [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return OnnxFile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), Path("model.onnx"))


class Block(nn.Module):
    """A transformer layer behind an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, activation="gelu")

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(self.table(tokens))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Upsample(scale_factor=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


class Pieces(nn.Module):
    """Several results, a split, slices with steps, a maximum."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        a, b = torch.split(x, 4, dim=-1)
        return torch.cat([a, y], 1), b.max(dim=1).values, x[:, 1::2].reshape(x.shape[0], -1).pow(2).mean(-1)


MODELS = {
    "transformer": (Block, (torch.arange(14).reshape(2, 7),)),
    "convolutions": (convolutions, (torch.randn(2, 3, 16, 16),)),
    "pieces": (Pieces, (torch.randn(2, 8), torch.randn(2, 3))),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("opset", [None, 14, 18, 20])
@pytest.mark.parametrize("name", MODELS)
def test_exported_models_compute_what_the_model_computes(name: str, opset: int | None, tmp_path: Path) -> None:
    build, inputs = MODELS[name]
    torch.manual_seed(0)
    model, path = build().eval(), tmp_path / "model.onnx"
    if opset is None:
        pytest.importorskip("onnxscript", reason="the exporter of PyTorch 2 needs onnxscript")
        torch.onnx.export(model, inputs, path, dynamo=True, verbose=False)
    else:
        torch.onnx.export(model, inputs, str(path), dynamo=False, opset_version=opset)
    imported = load_onnx(path).module(inputs)
    with torch.no_grad():
        expected, got = model(*inputs), imported(*inputs)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    plan = plan_model(imported, inputs)
    assert all(source.startswith("model.onnx:") for source in plan.captured.sources.values())
    assert plan.device_steps


def test_initializers_keep_their_names_and_nodes_their_numbers() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "layer.0/weight", "bias"], ["h"], name="first", transB=1),
        helper.make_node("Relu", ["h"], ["y"], name="second"),
    ]
    constants = {"layer.0/weight": np.arange(192, dtype=np.float32).reshape(3, 64), "bias": np.zeros(3, np.float32)}
    module = file(nodes, {"x": [2, 64]}, constants=constants).module((torch.ones(2, 64),))
    assert [name for name, _ in module.named_parameters()] == ["layer_0_weight", "bias"]
    plan = plan_model(module, (torch.ones(2, 64),))
    assert {node.name: plan.captured.sources[node.name] for node in plan.device_steps[0].nodes} == {
        "mm": "model.onnx:1",
        "add": "model.onnx:1",
        "relu": "model.onnx:2",
    }
    assert module(torch.ones(2, 64)).tolist() == [[2016, 6112, 10208]] * 2


def test_open_extents() -> None:
    model = file([helper.make_node("Relu", ["x"], ["y"])], {"x": ["batch", 3]})
    assert model.shapes({"batch": 5}) == {"x": (5, 3)}
    assert model.example_inputs({"batch": 2})[0].shape == (2, 3)
    for rows in (1, 4):
        assert model.module((torch.ones(rows, 3),))(torch.ones(rows, 3)).shape == (rows, 3)
    with pytest.raises(BadInputError) as error:
        model.shapes()
    assert str(error.value) == (
        "input 'x' has the open extent 'batch'; give example inputs, or --arg batch=N on the command line"
    )
    with pytest.raises(BadInputError, match=r"^model.onnx has no extent 'rows'; there are batch$"):
        model.example_inputs({"rows": 2})


def test_entry_points_share_initializers(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    model = file([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 64]}, constants={"w": weight})
    path = tmp_path / "product.onnx"
    onnx.save(model.proto, str(path))
    entries = {"one": (torch.randn(1, 64),), "many": (torch.randn(40, 64),)}
    program = atalla.compile(path, entries=entries, engine="reference")
    assert [row["name"] for row in program.loadable.meta["constants"]] == ["p_w"]
    for (x,) in entries.values():
        torch.testing.assert_close(program(x), x @ torch.from_numpy(weight), rtol=3e-2, atol=0.3)


def test_arithmetic_on_shapes_is_folded() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["rows"]),
        helper.make_node("Mul", ["rows", "two"], ["doubled"]),
        helper.make_node("Unsqueeze", ["doubled", "axes"], ["wanted"]),
        helper.make_node("Concat", ["wanted", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {
        "zero": np.array(0),
        "two": np.array(2),
        "axes": np.array([0]),
        "rest": np.array([-1]),
    }
    x = torch.randn(3, 8)
    assert torch.equal(file(nodes, {"x": [3, 8]}, constants=constants).module((x,))(x), x.reshape(6, 4))


def test_older_opsets_are_converted() -> None:
    # until opset 12 the axes of a squeeze are an attribute
    nodes = [helper.make_node("Squeeze", ["x"], ["y"], axes=[1])]
    x = torch.randn(3, 1, 4)
    assert torch.equal(file(nodes, {"x": [3, 1, 4]}, opset=11).module((x,))(x), x[:, 0])


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            helper.make_node("DFT", ["x"], ["y"], name="d"),
            "torch-mlir has no conversion for DFT (node 1, 'd')",
        ),
        (
            helper.make_node("Mystery", ["x"], ["y"], name="m", domain="com.example"),
            "ONNX Mystery (node 1, 'm'): there is no ONNX operation Mystery of domain 'com.example'",
        ),
        (
            helper.make_node("NonZero", ["x"], ["y"], name="n"),
            "ONNX NonZero (node 1, 'n'): the shape of 'y' depends on values of the inputs",
        ),
    ],
)
def test_what_cannot_be_imported_is_named(node: Any, message: str) -> None:
    model = file([node], {"x": [1, 3, 3, 3]})
    if node.domain:
        model.proto.opset_import.append(helper.make_opsetid(node.domain, 1))
    with pytest.raises(UnsupportedError) as error:
        model.module((torch.ones(1, 3, 3, 3),))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "model.onnx takes 1 inputs (x), got 0"),
        ((3,), "input 'x': expected a tensor, got int"),
        ((torch.ones(2, 4),), "input 'x': expected float32[n, 3], got float32[2, 4]"),
        ((torch.ones(2, 3).long(),), "input 'x': expected float32[n, 3], got int64[2, 3]"),
    ],
)
def test_wrong_inputs(args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(BadInputError) as error:
        file([helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 3]}).module(args)
    assert str(error.value) == message


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(BadInputError, match=r"m.onnx: no such file$"):
        load_onnx(path)
    path.write_bytes(b"not a model")
    with pytest.raises(BadInputError, match=r"m.onnx: not an ONNX model: "):
        load_onnx(path)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx.checker", None)
    with pytest.raises(ConfigurationError) as error:
        load_onnx(tmp_path / "m.onnx")
    assert str(error.value) == "reading ONNX models needs the extra 'onnx': pip install 'atalla-mlir[onnx]'"


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "relu.onnx"
    onnx.save(file([helper.make_node("Relu", ["x"], ["y"])], {"x": ["batch", 3]}).proto, str(path))
    assert atalla_compile.main([str(path), "--arg", "batch=2", "--stop-after=import"]) == 0
    assert 'tensor<2x3xf32> {atalla.kind = "input", atalla.name = "x"}' in capsys.readouterr().out
    entries = ["--entry", "one:batch=1", "--entry", "two:batch=2"]
    assert atalla_compile.main([str(path), *entries, "-o", str(tmp_path / "relu.atalla")]) == 0
    assert "2 entry points" in capsys.readouterr().out
    assert atalla_compile.main([str(path), "--arg", "batch=0"]) == 1
    assert capsys.readouterr().err == (
        "atalla-compile: error: --arg batch=0: an extent of an ONNX model is an integer of at least 1\n"
    )
