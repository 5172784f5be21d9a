"""What ends the iterations of a loop, placed once more in the order in which it is due.

Sums that lanes make of what the array gives row by row are later the more of them there are, and one that was taken out
of its place by something else comes last. Its terms may then be kept for longer than the interval, and the kernel would
be unrolled for that one row. So if some value is kept for too long, the operations on lanes and the stores that nothing
but such instructions follow are taken out, and those whose terms are the oldest go first.
"""

from __future__ import annotations

from collections.abc import Collection

from atalla_mlir.codegen.loop_graph import LoopEdge, LoopGraph, carried_reads, first_writers
from atalla_mlir.codegen.loop_memo import Found
from atalla_mlir.codegen.reservations import LoopDemands, ReservationTable
from atalla_mlir.target.isa import Unit

TAIL_UNITS = frozenset({Unit.LANE_ALU, Unit.LANE_MUL, Unit.LANE_EXP})


def shorten_tail(graph: LoopGraph, demands: LoopDemands, found: Found) -> Found:
    """A schedule that keeps no value for longer than the interval, if one is found; else `found` itself."""
    late = late_readers(graph, found)
    if not late:
        return found
    tail = tail_of(graph)
    if not late <= tail:
        return found
    placed = _TailPlacement(graph, demands, found, tail).run()
    return found if placed is None else placed


def longest_lifetime(graph: LoopGraph, found: Found) -> int:
    """Cycles for which some value is kept at most."""
    return max((_lifetime(edge, found) for edge in graph.edges if edge.is_result), default=0)


def late_readers(graph: LoopGraph, found: Found) -> set[int]:
    """The instructions that read a value when the next iteration has made its own."""
    makers = first_writers(graph)
    late: set[int] = set()
    for (index, register), distance in carried_reads(graph).items():
        kept = found.cycles[index] + distance * found.interval - found.cycles[makers[register]]
        # what an instruction reads it may overwrite itself
        if register not in graph.in_place and kept - (index == makers[register]) >= found.interval:
            late.add(index)
    return late


def _lifetime(edge: LoopEdge, found: Found) -> int:
    return found.cycles[edge.second] + edge.distance * found.interval - found.cycles[edge.first]


def tail_of(graph: LoopGraph) -> set[int]:
    """The lane operations and stores that only such instructions of the same iteration follow."""
    size = len(graph.insts)
    tail: set[int] = set()
    for index in reversed(range(size)):
        inst = graph.insts[index]
        is_store = inst.op.unit is Unit.VLSU and not inst.defs
        if inst.op.unit not in TAIL_UNITS and not is_store:
            continue
        comes_last = all(edge.second in tail and not edge.distance for edge in graph.outgoing[index])
        if comes_last and all(edge.first < size for edge in graph.incoming[index]):
            tail.add(index)
    return tail


class _TailPlacement:
    """One attempt; everything else stays where it is."""

    def __init__(self, graph: LoopGraph, demands: LoopDemands, found: Found, tail: Collection[int]) -> None:
        self._graph, self._found, self._tail = graph, found, tail
        self._table = ReservationTable(demands, found.interval)
        self._names = demands.names
        self._units = {demands.names[index] for index in tail}
        self._cycles: dict[int, int] = {at: cycle for at, cycle in enumerate(found.cycles) if at not in tail}
        kept = {register for index in self._cycles for register in graph.insts[index].uses}
        self._table.settle_banks({register: bank for register, bank in found.banks.items() if register in kept})

    def run(self) -> Found | None:
        for index, cycle in self._cycles.items():
            # which slot of a pad a load got does not matter to what is placed now
            if self._names[index] not in self._units:
                self._table.occupy(index, cycle)
            # entered in another order than they were found, stores may not all get a slot of their pad
            elif self._table.first_fit(index, range(cycle, cycle + 1)) is None:
                return None
            else:
                self._table.reserve(index, cycle)
        for index in self._order():
            cycle = self._place(index)
            if cycle is None:
                return None
            self._cycles[index] = cycle
        cycles = tuple(self._cycles[index] for index in range(len(self._graph.insts)))
        return Found(self._found.interval, cycles, self._table.banks())

    def _order(self) -> list[int]:
        """Level by level, those whose operands were made first ahead."""
        levels: dict[int, int] = {}
        made: dict[int, int] = {}
        for index in sorted(self._tail):
            before = self._graph.incoming[index]
            levels[index] = max((levels[edge.first] + 1 for edge in before if edge.first in levels), default=0)
            times = (made[edge.first] if edge.first in made else self._time(edge) for edge in before if edge.is_result)
            made[index] = min(times, default=0)
        return sorted(self._tail, key=lambda index: (levels[index], made[index], index))

    def _time(self, edge: LoopEdge) -> int:
        """When the first end of an edge issues, in the time of the iteration of the second."""
        return self._cycles[edge.first] - edge.distance * self._found.interval

    def _place(self, index: int) -> int | None:
        """The first cycle with room that is not too late for what the instruction reads; None where there is none."""
        before = self._graph.incoming[index]
        # of what it reads all may be of the iteration before, but its own begins at 0
        earliest = max([0, *(self._time(edge) + edge.latency for edge in before)])
        limits = (self._time(edge) for edge in before if edge.is_result)
        last = min(limits, default=earliest) + self._found.interval - 1
        found = self._table.first_fit(index, range(earliest, min(last + 1, earliest + self._found.interval)))
        if found is None:
            return None
        cycle, _ = found
        self._table.reserve(index, cycle)
        return cycle
