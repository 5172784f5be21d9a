"""List scheduling of one block: which instructions share a packet, and in which order packets issue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, nsmallest

from atalla_mlir.codegen.banks import bank_bits
from atalla_mlir.codegen.dependence import DependenceGraph
from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.codegen.pressure import PressureTracker
from atalla_mlir.codegen.resources import Demand, Room, UnitClock, UnitKey, demand_of, unit_interval
from atalla_mlir.target.machine import Machine

UNPLACED = -1
CANDIDATES = 8
"""Ready instructions of a unit that are tried when the banks of the most urgent one are taken."""
RELEASE_MARGIN_CYCLES = 8
"""By how much loads come before the last moment, against contention that the deadlines do not see."""


@dataclass(frozen=True)
class BlockSchedule:
    """Packets of instruction indices, and the estimated cycle in which each instruction issues."""

    packets: list[list[int]]
    issue_cycles: list[int]

    @property
    def cycles(self) -> int:
        return max(self.issue_cycles, default=-1) + 1


def release_cycles(graph: DependenceGraph, issue_cycles: Sequence[int], machine: Machine) -> list[int]:
    """How long instructions that start a value from nothing (loads, constants) may wait without delaying their readers.

    `issue_cycles` come from a schedule without regard to registers. Per unit the latest cycles are levelled, so that
    readers that issue together do not ask for more than the unit delivers.
    """
    releases = [0] * len(graph.insts)
    by_unit: dict[UnitKey, list[tuple[int, int]]] = defaultdict(list)
    for index, inst in enumerate(graph.insts):
        if inst.defs and not any(register.file is inst.defs[0].file for register in inst.uses):
            needed = min((issue_cycles[at] - latency for at, latency in graph.successors[index].items()), default=0)
            by_unit[demand_of(inst).unit].append((needed, index))
    for deadlines in by_unit.values():
        bound = max(needed for needed, _ in deadlines)
        for needed, index in sorted(deadlines, reverse=True):
            bound = min(bound, needed)
            releases[index] = max(0, bound - RELEASE_MARGIN_CYCLES)
            bound -= unit_interval(graph.insts[index], machine)
    return releases


class BlockScheduler:
    """The state of scheduling one block: instructions by unit in order of priority, and a cycle counter."""

    def __init__(
        self,
        graph: DependenceGraph,
        priorities: Sequence[int],
        pressure: PressureTracker,
        machine: Machine,
        packet_cycles: int,
        releases: Sequence[int] = (),
        banks: Mapping[Register, int] | None = None,
    ) -> None:
        self._graph = graph
        self._insts = graph.insts
        self._priorities = priorities
        self.pressure = pressure
        self._packet_cycles = packet_cycles
        self._clock = UnitClock(machine)
        self._demands: list[Demand] = [demand_of(inst) for inst in graph.insts]
        self._waiting_for = [len(earlier) for earlier in graph.predecessors]
        self._earliest = list(releases) or [0] * len(graph.insts)
        self._issue_cycles = [UNPLACED] * len(graph.insts)
        self._oldest = 0
        self._ready: dict[UnitKey, list[tuple[int, int]]] = {}
        self._pending: list[tuple[int, int]] = []
        self._bank_bits = [bank_bits(inst, banks) if banks else 0 for inst in graph.insts]
        self._packet_banks = 0

    def run(self) -> BlockSchedule:
        packets: list[list[int]] = []
        cycle = 0
        for index, waiting in enumerate(self._waiting_for):
            if not waiting:
                heappush(self._pending, (self._earliest[index], index))
        while self._oldest < len(self._insts):
            packet = self._form_packet(cycle)
            if packet:
                packets.append(packet)
                cycle += self._packet_cycles
            else:
                cycle = self._next_event(cycle)
        return BlockSchedule(packets, self._issue_cycles)

    def _form_packet(self, cycle: int) -> list[int]:
        room = Room()
        self._packet_banks = 0
        packet: list[int] = []
        blocked: set[UnitKey] = set()
        while room.slots:
            self._release(cycle)
            index = self._choose(room, cycle, blocked)
            if index is None:
                break
            self._place(index, room, cycle)
            packet.append(index)
        return packet

    def _release(self, cycle: int) -> None:
        """Moves instructions whose operands are there to the ready lists."""
        while self._pending and self._pending[0][0] <= cycle:
            _, index = heappop(self._pending)
            heappush(self._ready.setdefault(self._demands[index].unit, []), (-self._priorities[index], index))

    def _choose(self, room: Room, cycle: int, blocked: set[UnitKey]) -> int | None:
        """The best instruction that fits; it is taken off its ready list."""
        best: tuple[int, int] | None = None
        best_unit: UnitKey | None = None
        for unit, ready in self._ready.items():
            if not ready or unit in room.units or unit in blocked:
                continue
            candidate = self._candidate(ready, room, cycle)
            if candidate is None:
                blocked.add(unit)
            elif best is None or candidate < best:
                best, best_unit = candidate, unit
        if best is None or best_unit is None:
            return None
        ready = self._ready[best_unit]
        if ready[0] == best:
            heappop(ready)
        else:
            ready.remove(best)
            ready.sort()
        return best[1]

    def _candidate(self, ready: list[tuple[int, int]], room: Room, cycle: int) -> tuple[int, int] | None:
        """The unit's most urgent instruction that can issue now; under pressure one that adds none, or its oldest."""
        if self.pressure.is_tight:
            entries = nsmallest(CANDIDATES, ready)
            oldest = min(ready, key=lambda entry: entry[1])
            if oldest not in entries:
                entries.append(oldest)
            return next((entry for entry in entries if self._may_add(entry[1], room, cycle)), None)
        if self._may_issue(ready[0][1], room, cycle):
            return ready[0]
        if not self._packet_banks & self._bank_bits[ready[0][1]]:
            return None
        # one that reads other banks
        others = nsmallest(CANDIDATES, ready)[1:]
        return next((entry for entry in others if self._may_issue(entry[1], room, cycle)), None)

    def _may_add(self, index: int, room: Room, cycle: int) -> bool:
        """Whether an instruction can issue although registers are short: the oldest one always may."""
        if index != self._oldest and not self.pressure.allows(self._insts[index]):
            return False
        return self._may_issue(index, room, cycle)

    def _may_issue(self, index: int, room: Room, cycle: int) -> bool:
        demand = self._demands[index]
        if self._packet_banks & self._bank_bits[index] or not room.fits(demand):
            return False
        return self._clock.earliest(self._insts[index], demand) <= cycle

    def _place(self, index: int, room: Room, cycle: int) -> None:
        inst, demand = self._insts[index], self._demands[index]
        room.take(demand)
        self._packet_banks |= self._bank_bits[index]
        delay = self._clock.issue(inst, demand, cycle)
        self.pressure.place(inst)
        self._issue_cycles[index] = cycle
        while self._oldest < len(self._insts) and self._issue_cycles[self._oldest] != UNPLACED:
            self._oldest += 1
        for following, latency in self._graph.successors[index].items():
            arrival = cycle + latency + (delay if latency else 0)
            self._earliest[following] = max(self._earliest[following], arrival)
            self._waiting_for[following] -= 1
            if not self._waiting_for[following]:
                heappush(self._pending, (self._earliest[following], following))

    def _next_event(self, cycle: int) -> int:
        """The next cycle in which something may change: an operand arrives or a unit is ready."""
        times = [self._pending[0][0]] if self._pending else []
        for ready in self._ready.values():
            times.extend(self._clock.earliest(self._insts[index], self._demands[index]) for _, index in ready[:1])
        return min((time for time in times if time > cycle), default=cycle + 1)
