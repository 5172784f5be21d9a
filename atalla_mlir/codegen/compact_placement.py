"""One attempt to place the instructions of a loop body so that few iterations are in progress at once.

What is on the longest chains of an iteration is placed forwards, chain by chain; the rest as late as its readers allow.
That suits bodies of several chains that have nothing to do with each other and whose registers have one copy.
"""

from __future__ import annotations

from dataclasses import dataclass

from atalla_mlir.codegen.loop_graph import LoopGraph
from atalla_mlir.codegen.loop_placement import Placement
from atalla_mlir.codegen.loop_roles import independent_parts
from atalla_mlir.codegen.reservations import LoopDemands
from atalla_mlir.target.isa import Unit

SLACKS = (0, 8)
"""By how much shorter chains may be that count as longest, in cycles: values worth trying."""


@dataclass(frozen=True)
class CompactOrder:
    """The nodes in the order of placement, which of them are placed backwards from their readers, and the steps of
    pointers, which nothing of the same iteration follows."""

    order: list[int]
    late: frozenset[int]
    steps: frozenset[int]


def compact_order(graph: LoopGraph, slack: int) -> CompactOrder:
    """An order that keeps the chains of an iteration together; chains shorter than the longest by `slack` are late."""
    steps = frozenset(
        index
        for index, inst in enumerate(graph.insts)
        if inst.defs and inst.defs[0] in graph.in_place and inst.defs[0] in inst.uses and inst.op.unit is Unit.EX1
    )
    heights, depths = graph.heights, graph.depths
    parts = independent_parts(graph, [node for node in range(graph.num_nodes) if node not in steps])
    order: list[int] = []
    all_late: set[int] = set()
    for part in sorted(parts, key=lambda part: -max(heights[node] for node in part)):
        longest = max(depths[node] + heights[node] for node in part)
        late = [node for node in part if depths[node] + heights[node] < longest - slack]
        all_late.update(late)
        order += sorted(set(part) - set(late), key=lambda node: (depths[node], node))
        order += sorted(late, key=lambda node: (heights[node], -node))
    return CompactOrder([*order, *sorted(steps)], frozenset(all_late), steps)


class CompactPlacement(Placement):
    """Places nodes in an order that keeps the chains of an iteration together."""

    def __init__(self, graph: LoopGraph, demands: LoopDemands, interval: int, slack: int) -> None:
        super().__init__(graph, demands, interval)
        self._found = compact_order(graph, slack)
        self._index = 0

    def order(self) -> list[int]:
        """All nodes in the order of placement."""
        return self._found.order

    def _place(self, index: int) -> list[int] | None:
        self._index = index
        return super()._place(index)

    def _window(self, earliest: int | None, latest: int | None) -> range:
        if self._index not in self._found.late or latest is None:
            return super()._window(earliest, latest)
        lowest = latest - self._interval + 1
        return range(latest, (lowest if earliest is None else max(earliest, lowest)) - 1, -1)

    def _may_sink(self, index: int) -> bool:
        return index not in self._found.steps and super()._may_sink(index)
