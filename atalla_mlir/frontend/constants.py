"""Constant folding on the captured graph: what depends on parameters only is computed once, by PyTorch, in its dtype.

Transposed weights, scale and shift of batch norm, position tables and masks become values of their own. A constant
that is smaller as an operation (a filled or broadcast tensor) stays one.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

# results that are larger than what they are made of; kept as operations, their operands are folded
_ENLARGING = frozenset({aten.full.default, aten.expand.default, aten.scalar_tensor.default, aten.repeat.default})
# numbers that run-time positions are compared with are counted where that happens
_COUNTS = frozenset({aten.arange.default, aten.arange.start, aten.arange.start_step})
_COMPARISONS = frozenset({getattr(aten, name).Tensor for name in ("eq", "ne", "lt", "le", "gt", "ge")})


@dataclass(frozen=True)
class Folded:
    """A graph whose operations all depend on an input (or only enlarge a constant)."""

    graph: fx.Graph
    values: Mapping[str, Tensor]
    """Placeholder name -> value, for the placeholders that are still read."""
    computed: frozenset[str]
    """Names of the placeholders that stand for folded operations."""


def fold(module: fx.GraphModule, values: Mapping[str, Tensor]) -> Folded:
    """Evaluate what depends on `values` (placeholder name -> tensor) alone; `module` is left as it is."""
    known = _constant_nodes(module.graph, values)
    kept = _Evaluator(module, values)
    graph = fx.Graph()
    mapping: dict[fx.Node, fx.Node] = {}
    results: dict[str, Tensor] = {}
    for node in module.graph.nodes:
        if node.op == "output" or (node in known and not _is_boundary(node, known)):
            continue
        is_folded = node in known and node.op != "placeholder" and not _stays(node, known)
        if is_folded or node.op == "get_attr":
            mapping[node] = _constant(graph, node, kept.tensor(node), results)
        else:
            mapping[node] = _copy(graph, node, mapping)
    returned = next(node for node in module.graph.nodes if node.op == "output").args[0]
    graph.output(fx.map_arg(returned, mapping.__getitem__))
    return _pruned(graph, {**values, **results}, frozenset(results))


def _constant_nodes(graph: fx.Graph, values: Mapping[str, Tensor]) -> set[fx.Node]:
    known: set[fx.Node] = set()
    for node in graph.nodes:
        is_state = node.op == "get_attr" or (node.op == "placeholder" and node.name in values)
        is_pure = node.op == "call_function" and _is_pure(node) and all(n in known for n in node.all_input_nodes)
        if is_state or is_pure:
            known.add(node)
    return known


def _stays(node: fx.Node, known: set[fx.Node]) -> bool:
    """Whether a constant node is kept as an operation."""
    if node.target not in _COUNTS:
        return node.target in _ENLARGING
    users = [user for user in node.users if user not in known]
    return not node.meta["val"].is_floating_point() and all(user.target in _COMPARISONS for user in users)


def _is_pure(node: fx.Node) -> bool:
    if node.target is operator.getitem:
        return True
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    return torch.Tag.nondeterministic_seeded not in node.target.tags and not node.target._schema.is_mutable


def _is_boundary(node: fx.Node, known: set[fx.Node]) -> bool:
    """Whether something that is not folded away reads `node`."""
    if not isinstance(node.meta.get("val"), Tensor):
        return False
    return any(user not in known or (user.target in _ENLARGING and _is_boundary(user, known)) for user in node.users)


class _Evaluator:
    """Values of constant nodes, computed when first asked for."""

    def __init__(self, module: fx.GraphModule, values: Mapping[str, Tensor]) -> None:
        self._module = module
        self._values = values
        self._cache: dict[fx.Node, Any] = {}

    def tensor(self, node: fx.Node) -> Tensor:
        pending = [node]
        with torch.no_grad():
            while pending:
                top = pending[-1]
                missing = [n for n in top.all_input_nodes if n not in self._cache]
                if missing:
                    pending.extend(missing)
                    continue
                self._cache[top] = self._evaluate(top)
                pending.pop()
        return self._cache[node]

    def _evaluate(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._values[node.name]
        if node.op == "get_attr":
            return getattr(self._module, str(node.target))
        arguments = fx.map_arg(node.args, self._cache.__getitem__)
        keywords = fx.map_arg(node.kwargs, self._cache.__getitem__)
        return node.target(*arguments, **keywords)  # pyright: ignore[reportCallIssue]


def _constant(graph: fx.Graph, node: fx.Node, value: Tensor, results: dict[str, Tensor]) -> fx.Node:
    """The node that stands for a folded `node`: a placeholder, or a fill when there is one element."""
    if value.numel() == 1:
        arguments = (list(value.shape), value.item())
        new = graph.create_node("call_function", aten.full.default, arguments, {"dtype": value.dtype}, name=node.name)
    else:
        with graph.inserting_before(None):
            new = graph.create_node("placeholder", node.name, name=node.name)
        results[new.name] = value.detach()
    new.meta = dict(node.meta)
    return new


def _copy(graph: fx.Graph, node: fx.Node, mapping: dict[fx.Node, fx.Node]) -> fx.Node:
    new = graph.node_copy(node, mapping.__getitem__)
    new.name = node.name
    return new


def _pruned(graph: fx.Graph, values: Mapping[str, Tensor], computed: frozenset[str]) -> Folded:
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    for node in list(graph.nodes):
        if node.op == "placeholder" and not node.users and node.name in values:
            graph.erase_node(node)
    read = {node.name for node in graph.nodes if node.op == "placeholder"}
    used = {name: value for name, value in values.items() if name in read}
    return Folded(graph, used, computed & read)
