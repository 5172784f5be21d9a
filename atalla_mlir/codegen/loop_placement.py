"""One attempt to place the instructions of a loop body, each next to those that it depends on.

Instructions are placed one by one next to those that are placed already, as early as what comes before allows or, when
only what comes after is there, as late as that allows, which keeps live ranges short; `placement_order` puts those that
hold each other in a circle first. When none of II cycles is free, the instruction takes its place and what is in the
way is placed again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush

from atalla_mlir.codegen.loop_graph import LoopEdge, LoopGraph, longest_paths
from atalla_mlir.codegen.loop_roles import find_feeders, independent_parts
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.codegen.reservations import MAX_QUEUED_CYCLES, LoopDemands, ReservationTable
from atalla_mlir.errors import InternalError
from atalla_mlir.target.isa import Format, Unit
from atalla_mlir.target.registers import RegisterFile

ATTEMPTS_PER_NODE = 8
"""Placements, per node, after which an II is given up."""
SINK_SWEEPS = 3
PATIENCE = 8
"""How often an instruction takes the next cycle when it displaces others; then it goes two cycles further, and so on:
those that displace each other in turn would never end."""


@dataclass(frozen=True)
class OrderChoice:
    """In which order nodes are placed.

    With `transfers_first` these come before all: they keep their pads for long, and integers find room around them.
    With `by_parts` what has nothing to do with each other, such as rows, comes one after the other in place of side by
    side. `seed` mixes nodes whose heights differ by up to `spread` cycles, one less than a power of two; 0 does not.
    What is placed by repair (`repair_placement`) between others comes as late as these allow with `is_late`.
    """

    transfers_first: bool = False
    by_parts: bool = False
    seed: int = 0
    spread: int = 3
    is_late: bool = False


class Placement:
    """One attempt to place all nodes at a given II."""

    def __init__(
        self, graph: LoopGraph, demands: LoopDemands, interval: int, choice: OrderChoice | None = None
    ) -> None:
        self._graph = graph
        self._choice = choice or OrderChoice()
        self._machine = demands.machine
        self._interval = interval
        self._table = ReservationTable(demands, interval)
        self._num_insts = len(graph.insts)
        self._cycles: list[int | None] = [None] * graph.num_nodes
        self._last: list[int | None] = [None] * graph.num_nodes
        self._forced = [0] * graph.num_nodes
        """How often each has displaced others."""
        self._delays = [0] * graph.num_nodes
        self._fixed: set[int] = set()
        """Instructions whose time is settled from the start."""
        self._attempts_per_node = ATTEMPTS_PER_NODE
        self._before, self._after = graph.spans(interval)

    def run(self) -> list[int] | None:
        """Cycles of the instructions, from 0 on; None when the budget runs out."""
        order = self.order()
        if order is None:
            return None
        priorities = {index: place for place, index in enumerate(order)}
        pending = [(place, index) for index, place in priorities.items()]
        heapify(pending)
        budget = self._attempts_per_node * self._graph.num_nodes
        while pending:
            _, index = heappop(pending)
            if self._cycles[index] is not None:
                continue
            if budget == 0:
                return None
            budget -= 1
            given_way = self._place(index)
            if given_way is None:
                return None
            for evicted in given_way:
                heappush(pending, (priorities[evicted], evicted))
        for _ in range(SINK_SWEEPS):
            if not self._sink():
                break
        self._shorten()
        return self._from_zero()

    def order(self) -> list[int] | None:
        """All nodes in the order of placement; None when chains of dependences never end."""
        return placement_order(self._graph, self._interval, self._choice)

    def banks(self) -> dict[Register, int]:
        """The banks of vector registers that the placement counts on."""
        return self._table.banks()

    def _span(self, edge: LoopEdge) -> int:
        """Cycles that must lie between the two ends of an edge without delay, counted in one iteration's time."""
        return edge.latency - edge.distance * self._interval

    def _earliest(self, index: int) -> int | None:
        """First cycle at which what must come before is done; None when nothing is placed that must."""
        cycles, delays, ready = self._cycles, self._delays, None
        for first, span, is_result in self._before[index]:
            at = cycles[first]
            if at is not None:
                done = at + span + delays[first] if is_result else at + span
                if ready is None or done > ready:
                    ready = done
        return ready

    def _latest(self, index: int) -> int | None:
        """Last cycle that is early enough for what comes after; None when nothing is placed that does."""
        cycles, delay, latest = self._cycles, self._delays[index], None
        for second, span, is_result in self._after[index]:
            at = cycles[second]
            if at is not None:
                due = at - span - delay if is_result else at - span
                if latest is None or due < latest:
                    latest = due
        return latest

    def _place(self, index: int) -> list[int] | None:
        """Places a node; returns the nodes that had to give way, or None when there is no place at all."""
        self._delays[index] = 0
        earliest, latest = self._earliest(index), self._latest(index)
        if index >= self._num_insts:
            self._cycles[index] = earliest if earliest is not None else latest or 0
            return self._displace(index)
        if self._settle_in_time(index, self._window(earliest, latest)):
            return []
        return self._force(index, earliest, latest)

    def _window(self, earliest: int | None, latest: int | None) -> range:
        """The cycles to try, the best first."""
        if earliest is None and latest is not None:
            return range(latest, latest - self._interval - MAX_QUEUED_CYCLES, -1)
        first = earliest or 0
        end = first + self._interval
        return range(first, end if latest is None else min(end, latest + 1))

    def _force(self, index: int, earliest: int | None, latest: int | None) -> list[int]:
        """Places an instruction whatever is in the way, each time at another cycle."""
        upwards = earliest is not None or latest is None
        step = 1 if upwards else -1
        cycle = (earliest or 0) if upwards or latest is None else latest
        last = self._last[index]
        hop = 1 + self._forced[index] // PATIENCE
        self._forced[index] += 1
        if last is not None and (last - cycle) * step >= 0:
            cycle = last + step * hop
        while (evicted := self._table.evict(index, cycle)) is None:
            cycle += step
        for other in evicted:
            self._cycles[other] = None
        if not self._settle(index, cycle):
            raise InternalError(f"loop instruction '{self._graph.insts[index]}' does not fit an empty cycle")
        return [*evicted, *self._displace(index)]

    def _settle(self, index: int, cycle: int) -> bool:
        """Places an instruction at `cycle` if the resources allow it."""
        found = self._table.first_fit(index, range(cycle, cycle + 1))
        if found is None:
            return False
        _, self._delays[index] = found
        self._table.reserve(index, cycle)
        self._cycles[index] = self._last[index] = cycle
        return True

    def _settle_in_time(self, index: int, cycles: range) -> bool:
        """Places an instruction in the first of `cycles` that resources allow and that, the time in its unit's queue
        included, is early enough for what comes after."""
        while (found := self._table.first_fit(index, cycles)) is not None:
            cycle, self._delays[index] = found
            self._last[index] = cycle
            latest = self._latest(index)
            if latest is None or cycle <= latest:
                self._table.reserve(index, cycle)
                self._cycles[index] = cycle
                return True
            cycles = range(cycle + cycles.step, cycles.stop, cycles.step)
        return False

    def _displace(self, index: int) -> list[int]:
        """Takes out what now comes too early after `index` or too late before it."""
        displaced: list[int] = []
        for edge in (*self._graph.outgoing[index], *self._graph.incoming[index]):
            first, second = self._cycles[edge.first], self._cycles[edge.second]
            if first is None or second is None:
                continue
            delay = self._delays[edge.first] if edge.is_result else 0
            if second >= first + self._span(edge) + delay:
                continue
            other = edge.second if edge.first == index else edge.first
            if other != index:
                displaced.append(other)
                self._remove(other)
        return displaced

    def _remove(self, index: int) -> None:
        if index < self._num_insts:
            self._table.release(index)
        self._cycles[index] = None

    def _sink(self) -> bool:
        """One sweep of moves towards the readers, the latest instructions first."""
        moved = False
        for index in sorted(range(self._num_insts), key=lambda index: -(self._cycles[index] or 0)):
            latest, at = self._last_to_sink(index), self._cycles[index]
            if index in self._fixed or latest is None or at is None or latest <= at or not self._may_sink(index):
                continue
            self._remove(index)
            if self._settle_in_time(index, range(min(latest, at + self._interval), at, -1)):
                moved = True
            elif not self._settle(index, at):
                raise InternalError(f"loop instruction '{self._graph.insts[index]}' lost its place")
        return moved

    def _last_to_sink(self, index: int) -> int | None:
        return self._latest(index)

    def _may_sink(self, index: int) -> bool:
        return may_sink(self._graph.insts[index])

    def _shorten(self) -> None:
        """Moves up scalar operations that would keep a register for longer than the interval, if there is room: the
        kernel need not be unrolled for them. What they make lives longer instead, up to the same limit.
        """
        for index in range(self._num_insts):
            at, limit = self._cycles[index], self._last_read(index)
            if (
                at is None
                or limit is None
                or at <= limit
                or index in self._fixed
                or not is_scalar(self._graph.insts[index])
            ):
                continue
            earliest = self._earliest(index)
            self._remove(index)
            if self._settle_in_time(index, range(limit, (limit if earliest is None else earliest) - 1, -1)):
                continue
            if not self._settle(index, at):
                raise InternalError(f"loop instruction '{self._graph.insts[index]}' lost its place")

    def _last_read(self, index: int) -> int | None:
        """Last cycle at which what an instruction reads has been there for less than the interval."""
        made = ((self._cycles[node], distance) for node, distance in copies_read(self._graph, index))
        return min((at + (1 - distance) * self._interval - 1 for at, distance in made if at is not None), default=None)

    def _from_zero(self) -> list[int]:
        """The cycles of the instructions, moved to take the fewest stages and leave the branch room in the last row."""
        cycles = [cycle or 0 for cycle in self._cycles[: self._num_insts]]
        first, last = min(cycles, default=0), max(cycles, default=0)
        num_stages = -(-(last - first + 1) // self._interval)
        starts = range(first, last - num_stages * self._interval, -1)
        start = next((at for at in starts if self._table.can_branch((at - 1) % self._interval)), first)
        return [cycle - start for cycle in cycles]


def may_sink(inst: Inst) -> bool:
    """Whether a later place is better: for values made from nothing and along chains of scalars, which then live for
    less, and for waits, which then find that their transfer is complete."""
    if not inst.defs:
        return inst.is_wait
    file = inst.defs[0].file
    return file is not RegisterFile.VECTOR or not any(register.file is file for register in inst.uses)


def is_scalar(inst: Inst) -> bool:
    """Whether an instruction makes an integer from integers."""
    return inst.op.unit in (Unit.EX1, Unit.EX4) and not inst.memory_refs()


def copies_read(graph: LoopGraph, index: int) -> list[tuple[int, int]]:
    """What makes the values that an instruction reads and that iterations have copies of, with distances."""
    uses = set(graph.insts[index].uses) - graph.in_place
    return [
        (edge.first, edge.distance)
        for edge in graph.incoming[index]
        if edge.is_result and not uses.isdisjoint(graph.insts[edge.first].defs)
    ]


def placement_order(graph: LoopGraph, interval: int, choice: OrderChoice) -> list[int] | None:
    """All nodes: circles of dependences first, then what leads to them, near before far, then what follows; None when
    chains of dependences never end."""
    exact = longest_paths(graph, interval)
    if exact is None:
        return None
    falling = falling_heights(exact, choice)
    order: dict[int, None] = {}

    def append(nodes: Iterable[int]) -> None:
        order.update(dict.fromkeys(nodes))

    if choice.transfers_first:
        append(index for index, inst in enumerate(graph.insts) if inst.op.format is Format.SDMA)
    # of nodes that are equally high the first comes first, unless they are placed from their readers on
    for part in _parts(graph) if choice.by_parts else ():
        append(sorted(part, key=falling.__getitem__))
    for circle, following, leading in circles_in_order(graph):
        append(sorted(circle, key=lambda node: -exact[node]))
        append(sorted(following, key=falling.__getitem__))
        append(sorted(leading, key=lambda node: -falling[node]))
    append(sorted(range(graph.num_nodes), key=falling.__getitem__))
    return list(order)


@lru_cache(maxsize=4)
def _parts(graph: LoopGraph) -> list[list[int]]:
    """What is no feeder, in parts that have nothing to do with each other."""
    feeders = find_feeders(graph)
    return independent_parts(graph, [node for node in range(graph.num_nodes) if node not in feeders])


@lru_cache(maxsize=4)
def circles_in_order(graph: LoopGraph) -> list[tuple[list[int], list[int], list[int]]]:
    """The circles of dependences, large ones first, with what follows from each and, the last
    first, what leads to it."""
    return [
        (
            sorted(circle),
            sorted(_reachable(graph, circle, backwards=False)),
            sorted(_reachable(graph, circle, backwards=True), reverse=True),
        )
        for circle in sorted(graph.circles, key=lambda nodes: (-len(nodes), min(nodes)))
    ]


def falling_heights(heights: Iterable[int], choice: OrderChoice) -> list[int]:
    """Keys by which high nodes come first, mixed as was chosen."""
    return [-height - _mixed(node, choice.seed, choice.spread) for node, height in enumerate(heights)]


def _mixed(node: int, seed: int, spread: int) -> int:
    """0 to `spread`, in another way for each seed; always 0 for seed 0."""
    return (node * 2654435761 + seed * 40503 ^ node * seed * 97) >> 7 & spread if seed else 0


def _reachable(graph: LoopGraph, start: Iterable[int], *, backwards: bool) -> set[int]:
    """What leads to `start` or follows from it inside an iteration."""
    found: set[int] = set()
    pending = list(start)
    while pending:
        node = pending.pop()
        for edge in graph.incoming[node] if backwards else graph.outgoing[node]:
            other = edge.first if backwards else edge.second
            if edge.distance == 0 and other not in found:
                found.add(other)
                pending.append(other)
    return found
