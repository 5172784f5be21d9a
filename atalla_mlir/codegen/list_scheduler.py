"""List scheduling of one block: which instructions share a packet, and in which order packets issue."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush

from atalla_mlir.codegen.banks import bank_bit, fixed_and_open_reads
from atalla_mlir.codegen.dependence import DependenceGraph
from atalla_mlir.codegen.liveness import BlockLiveness
from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.codegen.pressure import BlockRegisters, PressureTracker
from atalla_mlir.codegen.resources import (
    EMPTY_PACKET,
    OVER,
    UnitClock,
    UnitKey,
    UnitTimes,
    counts,
    demand_of,
    unit_interval,
)
from atalla_mlir.codegen.slots import slot_order
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

UNPLACED = -1
CANDIDATES = 8
"""Ready instructions of a unit that are tried when the banks of the most urgent one are taken."""
RELEASE_MARGIN_CYCLES = 8
"""By how much loads come before the last moment, against contention that the deadlines do not see."""


@dataclass(frozen=True)
class BlockSchedule:
    """Packets of instruction indices in slots, and the estimated cycle in which each instruction issues."""

    packets: list[list[int]]
    issue_cycles: list[int]
    peaks: tuple[int, ...]
    """Values that were live at once at most, by file."""

    @cached_property
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


class BlockDemands:
    """What the instructions of a block take and in which order they are preferred, however often it is scheduled."""

    def __init__(
        self, graph: DependenceGraph, priorities: Sequence[int], liveness: BlockLiveness, machine: Machine
    ) -> None:
        self.graph = graph
        demands = [demand_of(inst) for inst in graph.insts]
        numbers: dict[UnitKey, int] = {}
        self.units = [numbers.setdefault(demand.unit, len(numbers)) for demand in demands]
        self.num_units = len(numbers)
        self.counts = [counts(demand) for demand in demands]
        self.times = UnitTimes(graph.insts, machine)
        self.registers = BlockRegisters(graph.insts, liveness)
        self.order = sorted(range(len(graph.insts)), key=lambda index: -priorities[index])
        """The instructions, the most urgent first."""
        self.ranks = [0] * len(self.order)
        for rank, index in enumerate(self.order):
            self.ranks[index] = rank
        self._reads = [fixed_and_open_reads(inst) for inst in graph.insts]

    def bank_bits(self, banks: Mapping[Register, int]) -> list[int]:
        """The banks that each instruction reads, as bit sets."""
        bits = {
            register: bank_bit(register.file, bank) if (bank := banks.get(register)) is not None else 0
            for register in dict.fromkeys(register for _, read in self._reads for register in read)
        }
        found: list[int] = []
        for fixed, read in self._reads:
            for register in read:
                fixed |= bits[register]
            found.append(fixed)
        return found


class BlockScheduler:
    """The state of scheduling one block: instructions by unit in order of priority, and a cycle counter.

    This is the innermost work of most kernels, so units, registers and what is left of a packet are plain numbers.
    """

    def __init__(
        self,
        demands: BlockDemands,
        limits: Mapping[RegisterFile, int],
        packet_cycles: int,
        releases: Sequence[int] = (),
        banks: Mapping[Register, int] | None = None,
    ) -> None:
        self._size = len(demands.graph.insts)
        self._demands = demands
        self._order, self._counts = demands.order, demands.counts
        self._pressure = PressureTracker(demands.registers, limits)
        self._packet_cycles = packet_cycles
        self._clock = UnitClock(demands.times)
        self._waiting_for = [len(earlier) for earlier in demands.graph.predecessors]
        self._earliest = list(releases) or [0] * self._size
        self._issue_cycles = [UNPLACED] * self._size
        self._oldest = 0
        self._ready: list[list[int]] = [[] for _ in range(demands.num_units)]
        """For each unit the ranks of instructions whose operands are there."""
        self._pending: list[int] = []
        """Instructions whose operands are on their way, with the cycle of their arrival in front: a heap."""
        self._bank_bits = demands.bank_bits(banks) if banks else [0] * self._size
        self._packet_banks = 0
        self._packet_counts = EMPTY_PACKET
        self._closed = 0
        """Units that the packet uses or that have nothing for it."""

    def run(self) -> BlockSchedule:
        packets: list[list[int]] = []
        cycle = 0
        for index, waiting in enumerate(self._waiting_for):
            if not waiting:
                self._await(index)
        while self._oldest < self._size:
            packet = self._form_packet(cycle)
            if packet:
                packets.append(self._in_slots(packet))
                cycle += self._packet_cycles
            else:
                cycle = self._next_event(cycle)
        return BlockSchedule(packets, self._issue_cycles, self._pressure.peaks)

    def _in_slots(self, packet: Sequence[int]) -> list[int]:
        insts = self._demands.graph.insts
        numbers = {insts[index]: index for index in packet}
        return [numbers[inst] for inst in slot_order(list(numbers))]

    def _await(self, index: int) -> None:
        heappush(self._pending, self._earliest[index] * self._size + index)

    def _form_packet(self, cycle: int) -> list[int]:
        self._packet_banks, self._packet_counts, self._closed = 0, EMPTY_PACKET, 0
        packet: list[int] = []
        while len(packet) < SLOTS:
            self._release(cycle)
            index = self._choose(cycle)
            if index is None:
                break
            self._place(index, cycle)
            packet.append(index)
        return packet

    def _release(self, cycle: int) -> None:
        """Moves instructions whose operands are there to the ready lists."""
        end = (cycle + 1) * self._size
        while self._pending and self._pending[0] < end:
            index = heappop(self._pending) % self._size
            insort(self._ready[self._demands.units[index]], self._demands.ranks[index])

    def _choose(self, cycle: int) -> int | None:
        """The best instruction that fits; it is taken off its ready list."""
        best, best_unit = self._size, 0
        is_tight = self._pressure.is_tight
        for unit, ready in enumerate(self._ready):
            if not ready or self._closed >> unit & 1:
                continue
            rank = self._candidate_under_pressure(ready, cycle) if is_tight else self._candidate(ready, cycle)
            if rank is None:
                self._closed |= 1 << unit
            elif rank < best:
                best, best_unit = rank, unit
        if best == self._size:
            return None
        self._ready[best_unit].remove(best)
        return self._order[best]

    def _candidate(self, ready: list[int], cycle: int) -> int | None:
        """The rank of a unit's most urgent instruction, if it can issue now; if its banks are taken, of another."""
        first = self._order[ready[0]]
        if self._may_issue(first, cycle):
            return ready[0]
        if not self._packet_banks & self._bank_bits[first]:
            return None
        return next((rank for rank in ready[1:CANDIDATES] if self._may_issue(self._order[rank], cycle)), None)

    def _candidate_under_pressure(self, ready: list[int], cycle: int) -> int | None:
        """One of the most urgent instructions of a unit that needs no register, or its oldest."""
        entries = ready[:CANDIDATES]
        oldest = self._demands.ranks[min(map(self._order.__getitem__, ready))]
        if oldest not in entries:
            entries.append(oldest)
        return next((rank for rank in entries if self._may_add(self._order[rank], cycle)), None)

    def _may_add(self, index: int, cycle: int) -> bool:
        """Whether an instruction can issue although registers are short: the oldest one always may."""
        if index != self._oldest and not self._pressure.allows(index):
            return False
        return self._may_issue(index, cycle)

    def _may_issue(self, index: int, cycle: int) -> bool:
        if self._packet_banks & self._bank_bits[index] or self._packet_counts + self._counts[index] & OVER:
            return False
        return self._clock.earliest(index) <= cycle

    def _place(self, index: int, cycle: int) -> None:
        self._closed |= 1 << self._demands.units[index]
        self._packet_counts += self._counts[index]
        self._packet_banks |= self._bank_bits[index]
        delay = self._clock.issue(index, cycle)
        self._pressure.place(index)
        self._issue_cycles[index] = cycle
        while self._oldest < self._size and self._issue_cycles[self._oldest] != UNPLACED:
            self._oldest += 1
        earliest, waiting_for = self._earliest, self._waiting_for
        for following, latency in self._demands.graph.successors[index].items():
            arrival = cycle + latency + delay if latency else cycle
            if arrival > earliest[following]:
                earliest[following] = arrival
            waiting_for[following] -= 1
            if not waiting_for[following]:
                self._await(following)

    def _next_event(self, cycle: int) -> int:
        """The next cycle in which something may change: an operand arrives or a unit is ready."""
        times = [self._pending[0] // self._size] if self._pending else []
        times.extend(self._clock.earliest(self._order[ready[0]]) for ready in self._ready if ready)
        return min((time for time in times if time > cycle), default=cycle + 1)
