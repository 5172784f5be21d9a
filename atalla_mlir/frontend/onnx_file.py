"""ONNX files as models: read, given fixed shapes, and imported by torch-mlir into operations of PyTorch.

What comes out is a module like any other: it is captured, partitioned, compiled and verified as one, and PyTorch runs
it too. Its operations carry the number of their ONNX node as source line (`model.onnx:12` is the twelfth node).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from atalla_mlir import _mlir
from atalla_mlir._mlir import PassManager, ir
from atalla_mlir.errors import BadInputError, ConfigurationError, UnsupportedError
from atalla_mlir.frontend.arrays import to_torch
from atalla_mlir.frontend.onnx_shapes import infer_shapes
from atalla_mlir.frontend.torch_dialect import Literals, Place, graph_module

OLDEST_OPSET = 13
"""Older models are converted to this opset first; torch-mlir converts what is in it and in newer ones."""
_PASSES = "builtin.module(inline,func.func(convert-torch-onnx-to-torch),canonicalize,cse)"


class OnnxFile:
    """An ONNX model whose inputs may have named extents that are not known yet."""

    def __init__(self, proto: Any, path: Path) -> None:
        self.proto = proto
        self.path = path

    @property
    def inputs(self) -> list[Any]:
        """What a caller passes, in order: the graph's inputs that no initializer gives."""
        given = {initializer.name for initializer in self.proto.graph.initializer}
        return [value for value in self.proto.graph.input if value.name not in given]

    def shapes(self, extents: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
        """Input name -> shape, where `extents` gives the named ones."""
        return {value.name: _shape(value, extents or {}) for value in self.inputs}

    def example_inputs(self, extents: Mapping[str, int], seed: int = 0) -> tuple[Tensor, ...]:
        """Random inputs: normally distributed floats; zeros and ones for integers, which may be indices."""
        names = {dim.dim_param for value in self.inputs for dim in value.type.tensor_type.shape.dim if dim.dim_param}
        unknown = sorted(set(extents) - names)
        if unknown:
            raise BadInputError(f"{self.path.name} has no extent '{unknown[0]}'; {_listed(names)}")
        generator = torch.Generator().manual_seed(seed)
        shapes = self.shapes(extents)
        return tuple(_random(_dtype(value), shapes[value.name], generator) for value in self.inputs)

    def module(self, args: Sequence[Any]) -> fx.GraphModule:
        """The model for the shapes of `args` as a module of ATen operations."""
        _check_inputs(self, args)
        proto = _with_shapes(self.proto, self.inputs, [tuple(value.shape) for value in args])
        literals = _RecordedLiterals()
        module, places = _import(proto, literals, self.path)
        _convert(module, places)
        return graph_module(module, literals, places, [value.name for value in self.inputs], args)


def load_onnx(path: Path) -> OnnxFile:
    """The model in an ONNX file, with tensors that it keeps in files beside it."""
    onnx = require_onnx()
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    try:
        proto = onnx.load(str(path))
        onnx.checker.check_model(proto)
    except Exception as error:
        raise BadInputError(f"{path}: not an ONNX model: {_first_line(error)}") from error
    return OnnxFile(proto, path)


def require_onnx() -> Any:
    """The package `onnx`, which is an extra."""
    try:
        for part in ("checker", "defs", "inliner", "numpy_helper", "shape_inference", "version_converter"):
            importlib.import_module(f"onnx.{part}")
    except ImportError as error:
        raise ConfigurationError(
            "reading ONNX models needs the extra 'onnx': pip install 'atalla-mlir[onnx]'"
        ) from error
    return importlib.import_module("onnx")


def _shape(value: Any, extents: Mapping[str, int]) -> tuple[int, ...]:
    sizes: list[int] = []
    for dim in value.type.tensor_type.shape.dim:
        if not dim.dim_param:
            sizes.append(dim.dim_value)
        elif dim.dim_param in extents:
            sizes.append(extents[dim.dim_param])
        else:
            raise BadInputError(
                f"input '{value.name}' has the open extent '{dim.dim_param}'; "
                f"give example inputs, or --arg {dim.dim_param}=N on the command line"
            )
    return tuple(sizes)


def _dtype(value: Any) -> torch.dtype:
    onnx = require_onnx()
    numpy_type = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return to_torch(np.zeros(0, numpy_type)).dtype


def _random(dtype: torch.dtype, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)


def _listed(names: set[str]) -> str:
    return f"there are {', '.join(sorted(names))}" if names else "all of its shapes are fixed"


def _check_inputs(file: OnnxFile, args: Sequence[Any]) -> None:
    inputs = file.inputs
    if len(args) != len(inputs):
        names = ", ".join(value.name for value in inputs)
        raise BadInputError(f"{file.path.name} takes {len(inputs)} inputs ({names}), got {len(args)}")
    for value, given in zip(inputs, args, strict=True):
        dims = value.type.tensor_type.shape.dim
        expected = ", ".join(dim.dim_param or str(dim.dim_value) for dim in dims)
        if not isinstance(given, Tensor):
            raise BadInputError(f"input '{value.name}': expected a tensor, got {type(given).__name__}")
        fits = len(dims) == given.ndim and all(
            d.dim_param or d.dim_value == s for d, s in zip(dims, given.shape, strict=True)
        )
        if not fits or given.dtype is not _dtype(value):
            raise BadInputError(
                f"input '{value.name}': expected {_name(_dtype(value))}[{expected}], "
                f"got {_name(given.dtype)}[{', '.join(map(str, given.shape))}]"
            )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _with_shapes(proto: Any, inputs: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> Any:
    """A copy with fixed inputs, in a current opset, without functions of its own, with the shapes of all values."""
    onnx = require_onnx()
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    by_name = {value.name: shape for value, shape in zip(inputs, shapes, strict=True)}
    for value in fixed.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, by_name.get(value.name, ()), strict=False):
            dim.dim_value = size
    versions = [opset.version for opset in fixed.opset_import if not opset.domain]
    try:
        if versions and versions[0] < OLDEST_OPSET:
            fixed = onnx.version_converter.convert_version(fixed, OLDEST_OPSET)
        fixed = onnx.inliner.inline_local_functions(fixed)
    except Exception as error:
        raise UnsupportedError(
            f"the ONNX model cannot be converted to opset {OLDEST_OPSET}: {_first_line(error)}"
        ) from error
    for number, node in enumerate(fixed.graph.node, start=1):
        # unique names of nodes, by which operations of the IR are found back
        node.name = f"{number}:{node.name or node.op_type}"
    infer_shapes(onnx, fixed)
    return fixed


class _RecordedLiterals(Literals):
    """Initializers and constants by the text of the attribute that stands for them in the IR."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._names: set[str] = set()

    def record(self, attribute: ir.Attribute, proto: Any) -> None:
        self._values[str(attribute)] = proto
        self._names.add(proto.name)

    def name(self, location: Sequence[str]) -> str:
        return next((name for name in location if name in self._names), "")

    def tensor(self, attribute: ir.Attribute) -> Tensor:
        proto = self._values.get(str(attribute))
        if proto is None:
            return to_torch(_mlir.dense_to_numpy(attribute))
        return to_torch(np.array(require_onnx().numpy_helper.to_array(proto)))


def _import(proto: Any, literals: _RecordedLiterals, path: Path) -> tuple[ir.Module, dict[str, Place]]:
    """The graph in torch-mlir's ONNX form; places of the nodes by the names that their operations have as location."""
    from torch_mlir.extras import onnx_importer

    class Recording(onnx_importer.ContextCache):
        def tensor_proto_to_attr(self, tp: Any) -> ir.Attribute:
            attribute = super().tensor_proto_to_attr(tp)
            literals.record(attribute, tp)
            return attribute

    places: dict[str, Place] = {}
    for node in proto.graph.node:
        number, _, original = node.name.partition(":")
        places[node.name] = Place(path, int(number), original, node.op_type)
    context = _mlir.context()
    info = onnx_importer.ModelInfo(proto)
    module = info.create_module(context=context)
    try:
        cache = Recording(context)
        onnx_importer.NodeImporter.define_function(info.main_graph, module.operation, cache).import_all()
    except onnx_importer.OnnxImportError as error:
        raise UnsupportedError(f"torch-mlir cannot import the ONNX model: {_first_line(error)}") from error
    return module, places


def _convert(module: ir.Module, places: Mapping[str, Place]) -> None:
    """ONNX operations to operations of PyTorch."""
    with module.context:
        try:
            PassManager.parse(_PASSES).run(module.operation)
        except ir.MLIRError as error:
            raise UnsupportedError(_refusal(error, places)) from error


def _refusal(error: ir.MLIRError, places: Mapping[str, Place]) -> str:
    """Which ONNX node has no conversion."""
    text = str(error)
    node = re.search(r'"(\d+:[^"]*)"', text)
    operation = re.search(r"onnx\.(\w+)", text)
    kind = operation[1] if operation else "operation"
    if node is None or node[1] not in places:
        return f"torch-mlir has no conversion for ONNX {kind}: {_first_line(error)}"
    return f"torch-mlir has no conversion for {places[node[1]]}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
