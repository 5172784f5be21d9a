"""What instructions take from the machine when they issue: slots, read ports, units (machine reference 5.2, 6.1).

`Room` answers whether an instruction still fits into a packet; `UnitClock` when the unit it needs is ready. Both are
used by the list scheduler; the modulo scheduler folds the same demands over its initiation interval.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from atalla_mlir.codegen.dependence import dma_cycles
from atalla_mlir.codegen.machine_ir import Inst
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.isa import BY_MNEMONIC, LANE_OPS_PER_PACKET, LANE_UNITS, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

UnitKey = tuple[Unit, int | None]
"""A unit that takes one instruction per packet; the number tells the four VLSUs apart."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one instruction takes: a unit, read ports, and whether it is one of the packet's lane operations."""

    unit: UnitKey
    scalar_ports: int
    vector_ports: int
    mask_ports: int
    is_lane: bool


@cache
def _demand(mnemonic: str, pad: int | None) -> Demand:
    op = BY_MNEMONIC[mnemonic]
    # Reductions fold on the lane ALUs before they enter the tree (machine reference 10.1).
    unit = Unit.LANE_ALU if op.unit is Unit.REDUCTION else op.unit
    scalar, vector, mask = (op.port_count(file) for file in RegisterFile)
    return Demand((unit, pad if unit is Unit.VLSU else None), scalar, vector, mask, op.unit in LANE_UNITS)


def demand_of(inst: Inst) -> Demand:
    return _demand(inst.op.mnemonic, inst.pad if inst.op.unit is Unit.VLSU else None)


def unit_interval(inst: Inst, machine: Machine) -> int:
    """Cycles from `inst` to the next instruction on its unit; for a DMA the whole transfer."""
    return dma_cycles(inst, machine) if inst.op.unit is Unit.SDMA else machine.interval(inst.op)


class Room:
    """What is left of one packet."""

    __slots__ = ("lane_ops", "mask_ports", "scalar_ports", "slots", "units", "vector_ports")

    def __init__(self) -> None:
        self.slots = SLOTS
        self.scalar_ports = FILES[RegisterFile.SCALAR].read_ports
        self.vector_ports = FILES[RegisterFile.VECTOR].read_ports
        self.mask_ports = FILES[RegisterFile.MASK].read_ports
        self.lane_ops = LANE_OPS_PER_PACKET
        self.units: set[UnitKey] = set()

    def fits(self, demand: Demand) -> bool:
        return (
            self.slots > 0
            and demand.scalar_ports <= self.scalar_ports
            and demand.vector_ports <= self.vector_ports
            and demand.mask_ports <= self.mask_ports
            and not (demand.is_lane and self.lane_ops == 0)
            and demand.unit not in self.units
        )

    def take(self, demand: Demand) -> None:
        self.slots -= 1
        self.scalar_ports -= demand.scalar_ports
        self.vector_ports -= demand.vector_ports
        self.mask_ports -= demand.mask_ports
        self.lane_ops -= demand.is_lane
        self.units.add(demand.unit)

    def give_back(self, demand: Demand) -> None:
        """Undoes `take`."""
        self.slots += 1
        self.scalar_ports += demand.scalar_ports
        self.vector_ports += demand.vector_ports
        self.mask_ports += demand.mask_ports
        self.lane_ops += demand.is_lane
        self.units.discard(demand.unit)


LIMITS = (SLOTS, *(FILES[file].read_ports for file in RegisterFile), LANE_OPS_PER_PACKET)
"""How much of each countable resource a packet has: slots, read ports of each file, lane operations."""
_FIELD_BITS = 8
OVER = sum(0x80 << _FIELD_BITS * at for at in range(len(LIMITS)))
"""The bits that a sum of `counts` and `EMPTY_PACKET` has when it is over some limit."""
EMPTY_PACKET = sum((0x7F - limit) << _FIELD_BITS * at for at, limit in enumerate(LIMITS))


def counts(demand: Demand) -> int:
    """What a demand adds to the countable resources of a packet: an integer with a field for each."""
    return _packed(1, demand.scalar_ports, demand.vector_ports, demand.mask_ports, int(demand.is_lane))


@cache
def _packed(*numbers: int) -> int:
    return sum(number << _FIELD_BITS * at for at, number in enumerate(numbers))


class UnitTimes:
    """For each instruction of a block which unit it keeps busy and for how long."""

    def __init__(self, insts: Sequence[Inst], machine: Machine) -> None:
        self.reductions_in_flight = max(1, machine.reductions_in_flight)
        self.books = [0] * len(insts)
        """The unit: reads and writes of a pad are two, its transfers a third."""
        self.busy = [unit_interval(inst, machine) for inst in insts]
        self.early = [0] * len(insts)
        """By how much an instruction may issue before its unit is free."""
        self.queues = [inst.op.unit is Unit.VLSU for inst in insts]
        self.flights = [machine.distance(inst.op) if inst.op.unit is Unit.REDUCTION else 0 for inst in insts]
        """Cycles in which a reduction is in the tree, 0 for all others."""
        self.keys: list[object] = []
        """What each book is of."""
        numbers: dict[object, int] = {}
        for at, inst in enumerate(insts):
            book: object = demand_of(inst).unit
            if self.queues[at]:
                book = inst.pad, bool(inst.op.writes)
                self.early[at] = machine.pad_queue * machine.pad_row_interval
                self.busy[at] = machine.pad_row_interval
            elif inst.op.unit is Unit.SDMA:
                book = inst.pad
            self.books[at] = numbers.setdefault(book, len(numbers))
        self.keys.extend(numbers)
        self.num_books = len(numbers)


class UnitClock:
    """When each unit can take its next instruction, and how late a pad's queue serves one (6.3)."""

    def __init__(self, times: UnitTimes) -> None:
        self._times = times
        self._ready = [0] * times.num_books
        self._reductions: deque[int] = deque(maxlen=times.reductions_in_flight)

    def earliest(self, index: int) -> int:
        """First cycle in which the units would let instruction `index` issue."""
        times = self._times
        ready = self._ready[times.books[index]] - times.early[index]
        if times.flights[index] and len(self._reductions) == times.reductions_in_flight:
            return max(ready, self._reductions[0])
        return ready

    def issue(self, index: int, cycle: int) -> int:
        """Records the issue of an instruction; the cycles by which its result is later than the uncontended latency."""
        times = self._times
        book = times.books[index]
        served = max(cycle, self._ready[book]) if times.queues[index] else cycle
        self._ready[book] = served + times.busy[index]
        if times.flights[index]:
            self._reductions.append(cycle + times.flights[index])
        return served - cycle
