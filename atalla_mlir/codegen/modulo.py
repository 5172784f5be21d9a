"""Iterative modulo scheduling: one iteration of a loop body laid out so that a new one can start every II cycles.

Instructions are placed one by one next to those that are placed already, as early as what comes before allows or, when
only what comes after is there, as late as that allows, which keeps live ranges short; `placement_order` puts those that
hold each other in a circle first. When none of II cycles is free, the instruction takes its place and what is in the
way is placed again. II starts at the larger of the resource and the recurrence bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import permutations

from atalla_mlir.codegen.dependence import dma_cycles
from atalla_mlir.codegen.loop_graph import LoopEdge, LoopGraph, longest_paths, recurrence_bound, resource_bounds
from atalla_mlir.codegen.machine_ir import AHEAD_MARK, Register
from atalla_mlir.codegen.reservations import MAX_QUEUED_CYCLES, LoopDemands, ReservationTable
from atalla_mlir.errors import InternalError
from atalla_mlir.target.isa import Format, Latency, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

ATTEMPTS_PER_NODE = 8
"""Placements, per node, after which an II is given up."""
SINK_SWEEPS = 3
MAX_CHANNEL_WAIT = 1.6
"""How much longer than alone a transfer is taken to last when the others use the DRAM channel as well."""
COMPANY_DISTANCE = 24
"""Cycles by which an instruction moves at most to share a packet."""
CHANNEL_SLACK = 0.9
"""Share of a pad's idle time that is given to its transfers, which then wait for the DRAM channel."""
PHASE_ORDERS = 6
"""Orders of the pads in which the phases of their transfers are tried."""
ARRAY_TURN_CYCLES = 64
"""Cycles of a run of weight pushes in which no row is waited for, and of the product after it."""
LOADING_SHARE = 0.85
"""Share of the interval over which loads are spread."""
MAX_OPEN_MASKS = 8
"""Masks in flight beyond which placing forwards makes no new ones."""


@dataclass(frozen=True)
class ModuloSchedule:
    """One iteration: the cycle of each instruction; `interval` is II, with the bounds that machine and loop set."""

    graph: LoopGraph
    interval: int
    cycles: tuple[int, ...]
    resource_bounds: Mapping[str, int]
    recurrence_bound: int

    @property
    def resource_bound(self) -> int:
        return max(self.resource_bounds.values(), default=1)

    @property
    def bound(self) -> int:
        """The least II that resources and recurrences allow."""
        return max(self.resource_bound, self.recurrence_bound)

    @property
    def num_stages(self) -> int:
        return max(self.cycles, default=0) // self.interval + 1

    def rows(self) -> list[list[int]]:
        """The instructions of each cycle modulo II."""
        rows: list[list[int]] = [[] for _ in range(self.interval)]
        for index, cycle in enumerate(self.cycles):
            rows[cycle % self.interval].append(index)
        return rows


def modulo_schedule(
    graph: LoopGraph, machine: Machine, banks: Mapping[Register, int], max_interval: int, min_interval: int = 1
) -> ModuloSchedule | None:
    """A schedule with the smallest II found in the given range, or None when there is none."""
    bounds = resource_bounds(graph.insts, machine)
    recurrence = recurrence_bound(graph, max_interval + 1)
    interval = max(*bounds.values(), recurrence, min_interval)
    demands = LoopDemands(graph.insts, machine, banks)
    attempts: list[Callable[[LoopGraph, LoopDemands, int], _Placement]] = [_Placement]
    fineness = 64
    if _overlaps_transfers(graph):
        fineness = 32
        attempts = [partial(_ForwardPlacement, turn=turn) for turn in range(_num_orders(graph))]
    while interval <= max_interval:
        cycles = next((found for attempt in attempts if (found := attempt(graph, demands, interval).run())), None)
        if cycles is not None:
            return ModuloSchedule(graph, interval, tuple(cycles), bounds, recurrence)
        interval += max(1, interval // fineness)
    return None


def _num_orders(graph: LoopGraph) -> int:
    """Orders of the pads to try: one where nothing waits for transfers."""
    return 1 if is_ahead(graph) else PHASE_ORDERS


def is_ahead(graph: LoopGraph) -> bool:
    """Whether transfers bring what is used some iterations later only, so that nothing waits for them."""
    return any(AHEAD_MARK in ref.object for inst in graph.insts for ref in inst.memory_refs())


def _overlaps_transfers(graph: LoopGraph) -> bool:
    """Whether the body moves data by DMA: such bodies are long, and what they compute hardly forms circles."""
    return any(inst.op.format is Format.SDMA for inst in graph.insts)


class _Placement:
    """One attempt to place all nodes at a given II."""

    def __init__(self, graph: LoopGraph, demands: LoopDemands, interval: int) -> None:
        self._graph = graph
        self._machine = demands.machine
        self._interval = interval
        self._table = ReservationTable(demands, interval)
        self._num_insts = len(graph.insts)
        self._cycles: list[int | None] = [None] * graph.num_nodes
        self._last: list[int | None] = [None] * graph.num_nodes
        self._delays = [0] * graph.num_nodes
        self._fixed: set[int] = set()
        """Instructions whose time is settled from the start."""
        # (other end, cycles that must lie between, whether the delay of the first comes on top)
        self._before = [
            [(edge.first, self._span(edge), edge.is_result) for edge in edges if edge.first != edge.second]
            for edges in graph.incoming
        ]
        self._after = [
            [(edge.second, self._span(edge), edge.is_result) for edge in edges if edge.first != edge.second]
            for edges in graph.outgoing
        ]

    def run(self) -> list[int] | None:
        """Cycles of the instructions, from 0 on; None when the budget runs out."""
        heights = longest_paths(self._graph, self._interval)
        if heights is None:
            return None
        priorities = {index: place for place, index in enumerate(placement_order(self._graph, heights))}
        pending = [(place, index) for index, place in priorities.items()]
        heapify(pending)
        budget = ATTEMPTS_PER_NODE * self._graph.num_nodes
        while pending:
            _, index = heappop(pending)
            if self._cycles[index] is not None:
                continue
            if budget == 0:
                return None
            budget -= 1
            for evicted in self._place(index):
                heappush(pending, (priorities[evicted], evicted))
        for _ in range(SINK_SWEEPS):
            if not self._sink():
                break
        return self._from_zero()

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

    def _place(self, index: int) -> list[int]:
        """Places a node; returns the nodes that had to give way."""
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
        if last is not None and (last - cycle) * step >= 0:
            cycle = last + step
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
            latest, at = self._latest(index), self._cycles[index]
            if index in self._fixed or latest is None or at is None or latest <= at or not self._may_sink(index):
                continue
            self._remove(index)
            if self._settle_in_time(index, range(min(latest, at + self._interval), at, -1)):
                moved = True
            elif not self._settle(index, at):
                raise InternalError(f"loop instruction '{self._graph.insts[index]}' lost its place")
        return moved

    def _may_sink(self, index: int) -> bool:
        """Whether a later place shortens live ranges: of values made from nothing, and along chains of scalars."""
        inst = self._graph.insts[index]
        if not inst.defs:
            return False
        file = inst.defs[0].file
        return file is not RegisterFile.VECTOR or not any(register.file is file for register in inst.uses)

    def _from_zero(self) -> list[int]:
        """The cycles of the instructions, moved to take the fewest stages and leave the branch room in the last row."""
        cycles = [cycle or 0 for cycle in self._cycles[: self._num_insts]]
        first, last = min(cycles, default=0), max(cycles, default=0)
        num_stages = -(-(last - first + 1) // self._interval)
        starts = range(first, last - num_stages * self._interval, -1)
        start = next((at for at in starts if self._table.can_branch((at - 1) % self._interval)), first)
        return [cycle - start for cycle in cycles]


class _ForwardPlacement(_Placement):
    """One attempt to place all nodes cycle by cycle, in program order among those that are ready.

    Nothing is ever taken back, so a body whose units are all busy is placed almost as tightly as they allow, and one
    row's instructions stay together; what comes too late for the next iteration ends the attempt.
    """

    def __init__(self, graph: LoopGraph, demands: LoopDemands, interval: int, turn: int = 0) -> None:
        super().__init__(graph, demands, interval)
        self._turn = turn
        self._phases: dict[int, int] = {}
        """When transfers to DRAM may issue, modulo the interval."""
        self._runs = _push_runs(graph)
        """For the first of some weight pushes: what makes the rows that are pushed, and how many must be there."""
        self._open_masks: dict[int, int] = {}
        """Instructions whose mask still has readers to place, with their number."""

    def run(self) -> list[int] | None:
        feeders = self._feeders()
        if not self._place_transfers():
            return None
        early = self._transfer_feeders(feeders)
        if not self._place_feeders(early) or not self._place_forwards(feeders):
            return None
        if not self._place_feeders(feeders - early):
            return None
        for _ in range(SINK_SWEEPS):
            if not self._sink():
                break
        self._compact()
        return self._from_zero()

    def _compact(self) -> None:
        """Moves instructions that have little company in their cycle to some nearby: fewer packets need less cache."""
        company = Counter((cycle or 0) % self._interval for cycle in self._cycles[: self._num_insts])
        for most in (1, 2, 1):
            for index in sorted(range(self._num_insts), key=lambda index: self._cycles[index] or 0):
                at = self._cycles[index]
                if at is None or index in self._fixed or company[at % self._interval] > most:
                    continue
                target = self._move_to_company(index, at, company)
                company[at % self._interval] -= 1
                company[target % self._interval] += 1

    def _move_to_company(self, index: int, at: int, company: Mapping[int, int]) -> int:
        """The new cycle of an instruction: one nearby with at least as much company, or the old one."""
        earliest, latest = self._earliest(index), self._latest(index)
        low = at - COMPANY_DISTANCE if earliest is None else max(earliest, at - COMPANY_DISTANCE)
        high = at + COMPANY_DISTANCE if latest is None else min(latest, at + COMPANY_DISTANCE)
        self._remove(index)
        for cycle in sorted(range(low, high + 1), key=lambda cycle: abs(cycle - at)):
            row = cycle % self._interval
            has_more = row != at % self._interval and company[row] >= company[at % self._interval]
            if has_more and self._settle_in_time(index, range(cycle, cycle + 1)):
                return cycle
        if not self._settle(index, at):
            raise InternalError(f"loop instruction '{self._graph.insts[index]}' lost its place")
        return at

    def _place_transfers(self) -> bool:
        """Puts the transfers first, evenly over the interval, each pad at another phase.

        A pad's transfers follow each other; those to DRAM have a fixed place in the interval but issue only when their
        rows are there. The channel is then asked for the same all the time, so what waits for a transfer must allow
        for the others.
        """
        by_pad: dict[int, list[int]] = {}
        for index, inst in enumerate(self._graph.insts):
            if inst.op.format is Format.SDMA:
                by_pad.setdefault(inst.pad or 0, []).append(index)
        first, *others = sorted(by_pad)
        orders = list(permutations(others))
        for position, pad in enumerate((first, *orders[self._turn % len(orders)])):
            lengths = {index: dma_cycles(self._graph.insts[index], self._machine) for index in by_pad[pad]}
            stretch = max(1.0, self._interval / sum(lengths.values()))
            start = position * self._interval / len(by_pad)
            for index, length in lengths.items():
                self._table.prolong(index, int(length * min(MAX_CHANNEL_WAIT, CHANNEL_SLACK * (stretch - 1) + 1)))
            for index, length in lengths.items():
                cycle = self._free_phase(index, int(start))
                if cycle is None:
                    return False
                self._fixed.add(index)
                if self._graph.insts[index].op.mnemonic != "scpad.ld" and not is_ahead(self._graph):
                    self._table.reserve(index, cycle)
                    self._phases[index] = cycle % self._interval
                else:
                    self._settle(index, cycle)
                    if not is_ahead(self._graph):
                        self._delays[index] = int(length * (min(stretch, MAX_CHANNEL_WAIT) - 1))
                start += length * stretch
        return True

    def _free_phase(self, index: int, cycle: int) -> int | None:
        """The first cycle from `cycle` on at which a transfer can issue."""
        found = self._table.first_fit(index, range(cycle, cycle + self._interval))
        return None if found is None else found[0]

    def _feeders(self) -> set[int]:
        """Integer operations that make addresses: quick ones that may come as late as their readers like."""
        return {
            index
            for index, inst in enumerate(self._graph.insts)
            if inst.op.unit in (Unit.EX1, Unit.EX4) and not inst.memory_refs()
        }

    def _transfer_feeders(self, feeders: set[int]) -> set[int]:
        """Those that lead to transfers whose time is settled, or wait for these, and to nothing else."""
        early: set[int] = set()
        settled = {index for index in self._fixed if self._cycles[index] is not None}
        for index in sorted(feeders, reverse=True):
            makes = bool(self._graph.insts[index].defs)
            following = [e for e in self._graph.outgoing[index] if not e.distance and e.second < self._num_insts]
            targets = [e.second for e in following if e.is_result or not makes]
            if targets and all(target in early or target in settled for target in targets):
                early.add(index)
        return early

    def _place_forwards(self, feeders: set[int]) -> bool:
        """Places all but the feeders; parts that have nothing to do with each other one by one, the longest first."""
        others = [index for index in range(self._graph.num_nodes) if index not in feeders]
        if not is_ahead(self._graph):
            return self._place_part(others, feeders, {})
        heights = self._graph.heights
        parts = sorted(_parts(self._graph, others), key=lambda part: -max(heights[index] for index in part))
        return all(self._place_part(part, feeders, self._releases(part)) for part in parts)

    def _releases(self, part: Sequence[int]) -> dict[int, int]:
        """When loads may issue at the earliest where none waits for a transfer: evenly over the interval.

        All would be ready at once; what they feed can then follow as they come.
        """
        loads = [index for index in part if index < self._num_insts and self._is_load(index)]
        spread = LOADING_SHARE * self._interval / max(1, len(loads))
        return {index: int(number * spread) for number, index in enumerate(loads)}

    def _is_load(self, index: int) -> bool:
        return self._graph.insts[index].op.mnemonic == "vreg.ld"

    def _place_part(self, part: Sequence[int], feeders: set[int], releases: Mapping[int, int]) -> bool:
        graph = self._graph
        waits = {
            index: sum(edge.distance == 0 and edge.first not in feeders for edge in graph.incoming[index])
            for index in part
        }
        placed = [index for index in part if self._cycles[index] is not None]
        for index in placed:
            for edge in graph.outgoing[index]:
                if edge.second in waits:
                    waits[edge.second] -= not edge.distance
        pending: dict[int, list[int]] = {}
        for index, count in waits.items():
            if not count and self._cycles[index] is None:
                at = max(0, self._earliest(index) or 0, releases.get(index, 0))
                pending.setdefault(at, []).append(index)
        left, cycle, last_progress = len(part) - len(placed), 0, 0
        ready: list[int] = []
        while left:
            blocked: list[int] = []
            for index in sorted(ready + pending.pop(cycle, [])):
                if not self._issue(index, cycle):
                    blocked.append(index)
                    continue
                left, last_progress = left - 1, cycle
                for edge in graph.outgoing[index]:
                    if edge.distance or edge.second in feeders or self._cycles[edge.second] is not None:
                        continue
                    waits[edge.second] -= 1
                    if not waits[edge.second]:
                        at = max(cycle + 1, self._earliest(edge.second) or 0, releases.get(edge.second, 0))
                        pending.setdefault(at, []).append(edge.second)
            ready = blocked
            if any(self._is_late(index, cycle) for index in ready) or cycle - last_progress > self._patience():
                return False
            cycle += 1
        return True

    def _place_feeders(self, feeders: set[int]) -> bool:
        """Puts each as late as its readers allow: then the steps of pointers, then what leads to these."""
        ranks = self._feeder_ranks(feeders)
        for index in sorted(feeders, key=lambda index: (ranks[index], -index)):
            earliest, latest = self._earliest(index), self._latest(index)
            if latest is None:
                latest = (earliest or 0) + self._interval
            lowest = latest - self._interval if earliest is None else max(earliest, latest - self._interval)
            if not self._settle_in_time(index, range(latest, lowest - 1, -1)):
                return False
        return True

    def _feeder_ranks(self, feeders: set[int]) -> dict[int, int]:
        """1 for what writes pointers in place, 2 for what only that reads, 3 for what only waits, 0 for all others."""
        ranks: dict[int, int] = {}
        for index in sorted(feeders, reverse=True):
            readers = [e.second for e in self._graph.outgoing[index] if e.is_result and e.second > index]
            if not self._graph.insts[index].defs:
                ranks[index] = 3
            elif not self._graph.in_place.isdisjoint(self._graph.insts[index].defs):
                ranks[index] = 1
            else:
                ranks[index] = 2 if readers and all(ranks.get(reader, 0) for reader in readers) else 0
        return ranks

    def _patience(self) -> int:
        """Cycles without an instruction placed after which there is no more hope."""
        longest = max((edge.latency for edge in self._graph.edges), default=0)
        return self._interval + longest

    def _is_late(self, index: int, cycle: int) -> bool:
        """Whether `index`, not placed at `cycle`, or what waits for it comes too late for what is placed."""
        latest = self._latest(index)
        if latest is not None and latest <= cycle:
            return True
        for edge in self._graph.outgoing[index]:
            if self._cycles[edge.second] is None and not edge.distance:
                last = self._latest(edge.second)
                if last is not None and last - self._span(edge) <= cycle:
                    return True
        return False

    def _issue(self, index: int, cycle: int) -> bool:
        if index >= self._num_insts:
            self._cycles[index] = cycle
            return True
        if index in self._phases:
            if cycle % self._interval != self._phases[index]:
                return False
            self._cycles[index] = cycle
            return True
        if index in self._runs and not self._may_begin(index):
            return False
        inst = self._graph.insts[index]
        makes_mask = any(register.file is RegisterFile.MASK for register in inst.defs)
        if makes_mask and len(self._open_masks) >= MAX_OPEN_MASKS:
            return False
        if not self._settle_in_time(index, range(cycle, cycle + 1)):
            return False
        if makes_mask:
            self._open_masks[index] = self._num_readers(index)
        for edge in self._graph.incoming[index]:
            if edge.is_result and edge.first in self._open_masks:
                self._open_masks[edge.first] -= 1
                if not self._open_masks[edge.first]:
                    del self._open_masks[edge.first]
        return True

    def _may_begin(self, index: int) -> bool:
        """Whether so many rows of a run of pushes are made that the array is not kept from others for long."""
        makers = self._runs[index]
        share = 1 / len(self._runs) - ARRAY_TURN_CYCLES / self._interval
        needed = len(makers) * min(1.0, max(0.0, 1 - share))
        return sum(self._cycles[maker] is not None for maker in makers) >= needed

    def _num_readers(self, index: int) -> int:
        return sum(edge.is_result for edge in self._graph.outgoing[index])


def _parts(graph: LoopGraph, nodes: Sequence[int]) -> list[list[int]]:
    """`nodes` in parts that no dependence inside an iteration connects, each in program order."""
    wanted, seen = set(nodes), set[int]()
    parts: list[list[int]] = []
    for node in nodes:
        if node in seen:
            continue
        seen.add(node)
        part, pending = [node], [node]
        while pending:
            at = pending.pop()
            edges = [(edge.first, edge.distance) for edge in graph.incoming[at]]
            edges += [(edge.second, edge.distance) for edge in graph.outgoing[at]]
            for other, distance in edges:
                if not distance and other in wanted and other not in seen:
                    seen.add(other)
                    part.append(other)
                    pending.append(other)
        parts.append(sorted(part))
    return parts


def _push_runs(graph: LoopGraph) -> dict[int, list[int]]:
    """For the first of the weight pushes that follow each other without a product: the makers of the rows pushed."""
    runs: dict[int, list[int]] = {}
    first: int | None = None
    for index, inst in enumerate(graph.insts):
        if inst.op.unit is not Unit.GSAU:
            continue
        if inst.op.latency is not Latency.WEIGHT_PUSH:
            first = None
            continue
        first = index if first is None else first
        makers = [edge.first for edge in graph.incoming[index] if edge.is_result and not edge.distance]
        runs.setdefault(first, []).extend(makers)
    return runs


def placement_order(graph: LoopGraph, heights: Sequence[int]) -> list[int]:
    """All nodes: circles of dependences first, then what leads to them, near before far, then what follows."""
    order: list[int] = []
    placed: set[int] = set()

    def append(nodes: Iterable[int]) -> None:
        for node in nodes:
            if node not in placed:
                placed.add(node)
                order.append(node)

    for circle in sorted(graph.circles, key=lambda nodes: (-len(nodes), min(nodes))):
        append(sorted(circle, key=lambda node: (-heights[node], node)))
        append(sorted(_reachable(graph, circle, backwards=False), key=lambda node: (-heights[node], node)))
        append(sorted(_reachable(graph, circle, backwards=True), key=lambda node: (heights[node], -node)))
    append(sorted(range(graph.num_nodes), key=lambda node: (-heights[node], node)))
    return order


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
