"""One attempt to place the instructions of a loop body that moves data, cycle by cycle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from atalla_mlir.codegen.dependence import dma_cycles
from atalla_mlir.codegen.loop_graph import LoopGraph
from atalla_mlir.codegen.loop_placement import SINK_SWEEPS, Placement
from atalla_mlir.codegen.loop_roles import (
    feeders_in_order,
    find_feeders,
    forward_parts,
    is_load,
    is_settled,
    loading_share,
    needed_times,
    push_runs,
    transfer_feeders,
    transfers_by_pad,
)
from atalla_mlir.codegen.reservations import LoopDemands
from atalla_mlir.errors import InternalError
from atalla_mlir.target.registers import RegisterFile

MAX_CHANNEL_WAIT = 1.6
"""How much longer than alone a transfer is taken to last when the others use the DRAM channel as well."""
COMPANY_DISTANCE = 24
"""Cycles by which an instruction moves at most to share a packet."""
CHANNEL_SLACK = 0.9
"""Share of a pad's idle time that is given to its transfers, which then wait for the DRAM channel."""
ARRAY_TURN_CYCLES = 64
"""Cycles of a run of weight pushes in which no row is waited for, and of the product after it."""
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
        feeders = find_feeders(self._graph)
        if not self._place_transfers():
            return None
        early = transfer_feeders(self._graph, feeders)
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
        pads = transfers_by_pad(self._graph, self._turn)
        for position, transfers in enumerate(pads):
            lengths = {index: dma_cycles(self._graph.insts[index], self._machine) for index in transfers}
            stretch = max(1.0, self._interval / sum(lengths.values()))
            start = position * self._interval / len(pads)
            for index, length in lengths.items():
                self._table.prolong(index, int(length * min(MAX_CHANNEL_WAIT, CHANNEL_SLACK * (stretch - 1) + 1)))
            for index, length in lengths.items():
                cycle = self._free_phase(index, int(start))
                if cycle is None:
                    return False
                self._fixed.add(index)
                if not is_settled(self._graph, index):
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

    def _place_forwards(self, feeders: set[int]) -> bool:
        """Places all but the feeders."""
        deadlines = _Deadlines(self._before, self._graph)
        for index, at in enumerate(self._cycles):
            if at is not None:
                deadlines.place(index, at)
        parts = forward_parts(self._graph, self._turn)
        return all(self._place_part(part, feeders, self._releases(part), deadlines) for part in parts)

    def _releases(self, part: Sequence[int]) -> dict[int, int]:
        """When loads may issue at the earliest where none waits for a transfer: evenly over the interval, from when on
        what they meet may be there.

        All would be ready at once; what they feed can then follow as they come.
        """
        if not self._graph.is_ahead:
            return {}
        loads = [index for index in part if index < self._num_insts and is_load(self._graph, index)]
        spread = loading_share(self._turn, is_eager=self._is_eager) * self._interval / max(1, len(loads))
        needed = needed_times(self._graph, part)
        if self._is_eager:
            loads.sort(key=lambda index: (needed[index], index))
        spaced = {index: int(number * spread) for number, index in enumerate(loads)}
        if self._is_eager:
            return {index: max(needed[index], at) for index, at in spaced.items()}
        return {index: needed[index] + at for index, at in spaced.items()}

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
        """Puts each as late as its readers allow."""
        near: int | None = None
        """Where the feeder before was placed: what steps together should not be an interval apart."""
        for index in feeders_in_order(self._graph, feeders):
            earliest, latest = self._earliest(index), self._latest(index)
            if latest is None:
                latest = (earliest or 0) + self._interval
                if earliest is None and near is not None:
                    latest = near
            lowest = latest - self._interval if earliest is None else max(earliest, latest - self._interval)
            if not self._settle_in_time(index, range(latest, lowest - 1, -1)):
                return False
            near = self._cycles[index]
        return True

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
