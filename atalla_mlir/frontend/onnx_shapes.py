"""Shapes of every value of an ONNX graph, node by node, with the arithmetic on shapes computed on the way.

Exporters write `Reshape(x, Concat(Slice(Shape(x)), ...))`. With fixed inputs all of it is constant, and only when it is
known is the shape of what follows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from atalla_mlir.errors import UnsupportedError

_LARGEST_FOLDED = 4096
"""Elements of a tensor that is computed here; weights are larger and stay operations."""


def infer_shapes(onnx: Any, proto: Any) -> None:
    """Give every value of `proto` its type, in place; nodes that compute constants become initializers.

    Inputs must have fixed shapes, nodes be in order and called `NUMBER:NAME`. `onnx` is the package.
    """
    inference = _Inference(onnx, proto)
    graph = proto.graph
    for value in graph.input:
        inference.types[value.name] = value.type
    for initializer in graph.initializer:
        inference.add_constant(initializer)
    for node in list(graph.node):
        constants = inference.evaluate(node)
        if constants is None:
            inference.types.update(inference.infer(node))
            continue
        graph.node.remove(node)
        for constant in constants:
            graph.initializer.append(constant)
            inference.add_constant(constant)
    del graph.value_info[:]
    for value in graph.output:
        value.type.CopyFrom(inference.types[value.name])
    declared = {value.name for value in (*graph.input, *graph.output)}
    for name, kind in inference.types.items():
        if name not in declared:
            graph.value_info.append(onnx.helper.make_value_info(name, kind))


class _Inference:
    def __init__(self, onnx: Any, proto: Any) -> None:
        self._onnx = onnx
        self._opsets = list(proto.opset_import)
        self._versions = {opset.domain: opset.version for opset in self._opsets}
        self.types: dict[str, Any] = {}
        """Name -> TypeProto."""
        self._constants: dict[str, Any] = {}
        """Name -> TensorProto of the small ones."""

    def add_constant(self, tensor: Any) -> None:
        self.types[tensor.name] = self._onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        if math.prod(tensor.dims) <= _LARGEST_FOLDED:
            self._constants[tensor.name] = tensor

    def evaluate(self, node: Any) -> list[Any] | None:
        """The outputs of a node that depends on constants and shapes only; None for all others."""
        if node.op_type == "Shape":
            return self._shape(node)
        is_small = all(name in self._constants for name in node.input if name)
        has_graphs = any(attribute.type == self._onnx.AttributeProto.GRAPH for attribute in node.attribute)
        if not is_small or has_graphs or not self._is_deterministic(node):
            return None
        given = {name: self._onnx.numpy_helper.to_array(self._constants[name]) for name in node.input if name}
        values = self._run(node, given)
        if sum(array.size for array in values.values()) > _LARGEST_FOLDED:
            return None
        return [self._onnx.numpy_helper.from_array(np.array(a, order="C"), name) for name, a in values.items()]

    def _shape(self, node: Any) -> list[Any]:
        sizes = [dim.dim_value for dim in self.types[node.input[0]].tensor_type.shape.dim]
        limits = {attribute.name: attribute.i for attribute in node.attribute}
        chosen = np.array(sizes[limits.get("start", 0) : limits.get("end", len(sizes))], np.int64)
        return [self._onnx.numpy_helper.from_array(chosen, node.output[0])]

    def _is_deterministic(self, node: Any) -> bool:
        return not node.domain and not node.op_type.startswith(("Random", "Bernoulli", "Multinomial"))

    def _run(self, node: Any, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        from onnx.reference import ReferenceEvaluator

        helper = self._onnx.helper
        inputs = [helper.make_value_info(name, self.types[name]) for name in given]
        wanted = [name for name in node.output if name]
        outputs = [helper.make_empty_tensor_value_info(name) for name in wanted]
        model = helper.make_model(helper.make_graph([node], "node", inputs, outputs), opset_imports=self._opsets)
        try:
            results = ReferenceEvaluator(model).run(None, dict(given))
        except Exception as error:
            raise UnsupportedError(f"{_described(node)} cannot be computed: {_first_line(error)}") from error
        return {name: np.asarray(result) for name, result in zip(wanted, results, strict=True)}

    def infer(self, node: Any) -> dict[str, Any]:
        """The types of the outputs of `node`."""
        onnx = self._onnx
        try:
            schema = onnx.defs.get_schema(node.op_type, self._versions.get(node.domain, 1), node.domain)
        except onnx.defs.SchemaError:
            where = f" of domain '{node.domain}'" if node.domain else ""
            raise UnsupportedError(f"{_described(node)}: there is no ONNX operation {node.op_type}{where}") from None
        kinds = {name: self.types[name] for name in node.input if name}
        data = {name: self._constants[name] for name in node.input if name in self._constants}
        try:
            found = onnx.shape_inference.infer_node_outputs(schema, node, kinds, data, opset_imports=self._opsets)
        except Exception as error:
            raise UnsupportedError(f"{_described(node)}: its shape cannot be inferred: {_first_line(error)}") from error
        for name, kind in found.items():
            if not _is_fixed(kind):
                raise UnsupportedError(f"{_described(node)}: the shape of '{name}' depends on values of the inputs")
        return dict(found)


def _is_fixed(kind: Any) -> bool:
    if kind.WhichOneof("value") != "tensor_type":
        return True
    return kind.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.tensor_type.shape.dim)


def _described(node: Any) -> str:
    number, _, name = node.name.partition(":")
    return f"ONNX {node.op_type} (node {number}, '{name}')"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
