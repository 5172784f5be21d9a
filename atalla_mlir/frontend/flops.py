"""Work of an ATen operation in floating-point operations; the definitions are in docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.utils.flop_counter import flop_registry

from atalla_mlir.frontend.custom_operations import find

_FREE = frozenset({torch.ops.aten.clone.default, torch.ops.aten.where.self, torch.ops.aten.copy.default})
"""Operations that PyTorch counts as pointwise and that only move or choose elements."""


def macs(node: fx.Node) -> int:
    """Multiply-accumulates of products and convolutions, of the model's shapes without any padding."""
    custom = find(node.target)
    return _product_flops(node) // 2 if custom is None else custom.work(custom.arguments(node))[1]


def flops(node: fx.Node) -> int:
    """2 for a multiply-accumulate, 1 for each element that a pointwise operation computes or a reduction takes in."""
    custom = find(node.target)
    if custom is not None:
        return custom.work(custom.arguments(node))[0]
    product = _product_flops(node)
    if product or not isinstance(node.target, OpOverload) or not _is_floating(node):
        return product
    if node.target in _FREE:
        return 0
    if torch.Tag.pointwise in node.target.tags:
        return _elements(node.meta["val"])
    if torch.Tag.reduction in node.target.tags:
        return _elements([n.meta["val"] for n in node.all_input_nodes]) - _elements(node.meta["val"])
    return 0


def _product_flops(node: fx.Node) -> int:
    formula = flop_registry.get(getattr(node.target, "overloadpacket", None))
    if formula is None:
        return 0
    arguments = fx.map_arg(node.args, lambda n: n.meta["val"])
    keywords = fx.map_arg(node.kwargs, lambda n: n.meta["val"])
    return int(formula(*arguments, **keywords, out_val=node.meta["val"]))  # pyright: ignore[reportCallIssue]


def _is_floating(node: fx.Node) -> bool:
    values = [node.meta.get("val"), *(n.meta.get("val") for n in node.all_input_nodes)]
    return any(tensor.dtype.is_floating_point for tensor in _tensors(values))


def _elements(value: object) -> int:
    return sum(math.prod(tensor.shape) for tensor in _tensors(value))


def _tensors(value: object) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
