"""What instructions take from the machine when they issue: slots, read ports, units (machine reference 5.2, 6.1).

`Room` answers whether an instruction still fits into a packet; `UnitClock` when the unit it needs is ready. Both are
used by the list scheduler; the modulo scheduler folds the same demands over its initiation interval.
"""

from __future__ import annotations

from collections import deque
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


class UnitClock:
    """When each unit can take its next instruction, and how late a pad's queue serves one (6.3)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._ready: dict[UnitKey, int] = {}
        self._transfer_end: dict[int | None, int] = {}
        self._pad_ready: dict[tuple[int | None, bool], int] = {}
        self._reductions: deque[int] = deque(maxlen=max(1, machine.reductions_in_flight))

    def earliest(self, inst: Inst, demand: Demand) -> int:
        """First cycle in which the units would let `inst` issue."""
        unit = inst.op.unit
        if unit is Unit.VLSU:
            queued = self._pad_ready.get((inst.pad, bool(inst.op.writes)), 0)
            return queued - self._machine.pad_queue * self._machine.pad_row_interval
        if unit is Unit.SDMA:
            return self._transfer_end.get(inst.pad, 0)
        ready = self._ready.get(demand.unit, 0)
        if unit is Unit.REDUCTION and len(self._reductions) == self._reductions.maxlen:
            return max(ready, self._reductions[0])
        return ready

    def issue(self, inst: Inst, demand: Demand, cycle: int) -> int:
        """Records the issue of `inst`; returns the cycles by which its result is later than the uncontended latency."""
        unit, machine = inst.op.unit, self._machine
        if unit is Unit.VLSU:
            key = (inst.pad, bool(inst.op.writes))
            served = max(cycle, self._pad_ready.get(key, 0))
            self._pad_ready[key] = served + machine.pad_row_interval
            return served - cycle
        if unit is Unit.SDMA:
            self._transfer_end[inst.pad] = cycle + dma_cycles(inst, machine)
            return 0
        if unit is Unit.REDUCTION:
            self._reductions.append(cycle + machine.distance(inst.op))
        self._ready[demand.unit] = cycle + machine.interval(inst.op)
        return 0
