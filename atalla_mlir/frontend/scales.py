"""Scales on both operands of a product become one on its result: `(x * a) @ (y * b)` is `(x @ y) * (a * b)`.

Exporters to ONNX write attention with the root of its scale on queries and on keys. One multiplication behind the
product rounds once instead of twice, and is part of the product's kernel.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from atalla_mlir.frontend.support import PRODUCTS, VIEWS

aten = torch.ops.aten

MULTIPLICATIONS = (aten.mul.Tensor, aten.mul.Scalar)


def join_scales(graph: fx.Graph, product: fx.Node, values: Mapping[str, Tensor]) -> None:
    """Move scales from the operands of `product` behind it, in place, when both operands have one.

    `values` are the constants by placeholder name.
    """
    if product.target not in PRODUCTS:
        return
    links = [link for operand in product.all_input_nodes if (link := _scaled(operand, values)) is not None]
    if len(links) != 2:
        return
    scale = 1.0
    for link in links:
        scaled = scaled_operand(link, values)
        assert scaled is not None
        scale *= scaled[1]
        link.replace_all_uses_with(scaled[0])
        read = link.all_input_nodes
        graph.erase_node(link)
        for node in read:
            if not node.users and (node.name in values or node.target is aten.full.default):
                graph.erase_node(node)
    with graph.inserting_after(product):
        result = graph.call_function(aten.mul.Tensor, (product, scale))
    result.meta = dict(product.meta)
    product.replace_all_uses_with(result, delete_user_cb=lambda user: user is not result)
    # readers of the graph, and its outputs, know the value by its name
    name, product.name = product.name, f"{product.name}_unscaled"
    result.name = name


def _scaled(operand: fx.Node, values: Mapping[str, Tensor]) -> fx.Node | None:
    """The multiplication with a number that `operand` shows, through views that nothing else reads."""
    node = operand
    while node.target in VIEWS and len(node.users) == 1 and node.all_input_nodes:
        node = node.all_input_nodes[0]
    if node.target is not aten.mul.Tensor or len(node.users) != 1:
        return None
    scaled = scaled_operand(node, values)
    if scaled is None or not scaled[1]:
        return None
    before, after = scaled[0].meta["val"], node.meta["val"]
    return node if before.shape == after.shape and before.dtype == after.dtype else None


def scaled_operand(link: fx.Node, values: Mapping[str, Tensor]) -> tuple[fx.Node, float] | None:
    """What `link` multiplies, and with what number."""
    if link.target not in MULTIPLICATIONS or len(link.args) != 2:
        return None
    for number, other in (link.args, link.args[::-1]):
        value = _number(number, values)
        if value is not None and isinstance(other, fx.Node):
            return other, value
    return None


def divided_operand(link: fx.Node, values: Mapping[str, Tensor]) -> tuple[fx.Node, float] | None:
    """What `link` divides by a number, and the reciprocal of that."""
    if link.target not in (aten.div.Tensor, aten.div.Scalar) or link.kwargs:
        return None
    operand, divisor = link.args[0], _number(link.args[1], values)
    return (operand, 1 / divisor) if isinstance(operand, fx.Node) and divisor else None


def _number(argument: object, values: Mapping[str, Tensor]) -> float | None:
    """The number that an operand is everywhere."""
    if isinstance(argument, fx.Node) and argument.target is aten.full.default:
        argument = argument.args[1]
    if isinstance(argument, fx.Node) and argument.name in values and values[argument.name].numel() == 1:
        argument = values[argument.name].item()
    return float(argument) if isinstance(argument, (int, float)) else None
