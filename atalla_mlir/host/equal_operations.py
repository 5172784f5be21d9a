"""Operations of a graph that compute the same: the compiler computes them once and records that under one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import fx
from torch.utils import _pytree as pytree

from atalla_mlir.host.oracle import Plans

Record = TypeVar("Record")


def first_of_equal(graph: fx.Graph) -> dict[str, str]:
    """For each operation the name of the first one with its operator and its operands, which may be itself."""
    first: dict[str, str] = {}
    seen: dict[str, str] = {}
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        operands = pytree.tree_map_only(
            fx.Node, lambda operand: _Operand(first.get(operand.name, operand.name)), (node.args, node.kwargs)
        )
        first[node.name] = seen.setdefault(f"{node.target} {operands!r}", node.name)
    return first


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
