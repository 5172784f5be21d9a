"""Which ATen operations the device runs, and why not the others: one table, read by the partitioner.

An entry admits an operation as far as its arguments; types, shapes and state are checked for all alike.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, fx

from atalla_mlir.frontend.custom_operations import CustomOperation, find
from atalla_mlir.frontend.exported import is_static

aten = torch.ops.aten

Rule = Callable[[fx.Node], str | None]
"""Gives the reason why a node runs on the host, or None when the device can run it."""

MAX_RANK = 8
"""Dimensions of a tensor that a loadable's records hold."""

FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


def _always(node: fx.Node) -> str | None:
    return None


def _no_rounding_mode(node: fx.Node) -> str | None:
    mode = node.kwargs.get("rounding_mode")
    return None if mode is None else f"division that rounds ('{mode}') has no lowering"


def _constant_padding(node: fx.Node) -> str | None:
    mode = _argument(node, 2, "mode", "constant")
    return None if mode == "constant" else f"padding mode '{mode}' has no lowering"


def _between_floats(node: fx.Node) -> str | None:
    target = _tensor(node).dtype
    return None if target in FLOATS else f"conversion to {_dtype_name(target)} has no lowering"


def _argument(node: fx.Node, index: int, name: str, default: Any) -> Any:
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)


def _plain_convolution(node: fx.Node) -> str | None:
    _, _, bias, _, padding, _, transposed, _, _ = node.args
    plain = bias is None and not transposed and not any(padding)  # pyright: ignore[reportArgumentType]
    return None if plain else "a convolution whose padding, bias or transposition was not decomposed has no lowering"


def _plain_window(node: fx.Node) -> str | None:
    padding, ceil_mode = _argument(node, 3, "padding", [0]), node.args[-1] is True
    is_sum = node.target is not aten.avg_pool2d.default or _argument(node, 6, "divisor_override", None) == 1
    plain = not any(padding) and not ceil_mode and is_sum
    return None if plain else "a pool whose padding was not decomposed has no lowering"


PRODUCTS = (aten.mm.default, aten.bmm.default)

POINTWISE = (
    aten.add.Tensor,
    aten.add.Scalar,
    aten.sub.Tensor,
    aten.sub.Scalar,
    aten.rsub.Scalar,
    aten.mul.Tensor,
    aten.mul.Scalar,
    aten.neg.default,
    aten.maximum.default,
    aten.minimum.default,
    aten.abs.default,
    aten.relu.default,
    aten.exp.default,
    aten.sqrt.default,
    aten.rsqrt.default,
    aten.reciprocal.default,
    aten.clamp.default,
    aten.clamp_min.default,
    aten.clamp_max.default,
    aten.where.self,
)

FUNCTIONS = (
    aten.sigmoid.default,
    aten.tanh.default,
    aten.erf.default,
    aten.gelu.default,
    aten.expm1.default,
    aten.log.default,
    aten.log1p.default,
    aten.sin.default,
    aten.cos.default,
    aten.floor.default,
    aten.ceil.default,
    aten.round.default,
)
"""Scalar functions that the compiler expands, each with a bound on its error."""

REDUCTIONS = (aten.sum.dim_IntList, aten.amax.default, aten.amin.default)

COMPARISONS = (
    aten.eq.Tensor,
    aten.eq.Scalar,
    aten.ne.Tensor,
    aten.ne.Scalar,
    aten.lt.Tensor,
    aten.lt.Scalar,
    aten.le.Tensor,
    aten.le.Scalar,
    aten.gt.Tensor,
    aten.gt.Scalar,
    aten.ge.Tensor,
    aten.ge.Scalar,
)

VIEWS = frozenset(
    {
        aten.view.default,
        aten._unsafe_view.default,
        aten.reshape.default,
        aten.expand.default,
        aten.permute.default,
        aten.transpose.int,
        aten.t.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.squeeze.default,
        aten.unsqueeze.default,
        aten.slice.Tensor,
        aten.select.int,
        aten.alias.default,
        aten.detach.default,
    }
)
"""Operations that only rename elements: they cost nothing where their neighbours run."""

MOVES = (aten.clone.default, aten.cat.default, aten.full.default, aten.scalar_tensor.default, aten.repeat.default)

RULES: MappingProxyType[Any, Rule] = MappingProxyType(
    {
        **dict.fromkeys((*PRODUCTS, *POINTWISE, *FUNCTIONS, *REDUCTIONS, *COMPARISONS, *VIEWS, *MOVES), _always),
        aten.div.Tensor: _no_rounding_mode,
        aten.div.Scalar: _no_rounding_mode,
        aten.div.Tensor_mode: _no_rounding_mode,
        aten.constant_pad_nd.default: _always,
        aten.convolution.default: _plain_convolution,
        aten.max_pool2d.default: _plain_window,
        aten.avg_pool2d.default: _plain_window,
        aten.pad.default: _constant_padding,
        aten._to_copy.default: _between_floats,
    }
)

CONSUMES_BOOLEANS = frozenset({aten.where.self})
"""Device operations that read a boolean tensor which the device computed or which is constant."""


def host_reason(node: fx.Node, constants: frozenset[str]) -> str | None:
    """Why `node` cannot run on the device; None when it can. `constants` are the placeholders with known values."""
    custom = find(node.target)
    rule = RULES.get(node.target) if custom is None else _takes_call(custom)
    if rule is None:
        return f"{_target_name(node)} has no lowering"
    if not isinstance(node.meta.get("val"), Tensor):
        return f"{_target_name(node)} gives several results"
    return _shape_reason(node) or _type_reason(node, constants) or rule(node)


def _takes_call(custom: CustomOperation) -> Rule:
    return lambda node: custom.refusal(custom.arguments(node))


def _shape_reason(node: fx.Node) -> str | None:
    for value in [_tensor(node), *(_tensor(n) for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor))]:
        if not is_static(value):
            return f"the shape [{', '.join(map(str, value.shape))}] is known only at run time"
        if value.dim() > MAX_RANK:
            return f"the tensor has {value.dim()} dimensions, a loadable holds at most {MAX_RANK}"
        if math.prod(value.shape) == 0:
            return f"the tensor of shape {list(value.shape)} is empty"
        if value.layout is not torch.strided:
            return f"the layout {value.layout} is not dense"
    return None


def _type_reason(node: fx.Node, constants: frozenset[str]) -> str | None:
    dtype = _tensor(node).dtype
    if dtype not in FLOATS and not (dtype is torch.bool and node.target in COMPARISONS):
        return f"it computes {_dtype_name(dtype)}, the device computes bfloat16"
    for operand in node.all_input_nodes:
        dtype = _tensor(operand).dtype
        if dtype in FLOATS:
            continue
        computed_here = operand.op == "call_function" or operand.name in constants
        if not (dtype is torch.bool and node.target in CONSUMES_BOOLEANS and computed_here):
            return f"it reads {_dtype_name(dtype)}, the device computes bfloat16"
    return None


def keeps_boolean(node: fx.Node) -> bool:
    """Whether the result is boolean, which stays on the device only as an operand of `CONSUMES_BOOLEANS`."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype is torch.bool


def _tensor(node: fx.Node) -> Tensor:
    return node.meta["val"]


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _target_name(node: fx.Node) -> str:
    return "getitem" if node.target is operator.getitem else str(node.target)
