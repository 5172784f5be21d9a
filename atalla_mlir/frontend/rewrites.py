"""Rewrites of the captured graph after constants are known: scales that follow convolutions, pools with indices.

`conv(x, w) * s + t` with constants per channel (batch normalisation at inference) becomes `conv(x, w * s) + t`: the
weights are scaled once, in the model's type. A maximum pool whose indices nobody reads becomes one with one result;
scales of both operands of a product become one (`scales`). Whole numbers that a function of floating numbers reads are
converted by an operation of their own.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from atalla_mlir.frontend.integers import INTEGERS
from atalla_mlir.frontend.scales import join_scales

aten = torch.ops.aten

_ADDITIONS = (aten.add.Tensor, aten.sub.Tensor)


@dataclass(frozen=True)
class Rewritten:
    """A graph with the values of its constant placeholders; `computed` are the names of new ones."""

    graph: fx.Graph
    values: Mapping[str, Tensor]
    computed: frozenset[str]


def rewrite(graph: fx.Graph, values: Mapping[str, Tensor]) -> Rewritten:
    """Apply all rewrites to `graph`, in place; `values` are the constants by placeholder name."""
    known = dict(values)
    added: set[str] = set()
    for node in list(graph.nodes):
        if node.target in (aten.argmax.default, aten.argmin.default):
            _extreme_by_index(graph, node)
        if node.target is aten.max_pool2d_with_indices.default:
            _drop_indices(graph, node)
        _convert_operands(graph, node)
        join_scales(graph, node, known)
        if node.target is aten.convolution.default:
            added |= _Chain(graph, node, known).fold()
    read = {node.name for node in graph.nodes if node.op == "placeholder"}
    return Rewritten(graph, {name: value for name, value in known.items() if name in read}, frozenset(added & read))


_EXTREMES = {aten.argmax.default: aten.amax.default, aten.argmin.default: aten.amin.default}


def _extreme_by_index(graph: fx.Graph, index: fx.Node) -> None:
    """Where both an extreme and its index are wanted, the extreme is the element at the index."""
    source, dim, keepdim = (*index.args, False)[:3]
    assert isinstance(source, fx.Node)
    assert isinstance(dim, int)
    shape: list[int] = list(source.meta["val"].shape)
    dim %= len(shape)
    kept = [1 if at == dim else extent for at, extent in enumerate(shape)]
    for user in [user for user in source.users if user.target is _EXTREMES[index.target]]:  # pyright: ignore
        if [at % len(shape) for at in user.args[1]] != [dim] or user.kwargs:  # pyright: ignore
            continue
        user.prepend(index)  # it reads nothing that the extreme does not
        with graph.inserting_before(user):
            place = index
            if not keepdim:
                place = graph.call_function(aten.view.default, (index, kept))
                place.meta["val"] = index.meta["val"].new_empty(kept)
            picked = graph.call_function(aten.gather.default, (source, dim, place))
            picked.meta = {"val": user.meta["val"].new_empty(kept), "stack_trace": user.meta.get("stack_trace")}
            if list(user.meta["val"].shape) != kept:
                new = graph.call_function(aten.view.default, (picked, list(user.meta["val"].shape)))
                new.meta = dict(user.meta)
            else:
                new = picked
        name = user.name
        user.replace_all_uses_with(new)
        graph.erase_node(user)
        new.name = name


def _convert_operands(graph: fx.Graph, node: fx.Node) -> None:
    """The scalar units convert whole numbers, the lanes compute what is made of them."""
    result = node.meta.get("val")
    if not isinstance(result, Tensor) or not result.is_floating_point() or node.target is aten._to_copy.default:
        return
    is_pointwise = isinstance(node.target, OpOverload) and torch.Tag.pointwise in node.target.tags
    if not is_pointwise and node.target is not aten.sum.dim_IntList:
        return
    for operand in node.all_input_nodes:
        if operand.meta["val"].dtype in INTEGERS:
            with graph.inserting_before(node):
                converted = graph.call_function(aten._to_copy.default, (operand,), {"dtype": result.dtype})
            converted.meta = {"val": operand.meta["val"].to(result.dtype), "stack_trace": node.meta.get("stack_trace")}
            node.replace_input_with(operand, converted)


def _drop_indices(graph: fx.Graph, pool: fx.Node) -> None:
    picked = list(pool.users)
    if not picked or any(user.target is not operator.getitem or user.args[1] != 0 for user in picked):
        return
    with graph.inserting_before(pool):
        new = graph.call_function(aten.max_pool2d.default, pool.args, dict(pool.kwargs))
    new.meta = {**pool.meta, "val": pool.meta["val"][0]}
    name = picked[0].name
    for user in picked:
        user.replace_all_uses_with(new)
        graph.erase_node(user)
    graph.erase_node(pool)
    new.name = name


class _Chain:
    """Multiplications and additions of constants per channel behind one convolution."""

    def __init__(self, graph: fx.Graph, conv: fx.Node, values: dict[str, Tensor]) -> None:
        self.graph = graph
        self.conv = conv
        self.values = values
        self.channels: int = conv.meta["val"].shape[1]
        self.rank: int = conv.meta["val"].dim()
        self.links: list[fx.Node] = []

    def fold(self) -> set[str]:
        """Scale the weights and leave one addition; the names of new constants."""
        weight = self.conv.args[1]
        if not isinstance(weight, fx.Node) or weight.name not in self.values or not self._find_links():
            return set()
        scale, shift = torch.ones(self.channels, dtype=torch.float64), torch.zeros(self.channels, dtype=torch.float64)
        for link in self.links:
            operand = self._operand(link)
            assert operand is not None
            if link.target is aten.mul.Tensor:
                scale, shift = scale * operand, shift * operand
            else:
                shift = shift + (operand if link.target is aten.add.Tensor else -operand)
        kernel = self.values[weight.name]  # times a factor in float64 it is in float64
        factor = scale.view([-1, *[1] * (kernel.dim() - 1)])
        scaled = self._constant(f"{self.conv.name}_weight", (kernel * factor).to(kernel.dtype))
        self.conv.args = (self.conv.args[0], scaled, *self.conv.args[2:])
        offset = shift.view([-1, *[1] * (self.rank - 2)]).to(kernel.dtype)
        self._finish(offset)
        return {scaled.name, f"{self.links[-1].name}_shift"}

    def _find_links(self) -> bool:
        node = self.conv
        while len(node.users) == 1:
            user = next(iter(node.users))
            if user.target not in (aten.mul.Tensor, *_ADDITIONS) or self._operand(user) is None:
                break
            self.links.append(user)
            node = user
        return any(link.target is aten.mul.Tensor for link in self.links)

    def _operand(self, link: fx.Node) -> Tensor | None:
        """The constant that `link` combines its operand with, one element per channel; None for anything else."""
        if link.kwargs or len(link.args) != 2:
            return None
        own = [arg for arg in link.args if not (isinstance(arg, fx.Node) and self._is_link(arg))]
        if len(own) != 1 or (link.target is aten.sub.Tensor and own[0] is link.args[0]):
            return None
        value = own[0]
        if isinstance(value, (int, float)):
            return torch.full([self.channels], float(value), dtype=torch.float64)
        if not isinstance(value, fx.Node):
            return None
        if value.target is aten.full.default:
            return torch.full([self.channels], float(value.args[1]), dtype=torch.float64)  # pyright: ignore
        tensor = self.values.get(value.name)
        return None if tensor is None else self._per_channel(tensor)

    def _is_link(self, node: fx.Node) -> bool:
        return node is self.conv or node in self.links

    def _per_channel(self, tensor: Tensor) -> Tensor | None:
        shape = [*[1] * (self.rank - tensor.dim()), *tensor.shape]
        if len(shape) > self.rank or shape[0] != 1 or math.prod(shape[2:]) != 1:
            return None
        return tensor.detach().double().reshape(-1).expand(self.channels)

    def _constant(self, name: str, value: Tensor) -> fx.Node:
        first = next(iter(self.graph.nodes))
        with self.graph.inserting_before(first):
            node = self.graph.placeholder(name)
        template = self.conv.meta["val"]
        node.meta["val"] = template.new_empty(value.shape)
        self.values[node.name] = value
        return node

    def _finish(self, offset: Tensor) -> None:
        last = self.links[-1]
        if offset.any():
            last.target = aten.add.Tensor
            last.args = (self.conv, self._constant(f"{last.name}_shift", offset))
            obsolete = self.links[:-1]
        else:
            last.replace_all_uses_with(self.conv)
            obsolete = self.links
        for link in reversed(obsolete):
            if not link.users:
                self.graph.erase_node(link)
        self._erase_unread_constants()

    def _erase_unread_constants(self) -> None:
        for node in list(self.graph.nodes):
            if node.op == "placeholder" and not node.users and node.name in self.values:
                self.graph.erase_node(node)
