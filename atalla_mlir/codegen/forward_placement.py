"""One attempt to place the instructions of a loop body that moves data, cycle by cycle."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations

from atalla_mlir.codegen.dependence import dma_cycles
from atalla_mlir.codegen.loop_graph import LoopGraph
from atalla_mlir.codegen.loop_placement import SINK_SWEEPS, Placement
from atalla_mlir.codegen.reservations import LoopDemands
from atalla_mlir.errors import InternalError
from atalla_mlir.target.isa import Format, Latency, Unit
from atalla_mlir.target.registers import RegisterFile

MAX_CHANNEL_WAIT = 1.6
"""How much longer than alone a transfer is taken to last when the others use the DRAM channel as well."""
COMPANY_DISTANCE = 24
"""Cycles by which an instruction moves at most to share a packet."""
CHANNEL_SLACK = 0.9
"""Share of a pad's idle time that is given to its transfers, which then wait for the DRAM channel."""
ARRAY_TURN_CYCLES = 64
"""Cycles of a run of weight pushes in which no row is waited for, and of the product after it."""
LOADING_SHARES = (0.85, 0.85, 0.7, 0.7)
"""Shares of the interval over which loads are spread, one for each attempt."""
EAGER_SHARES = (0.7, 0.6, 0.5, 0.4)
"""The same where loads do not wait for those before them to be spread, which suits several slices in one iteration."""
PHASE_ORDERS = 6
"""Orders of the pads in which the phases of their transfers are tried."""
_NEVER = 1 << 60
MAX_OPEN_MASKS = 8
"""Masks in flight beyond which placing forwards makes no new ones."""


class ForwardPlacement(Placement):
    """One attempt to place all nodes cycle by cycle, in program order among those that are ready.

    Nothing is ever taken back, so a body whose units are all busy is placed almost as tightly as they allow, and one
    row's instructions stay together; what comes too late for the next iteration ends the attempt. With `is_eager` loads
    issue as soon as what they feed may need them, else each some time after that.
    """

    def __init__(
        self, graph: LoopGraph, demands: LoopDemands, interval: int, turn: int = 0, *, is_eager: bool = False
    ) -> None:
        super().__init__(graph, demands, interval)
        self._turn, self._is_eager = turn, is_eager
        self._kinds = [*demands.kinds, *range(self._num_insts, graph.num_nodes)]
        """Nodes of equal kinds are refused together, whatever they read."""
        self._phases: dict[int, int] = {}
        """When transfers to DRAM may issue, modulo the interval."""
        self._runs = push_runs(graph)
        """For the first of some weight pushes: what makes the rows that are pushed, and how many must be there."""
        self._open_masks: dict[int, int] = {}
        """Instructions whose mask still has readers to place, with their number."""

    def run(self) -> list[int] | None:
        feeders = _feeders(self._graph)
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
        self._shorten()
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
        turn = 0 if self._graph.is_ahead else self._turn
        for position, pad in enumerate((first, *orders[turn % len(orders)])):
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
                if self._graph.insts[index].op.mnemonic != "scpad.ld" and not self._graph.is_ahead:
                    self._table.reserve(index, cycle)
                    self._phases[index] = cycle % self._interval
                else:
                    self._settle(index, cycle)
                    if not self._graph.is_ahead:
                        self._delays[index] = int(length * (min(stretch, MAX_CHANNEL_WAIT) - 1))
                start += length * stretch
        return True

    def _free_phase(self, index: int, cycle: int) -> int | None:
        """The first cycle from `cycle` on at which a transfer can issue."""
        found = self._table.first_fit(index, range(cycle, cycle + self._interval))
        return None if found is None else found[0]

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
        deadlines = _Deadlines(self._before, self._graph)
        for index, at in enumerate(self._cycles):
            if at is not None:
                deadlines.place(index, at)
        if not self._graph.is_ahead:
            return self._place_part(others, feeders, {}, deadlines)
        heights = self._graph.heights
        parts = sorted(independent_parts(self._graph, others), key=lambda part: -max(heights[index] for index in part))
        if self._turn % 2:
            parts.reverse()
        return all(self._place_part(part, feeders, self._releases(part), deadlines) for part in parts)

    def _releases(self, part: Sequence[int]) -> dict[int, int]:
        """When loads may issue at the earliest where none waits for a transfer: evenly over the interval, from when on
        what they meet may be there.

        All would be ready at once; what they feed can then follow as they come.
        """
        loads = [index for index in part if index < self._num_insts and self._is_load(index)]
        shares = EAGER_SHARES if self._is_eager else LOADING_SHARES
        spread = shares[self._turn % len(shares)] * self._interval / max(1, len(loads))
        needed = self._needed_times(part)
        if self._is_eager:
            loads.sort(key=lambda index: (needed[index], index))
        spaced = {index: int(number * spread) for number, index in enumerate(loads)}
        if self._is_eager:
            return {index: max(needed[index], at) for index, at in spaced.items()}
        return {index: needed[index] + at for index, at in spaced.items()}

    def _needed_times(self, part: Sequence[int]) -> dict[int, int]:
        """When each node is first needed by what follows, if nothing held that up but what it depends on."""
        ready = dict.fromkeys(part, 0)
        for index in sorted(part):
            for edge in self._graph.outgoing[index]:
                if not edge.distance and edge.second in ready:
                    ready[edge.second] = max(ready[edge.second], ready[index] + edge.latency)
        return {
            index: min(
                (
                    ready[edge.second] - edge.latency
                    for edge in self._graph.outgoing[index]
                    if not edge.distance and edge.second in ready
                ),
                default=0,
            )
            for index in part
        }

    def _is_load(self, index: int) -> bool:
        return self._graph.insts[index].op.mnemonic == "vreg.ld"

    def _place_part(
        self, part: Sequence[int], feeders: set[int], releases: Mapping[int, int], deadlines: _Deadlines
    ) -> bool:
        graph, kinds = self._graph, self._kinds
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
        # when what is ready has not been placed for so long there is no more hope
        patience = self._interval + graph.longest_latency
        while left:
            blocked: list[int] = []
            refused: set[int] = set()
            fresh = pending.pop(cycle, [])
            deadlines.add(fresh)
            for index in sorted(ready + fresh) if fresh else ready:
                if kinds[index] in refused:
                    blocked.append(index)
                    continue
                if not self._issue(index, cycle):
                    blocked.append(index)
                    if index < self._num_insts and self._table.refuses_kind(index, cycle):
                        refused.add(kinds[index])
                    continue
                left, last_progress = left - 1, cycle
                deadlines.place(index, cycle)
                for edge in graph.outgoing[index]:
                    if edge.distance or edge.second in feeders or self._cycles[edge.second] is not None:
                        continue
                    waits[edge.second] -= 1
                    if not waits[edge.second]:
                        at = max(cycle + 1, self._earliest(edge.second) or 0, releases.get(edge.second, 0))
                        pending.setdefault(at, []).append(edge.second)
            ready = blocked
            if not ready:
                last_progress = cycle
            if cycle - last_progress > patience or deadlines.is_missed(ready, cycle):
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

    def _issue(self, index: int, cycle: int) -> bool:
        """Places a node at `cycle` if it can issue then."""
        if index >= self._num_insts or index in self._phases:
            latest = self._latest(index)
            if latest is not None and latest < cycle:
                return False
            if index in self._phases and cycle % self._interval != self._phases[index]:
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


class _Deadlines:
    """The first cycle at which a node that is not placed yet, or what waits for it, is too late for what is placed.

    Kept up to date with each placement: asking for all that is ready in each cycle would take most of the time.
    """

    def __init__(self, befores: Sequence[Sequence[tuple[int, int, bool]]], graph: LoopGraph) -> None:
        self._befores = befores
        self._near = graph.near_incoming
        self._latest = [_NEVER] * graph.num_nodes
        self._due = [_NEVER] * graph.num_nodes
        self._next = _NEVER
        """No node that is ready is due before this."""

    def place(self, index: int, cycle: int) -> None:
        latest, due = self._latest, self._due
        for first, span, _ in self._befores[index]:
            last = cycle - span
            if last >= latest[first]:
                continue
            latest[first] = last
            if last < due[first]:
                due[first] = last
                if last < self._next:
                    self._next = last
            for before, latency in self._near[first]:
                at = last - latency
                if at < due[before]:
                    due[before] = at
                    if at < self._next:
                        self._next = at

    def add(self, nodes: Iterable[int]) -> None:
        """Says that nodes are ready now."""
        for node in nodes:
            self._next = min(self._next, self._due[node])

    def is_missed(self, ready: Sequence[int], cycle: int) -> bool:
        """Whether one of `ready`, which are all that are, should have been placed up to `cycle`."""
        if self._next > cycle:
            return False
        self._next = min((self._due[node] for node in ready), default=_NEVER)
        return self._next <= cycle


def _feeders(graph: LoopGraph) -> set[int]:
    """Integer operations that make addresses: quick ones that may come as late as their readers like."""
    return {
        index
        for index, inst in enumerate(graph.insts)
        if inst.op.unit in (Unit.EX1, Unit.EX4) and not inst.memory_refs()
    }


def different_turns(graph: LoopGraph, *, is_eager: bool) -> list[int]:
    """The turns that are worth an attempt: orders of the pads or, where nothing waits for transfers, shares of the
    interval over which loads are spread, with the parts of the body forwards and backwards."""
    if graph.is_ahead:
        feeders = _feeders(graph)
        parts = independent_parts(graph, [index for index in range(graph.num_nodes) if index not in feeders])
        shares = EAGER_SHARES if is_eager else LOADING_SHARES
        backwards = len(parts) > 1
        return [turn for turn, share in enumerate(shares) if backwards or share not in shares[:turn]]
    pads = {inst.pad or 0 for inst in graph.insts if inst.op.format is Format.SDMA}
    return list(range(min(PHASE_ORDERS, math.factorial(len(pads) - 1))))


def independent_parts(graph: LoopGraph, nodes: Sequence[int]) -> list[list[int]]:
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


def push_runs(graph: LoopGraph) -> dict[int, list[int]]:
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
