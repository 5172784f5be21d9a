"""Forms of operations that torch-mlir lowers in the model's own type, without float64 and run-time checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

aten = torch.ops.aten

# with a scalar, torch-mlir compares in float64
_COMPARISONS: dict[Any, Any] = {
    aten.eq.Scalar: aten.eq.Tensor,
    aten.ne.Scalar: aten.ne.Tensor,
    aten.lt.Scalar: aten.lt.Tensor,
    aten.le.Scalar: aten.le.Tensor,
    aten.gt.Scalar: aten.gt.Tensor,
    aten.ge.Scalar: aten.ge.Tensor,
}
# torch-mlir makes ordered comparisons of them, as of a `where` in which NaN loses; of bounds it makes unordered ones
_EXTREMES = frozenset({aten.maximum.default, aten.minimum.default})

# of 8 bits beside a number torch-mlir ends the process
_BYTES = frozenset({torch.int8, torch.uint8})
_OF_TWO_TENSORS: dict[Any, Any] = {
    aten.add.Tensor: aten.add.Tensor,
    aten.sub.Tensor: aten.sub.Tensor,
    aten.mul.Tensor: aten.mul.Tensor,
    aten.rsub.Scalar: aten.sub.Tensor,
}


def importable_copy(graph: fx.Graph, node: fx.Node, mapping: Mapping[fx.Node, fx.Node]) -> fx.Node:
    """Append `node` to `graph`, operands looked up in `mapping`, in a form with the same meaning."""
    if node.target in _COMPARISONS:
        operand, scalar = node.args
        return graph.call_function(_COMPARISONS[node.target], (_mapped(operand, mapping), _filled(graph, node, scalar)))
    if node.target is aten.reciprocal.default:
        # torch-mlir's own lowering asserts that no element is zero
        return graph.call_function(aten.div.Tensor, (_filled(graph, node, 1.0), _mapped(node.args[0], mapping)))
    if node.target in _EXTREMES and _dtype(node).is_floating_point:
        left, right = (_mapped(operand, mapping) for operand in node.args)
        bounds = (right, None) if node.target is aten.maximum.default else (None, right)
        return graph.call_function(aten.clamp.Tensor, (left, *bounds))
    dtype = _dtype(node)
    if node.target in _OF_TWO_TENSORS and dtype in _BYTES and not isinstance(node.args[1], fx.Node):
        left, right = _mapped(node.args[0], mapping), _filled(graph, node, node.args[1])
        operands = (right, left) if node.target is aten.rsub.Scalar else (left, right)
        return graph.call_function(_OF_TWO_TENSORS[node.target], operands, dict(node.kwargs))
    copy = graph.node_copy(node, mapping.__getitem__)
    if dtype.is_floating_point:
        is_pointwise = isinstance(node.target, OpOverload) and torch.Tag.pointwise in node.target.tags
        convert = _rounded_number if is_pointwise else _rounded
        copy.args = tuple(convert(argument, dtype) for argument in copy.args)
        copy.kwargs = {name: convert(value, dtype) for name, value in copy.kwargs.items()}
    return copy


def _mapped(argument: Any, mapping: Mapping[fx.Node, fx.Node]) -> fx.Node:
    return mapping[argument]


def _filled(graph: fx.Graph, node: fx.Node, value: Any) -> fx.Node:
    """A tensor without dimensions that holds `value` in the type of the node's operand."""
    operand: Tensor = node.all_input_nodes[0].meta["val"]
    filled = graph.call_function(
        aten.full.default, ([], _rounded(float(value), operand.dtype)), {"dtype": operand.dtype}
    )
    filled.meta["val"] = operand.new_empty([])
    return filled


def _rounded(value: Any, dtype: torch.dtype) -> Any:
    """`value` with its floats rounded to `dtype`, so that the conversion from float64 folds."""
    if isinstance(value, float):
        return float(torch.tensor(value, dtype=dtype))
    if isinstance(value, (list, tuple)):
        return type(value)(_rounded(item, dtype) for item in value)
    return value


def _rounded_number(value: Any, dtype: torch.dtype) -> Any:
    """The same for an operation whose numbers are all operands: an integer is one of the tensor's type."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return _rounded(float(value) if is_integer else value, dtype)


def _dtype(node: fx.Node) -> torch.dtype:
    return node.meta["val"].dtype
