"""The bound that a unit sets to II where its operations wait for something that waits for them.

Neither of the other bounds sees this. When n operations of one unit all follow a node, and that node in the next
iteration follows all of them, an iteration takes the way from the node to the first operation, the time that the unit
takes for the others, and the way back: rows that are stored one by one before the transfer that makes room for the
next, or weights that are replaced only after the last product with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import chain

from atalla_mlir.codegen.loop_graph import LoopEdge, LoopGraph
from atalla_mlir.codegen.reservations import MAX_QUEUED_CYCLES, LoopDemands
from atalla_mlir.target.isa import Unit

_NONE = -(1 << 60)
"""Length of a path that does not exist."""


def contention_bound(graph: LoopGraph, demands: LoopDemands) -> int:
    """The least II that leaves each unit the time for what a circle of dependences makes it do, at least 1."""
    bound = 1
    for circle in graph.circles:
        paths = _CirclePaths(graph, circle)
        for members in _by_unit(circle, demands):
            busy = _busy_cycles(members, demands)
            if busy + graph.recurrence <= bound:
                continue  # the ways there and back are a circle themselves
            for node in paths.crossing(members):
                bound = max(bound, _through(paths, node, members, demands))
    return bound


def _by_unit(circle: Collection[int], demands: LoopDemands) -> Iterator[list[int]]:
    """The instructions of a circle that use the same unit."""
    units: dict[str, list[int]] = defaultdict(list)
    for index in sorted(circle):
        if index < len(demands.names):
            units[demands.names[index]].append(index)
    return (members for members in units.values() if len(members) > 1)


def _busy_cycles(members: Sequence[int], demands: LoopDemands) -> int:
    """Cycles that lie at least between the first and the last of some instructions of one unit."""
    lengths = [demands.lengths[index] for index in members]
    queued = MAX_QUEUED_CYCLES if demands.units[members[0]] is Unit.VLSU else 0
    return sum(lengths) - max(lengths) - queued


def _through(paths: _CirclePaths, node: int, members: Sequence[int], demands: LoopDemands) -> int:
    """The bound of all of `members` that `node` leads to and that lead to `node` one iteration later."""
    (there, there_next), (back, back_next) = paths.away(node), paths.towards(node)
    bound = 0
    for first, second in ((there, back_next), (there_next, back)):
        held = [index for index in members if first[index] > _NONE and second[index] > _NONE]
        if held:
            ways = min(first[index] for index in held) + min(second[index] for index in held)
            bound = max(bound, ways + _busy_cycles(held, demands))
    return bound


Lengths = dict[int, int]


class _CirclePaths:
    """Longest paths between the nodes of a circle, inside an iteration and to the next one."""

    def __init__(self, graph: LoopGraph, circle: Collection[int]) -> None:
        self._following = {node: [e for e in graph.outgoing[node] if e.second in circle] for node in circle}
        self._preceding = {node: [e for e in graph.incoming[node] if e.first in circle] for node in circle}
        self._order = self._topological()

    def _topological(self) -> list[int]:
        """The nodes such that what one depends on in the same iteration stands before it."""
        waits = {node: sum(not edge.distance for edge in edges) for node, edges in self._preceding.items()}
        ready = sorted(node for node, count in waits.items() if not count)
        for node in ready:
            for edge in self._following[node]:
                if not edge.distance:
                    waits[edge.second] -= 1
                    if not waits[edge.second]:
                        ready.append(edge.second)
        return ready

    def away(self, start: int) -> tuple[Lengths, Lengths]:
        """Longest paths from `start` to each node: inside the iteration, and to the next."""
        return self._longest(start, self._order, self._preceding, forwards=True)

    def towards(self, end: int) -> tuple[Lengths, Lengths]:
        """Longest paths from each node to `end`: inside the iteration, and to the next."""
        return self._longest(end, self._order[::-1], self._following, forwards=False)

    def _longest(
        self, start: int, order: Sequence[int], edges: dict[int, list[LoopEdge]], *, forwards: bool
    ) -> tuple[Lengths, Lengths]:
        inside, across = dict.fromkeys(order, _NONE), dict.fromkeys(order, _NONE)
        inside[start] = 0
        for lengths in (inside, across):
            for node in order:
                for edge in edges[node]:
                    other = edge.first if forwards else edge.second
                    if edge.distance == 0:
                        length = lengths[other] + edge.latency
                    elif edge.distance == 1 and lengths is across:
                        length = inside[other] + edge.latency
                    else:
                        continue
                    if length > max(lengths[node], _NONE // 2):
                        lengths[node] = length
        return inside, across

    def crossing(self, members: Sequence[int]) -> tuple[int, ...]:
        """Both ends of the edge on which the longest way from the first of `members` to one of them enters the next
        iteration; nothing when there is none."""
        inside, across = self.away(members[0])
        target = max(members, key=across.__getitem__)
        if across[target] == _NONE:
            return ()
        back, _ = self.towards(target)
        edges = (edge for edge in chain.from_iterable(self._following.values()) if edge.distance == 1)
        found = max(edges, key=lambda edge: inside[edge.first] + edge.latency + back[edge.second])
        return (found.first, found.second)
