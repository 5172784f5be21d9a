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
from atalla_mlir.frontend.integers import ARG_EXTREMES, ARITHMETIC, COMPARISONS, GATHERS, INTEGERS, LOGICAL, SHIFTS

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
    is_whole = mode == "trunc" and _tensor(node).dtype in INTEGERS
    return None if mode is None or is_whole else f"division that rounds ('{mode}') has no lowering"


def _constant_padding(node: fx.Node) -> str | None:
    mode = _argument(node, 2, "mode", "constant")
    return None if mode == "constant" else f"padding mode '{mode}' has no lowering"


def _conversion(node: fx.Node) -> str | None:
    target = _tensor(node).dtype
    is_known = target in FLOATS or target in INTEGERS or target is torch.bool
    return None if is_known else f"conversion to {_dtype_name(target)} has no lowering"


def _one_extreme(node: fx.Node) -> str | None:
    return None if _argument(node, 1, "dim", None) is not None else "an extreme over all dimensions was not decomposed"


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

COUNTS = (aten.arange.start_step,)
"""Whole numbers in order."""

RULES: MappingProxyType[Any, Rule] = MappingProxyType(
    {
        **dict.fromkeys(
            (*PRODUCTS, *POINTWISE, *FUNCTIONS, *REDUCTIONS, *COMPARISONS, *LOGICAL, *GATHERS, *VIEWS, *MOVES, *COUNTS),
            _always,
        ),
        aten.div.Tensor: _no_rounding_mode,
        aten.div.Scalar: _no_rounding_mode,
        aten.div.Tensor_mode: _no_rounding_mode,
        **dict.fromkeys(SHIFTS, _always),
        aten.constant_pad_nd.default: _always,
        aten.convolution.default: _plain_convolution,
        aten.max_pool2d.default: _plain_window,
        aten.avg_pool2d.default: _plain_window,
        aten.pad.default: _constant_padding,
        aten._to_copy.default: _conversion,
        **dict.fromkeys(ARG_EXTREMES, _one_extreme),
    }
)


def host_reason(node: fx.Node) -> str | None:
    """Why `node` cannot run on the device; None when it can."""
    custom = find(node.target)
    rule = RULES.get(node.target) if custom is None else _takes_call(custom)
    if rule is None:
        return f"{_target_name(node)} has no lowering"
    if not isinstance(node.meta.get("val"), Tensor):
        return f"{_target_name(node)} gives several results"
    return _shape_reason(node) or _type_reason(node) or rule(node)


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


def _type_reason(node: fx.Node) -> str | None:
    """Booleans are numbers 0 and 1, so that all moves and `where` take them; integers have operations of their own."""
    dtype = _tensor(node).dtype
    moves = node.target in VIEWS or node.target in (*MOVES, *COUNTS, *GATHERS)
    if dtype in INTEGERS:
        if not moves and node.target not in ARITHMETIC and node.target not in ARG_EXTREMES:
            return f"{_target_name(node)} of {_dtype_name(dtype)} has no lowering"
    elif dtype not in FLOATS and dtype is not torch.bool:
        return f"it computes {_dtype_name(dtype)}, which the device lacks"
    for operand in node.all_input_nodes:
        kind = _tensor(operand).dtype
        if kind not in FLOATS and kind not in INTEGERS and kind is not torch.bool:
            return f"it reads {_dtype_name(kind)}, which the device lacks"
    return None


def _tensor(node: fx.Node) -> Tensor:
    return node.meta["val"]


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _target_name(node: fx.Node) -> str:
    return "getitem" if node.target is operator.getitem else str(node.target)
