"""Exported programs as models: reading them from files, and giving those with dynamic shapes the shapes of a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from atalla_mlir.errors import BadInputError, UnsupportedError
from atalla_mlir.frontend.onnx_file import OnnxFile, load_onnx

ModelSource = nn.Module | ExportedProgram | OnnxFile | str | Path
"""What can be compiled: a module, an exported program, or the path of a `.pt2` or `.onnx` file."""


def open_model(source: ModelSource) -> nn.Module | ExportedProgram | OnnxFile:
    """`source`, or what is in the `.pt2` or `.onnx` file that it names."""
    if not isinstance(source, (str, Path)):
        return source
    path = Path(source)
    return load_onnx(path) if path.suffix == ".onnx" else load_exported(path)


def for_inputs(source: nn.Module | ExportedProgram | OnnxFile, args: tuple[Any, ...]) -> nn.Module | ExportedProgram:
    """`source`, or the module that an ONNX file is for the shapes of `args`."""
    return source.module(args) if isinstance(source, OnnxFile) else source


def load_exported(path: Path) -> ExportedProgram:
    """The program that `torch.export.save` wrote to `path`."""
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    try:
        return torch.export.load(path)
    except Exception as error:
        raise BadInputError(f"{path}: not an exported program: {_first_line(error)}") from error


def specialised(exported: ExportedProgram, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ExportedProgram:
    """`exported` for the shapes of `args` and `kwargs`, without which it must have no dynamic shapes."""
    inputs = _inputs(exported)
    dynamic = next((name for name, value in inputs if not is_static(value)), None)
    given = [value for value in pytree.tree_leaves((args, dict(kwargs))) if isinstance(value, Tensor)]
    if dynamic is None:
        _check_shapes(inputs, given)
        return exported
    if not given:
        value = dict(inputs)[dynamic]
        raise UnsupportedError(
            f"input '{dynamic}' has the dynamic shape {_shape(value)}; give example inputs of the shapes to compile for"
        )
    try:
        with torch.no_grad():
            return torch.export.export(exported.module(), args, dict(kwargs), strict=False)
    except Exception as error:
        raise BadInputError(f"the exported program does not take these inputs: {_first_line(error)}") from error


def reshaped(exported: ExportedProgram) -> ExportedProgram:
    """`exported` with `reshape` for `view`: expanding operations may change the strides of what is viewed."""
    view, reshape = torch.ops.aten.view.default, torch.ops.aten.reshape.default
    if not any(node.target is view for node in exported.graph.nodes):
        return exported
    graph = copied_graph(exported.graph, lambda target: reshape if target is view else target)
    return ExportedProgram(
        root=fx.GraphModule(exported.graph_module, graph),
        graph=graph,
        graph_signature=exported.graph_signature,
        state_dict=exported.state_dict,
        range_constraints=exported.range_constraints,
        module_call_graph=exported.module_call_graph,
        example_inputs=exported.example_inputs,
        constants=exported.constants,
        verifiers=exported.verifiers,  # those of a program that may still hold operations in place
    )


def copied_graph(graph: fx.Graph, retarget: Callable[[Any], Any]) -> fx.Graph:
    """A copy with the same names of nodes, in which `retarget` of what was called is called."""
    copy = fx.Graph()
    mapping: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        copied = copy.node_copy(node, mapping.__getitem__)
        copied.name = node.name
        if node.op == "call_function":
            copied.target = retarget(node.target)
        mapping[node] = copied
    return copy


def _inputs(exported: ExportedProgram) -> list[tuple[str, Tensor]]:
    """Names and fake tensors of what a caller passes, in the order of the flattened arguments."""
    users = set(exported.graph_signature.user_inputs)
    nodes = [node for node in exported.graph.nodes if node.op == "placeholder" and node.name in users]
    return [(node.name, node.meta["val"]) for node in nodes if isinstance(node.meta.get("val"), Tensor)]


def _check_shapes(inputs: Sequence[tuple[str, Tensor]], given: Sequence[Tensor]) -> None:
    """Example inputs say nothing new about a program of fixed shapes, but must not contradict it."""
    if not given:
        return
    if len(given) != len(inputs):
        raise BadInputError(f"the exported program takes {len(inputs)} tensors, got {len(given)}")
    for (name, expected), value in zip(inputs, given, strict=True):
        if expected.shape != value.shape or expected.dtype != value.dtype:
            raise BadInputError(
                f"input '{name}' was exported as {_type(expected)}, got {_type(value)}; "
                "export the model with dynamic shapes to compile it for several"
            )


def is_static(value: Tensor) -> bool:
    """Whether every extent of a (fake) tensor is a plain number."""
    return all(isinstance(size, int) for size in value.shape)


def _type(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')}{_shape(value)}"


def _shape(value: Tensor) -> str:
    return f"[{', '.join(map(str, value.shape))}]"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
