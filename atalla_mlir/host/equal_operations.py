"""Operations of a graph that compute the same: the compiler computes them once and records that under one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from atalla_mlir.host.oracle import Plans

Record = TypeVar("Record")

_DIMENSIONS = ("dim", "dims")
_ADD_DIMENSIONS = (torch.ops.aten.unsqueeze.default,)
"""Operations whose result has more dimensions than their operand, from the end of which they count."""


def first_of_equal(graph: fx.Graph) -> dict[str, str]:
    """For each operation the name of the first one with its operator and its operands, which may be itself."""
    first: dict[str, str] = {}
    seen: dict[str, str] = {}
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        operands = pytree.tree_map_only(
            fx.Node, lambda operand: _Operand(first.get(operand.name, operand.name)), _arguments(node)
        )
        first[node.name] = seen.setdefault(f"{node.target} {operands!r}", node.name)
    return first


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments by name, however they are written: defaults filled in, dimensions counted from the front."""
    if not isinstance(node.target, OpOverload):
        return {**{str(at): argument for at, argument in enumerate(node.args)}, **node.kwargs}
    found: dict[str, Any] = {}
    for at, argument in enumerate(node.target._schema.arguments):  # pyright: ignore[reportPrivateUsage]
        value = node.args[at] if at < len(node.args) else node.kwargs.get(argument.name, argument.default_value)
        found[argument.name] = _from_front(value, node) if argument.name in _DIMENSIONS else value
    return found


def _from_front(dims: Any, node: fx.Node) -> Any:
    """Dimensions of the first operand that are counted from its end, and those of a list, from its begin."""
    source = node.args[0] if node.args else None
    value = source.meta.get("val") if isinstance(source, fx.Node) else None
    if not isinstance(value, Tensor) or node.target in _ADD_DIMENSIONS:
        return dims
    return pytree.tree_map_only(int, lambda dim: dim % max(1, value.dim()), dims)


class _Operand:
    """An operand in a text that no string among the arguments is mistaken for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"%{self._name}"


def shared(plans: Plans, first: Mapping[str, str]) -> Plans:
    """The plans with what is recorded about an operation said of all that equal it and have no record of their own."""
    return Plans(_shared(plans.sums, first), _shared(plans.expansions, first))


def _shared(records: Mapping[str, Record], first: Mapping[str, str]) -> dict[str, Record]:
    by_first = {first.get(name, name): record for name, record in records.items()}
    others = {name: by_first[equal] for name, equal in first.items() if equal in by_first}
    return {**others, **records}
