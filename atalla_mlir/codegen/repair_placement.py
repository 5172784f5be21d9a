"""One attempt to place the instructions of a loop body whose units leave hardly a cycle free.

Instructions are placed one by one between those that are placed already, as in `loop_placement`. Where none of the
cycles is free, the instruction goes where the least has to give way, of which each weighs the more the more often it
gave way before: so whatever is hard to place finds a place at last that the others leave it (Selman and Kautz,
"Domain-independent extensions to GSAT", 1993, weigh clauses in this way).

Two things that other ways of placing look at afterwards are kept from the start. Nothing issues outside a window, which
bounds the iterations in progress at once. And no value is kept for longer than the interval, so that the kernel need
not be unrolled: that is a dependence as well, of the next iteration's value on the last reader of this one's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from atalla_mlir.codegen.loop_graph import LoopEdge, LoopGraph, carried_reads, first_writers, longest_paths
from atalla_mlir.codegen.loop_placement import (
    OrderChoice,
    Placement,
    circles_in_order,
    falling_heights,
)
from atalla_mlir.codegen.loop_roles import find_feeders, independent_parts
from atalla_mlir.codegen.repair_table import RepairTable
from atalla_mlir.codegen.reservations import LoopDemands
from atalla_mlir.errors import InternalError
from atalla_mlir.target.registers import RegisterFile

ATTEMPTS_PER_NODE = 20
"""Placements, per node, after which an II is given up."""
MASK_CYCLES = 52
"""Cycles for which a mask is kept at most: there are few registers for them."""
MARGIN = 64
"""Cycles by which an instruction may go too early or too late for others, which then give way."""


@dataclass(frozen=True)
class Windows:
    """The first and the last cycle that each node may take."""

    lows: list[int]
    highs: list[int]


def with_one_copy(graph: LoopGraph) -> LoopGraph:
    """The graph with edges for values of which there is one copy: all read one before the next iteration makes it."""
    makers = first_writers(graph)
    found: set[LoopEdge] = set()
    for (reader, register), distance in carried_reads(graph).items():
        if register in graph.in_place or makers[register] == reader:
            continue
        found.add(LoopEdge(reader, makers[register], 1, 1 - distance, is_result=False))
        if register.file is RegisterFile.MASK:
            found.add(LoopEdge(reader, makers[register], -MASK_CYCLES, -distance, is_result=False))
    return replace(graph, edges=(*graph.edges, *sorted(found)))


@lru_cache(maxsize=4)
def windows(graph: LoopGraph, interval: int, num_stages: int) -> Windows | None:
    """The cycles in which each node may issue for an iteration to be done after `num_stages` intervals; None when there
    are none."""
    turned = tuple(LoopEdge(e.second, e.first, e.latency, e.distance, e.is_result) for e in graph.edges)
    lows = longest_paths(replace(graph, edges=turned), interval)
    heights = longest_paths(graph, interval)
    if lows is None or heights is None:
        return None
    highs = [num_stages * interval - 1 - height for height in heights]
    if any(low > high for low, high in zip(lows, highs, strict=True)):
        return None
    return Windows(list(lows), highs)


def repair_order(graph: LoopGraph, interval: int, choice: OrderChoice) -> list[int] | None:
    """All nodes: circles of dependences first, then what leads to them, part by part, near before far, then what
    follows; None when chains of dependences never end."""
    heights = longest_paths(graph, interval)
    if heights is None:
        return None
    falling = falling_heights(heights, choice)
    order: dict[int, None] = {}

    def append(nodes: Iterable[int]) -> None:
        order.update(dict.fromkeys(nodes))

    for circle, following, leading in circles_in_order(graph):
        append(sorted(circle, key=lambda node: -heights[node]))
        for part in _parts_of(graph, leading, falling):
            append(sorted(part, key=lambda node: -falling[node]))
        append(sorted(following, key=falling.__getitem__))
        append(sorted(leading, key=lambda node: -falling[node]))
    append(sorted(range(graph.num_nodes), key=falling.__getitem__))
    return list(order)


def _parts_of(graph: LoopGraph, leading: Collection[int], falling: list[int]) -> list[list[int]]:
    """What of `leading` only circles and feeders connect, the parts that end the farthest from the end first."""
    held = set(leading)
    parts = [[node for node in part if node in held] for part in _parts(graph)]
    return sorted(filter(None, parts), key=lambda part: -min(-falling[node] for node in part))


@lru_cache(maxsize=4)
def _parts(graph: LoopGraph) -> list[list[int]]:
    apart = find_feeders(graph).union(*graph.circles)
    return independent_parts(graph, [node for node in range(graph.num_nodes) if node not in apart])


class RepairPlacement(Placement):
    """Places nodes such that as little as possible gives way; what lies between others as early, or `is_late`, as late
    as these allow."""

    def __init__(
        self,
        graph: LoopGraph,
        demands: LoopDemands,
        interval: int,
        order: list[int],
        allowed: Windows,
        *,
        is_late: bool = False,
    ) -> None:
        super().__init__(graph, demands, interval)
        self._attempts_per_node = ATTEMPTS_PER_NODE
        self._repair_table = self._table = RepairTable(demands, interval)
        self._given_order, self._windows, self._is_late = order, allowed, is_late
        self._weights = [1] * graph.num_nodes
        """1, and how often each gave way."""

    def order(self) -> list[int]:
        """All nodes in the order of placement."""
        return self._given_order

    def _place(self, index: int) -> list[int] | None:
        self._delays[index] = 0
        earliest, latest = self._earliest(index), self._latest(index)
        low, high = self._windows.lows[index], self._windows.highs[index]
        first = low if earliest is None else max(earliest, low)
        last = high if latest is None else min(latest, high)
        if index >= self._num_insts:
            self._cycles[index] = last if earliest is None else first
            return self._displace(index)
        if earliest is None and latest is None:
            first = (low + high) // 2
        if latest is None or (earliest is not None and not self._is_late):
            near = range(first, min(last, first + self._interval - 1) + 1)
        else:
            near = range(last, max(first, last - self._interval + 1) - 1, -1)
        if self._settle_in_time(index, near):
            return []
        if last - first >= self._interval:
            return self._clear(index, near)
        bottom, top = max(low, min(first, last) - MARGIN), min(high, max(first, last) + MARGIN)
        return self._clear(index, range(bottom, top + 1) if near.step > 0 else range(top, bottom - 1, -1))

    def _clear(self, index: int, cycles: range) -> list[int] | None:
        """Places an instruction in the one of `cycles` for which the least has to give way; that, or None when there is
        no such cycle."""
        self._delays[index] = 0
        least, best, given_way = None, None, set[int]()
        for cycle in cycles:
            weight = sum(self._weights[other] for other in self._displaced(index, cycle))
            if least is not None and weight >= least:
                continue
            obstacles = self._repair_table.obstacles(index, cycle, self._weights)
            if obstacles is None:
                continue
            weight += sum(self._weights[other] for other in obstacles)
            if least is None or weight < least:
                least, best, given_way = weight, cycle, obstacles
        if best is None:
            return None
        for other in given_way:
            self._weights[other] += 1
            self._remove(other)
        if not self._settle(index, best):
            raise InternalError(f"loop instruction '{self._graph.insts[index]}' does not fit a cleared cycle")
        return [*given_way, *self._displace(index)]

    def _displaced(self, index: int, cycle: int) -> list[int]:
        """What would be too early after `index` or too late before it at `cycle`."""
        cycles, delays = self._cycles, self._delays
        found = [
            other
            for other, span, is_result in self._after[index]
            if (at := cycles[other]) is not None and at < cycle + span + (delays[index] if is_result else 0)
        ]
        found += [
            other
            for other, span, is_result in self._before[index]
            if (at := cycles[other]) is not None and cycle < at + span + (delays[other] if is_result else 0)
        ]
        return found

    def _last_to_sink(self, index: int) -> int | None:
        latest = self._latest(index)
        return None if latest is None else min(latest, self._windows.highs[index])

    def _displace(self, index: int) -> list[int]:
        displaced = super()._displace(index)
        for other in displaced:
            self._weights[other] += 1
        return displaced
