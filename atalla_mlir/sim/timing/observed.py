"""The cycle model with an observer: the same cycles, told as spans while they are charged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.sim.engine import StallCause
from atalla_mlir.sim.observer import Observer, transfer_details, unit_track
from atalla_mlir.sim.packet import PreparedPacket
from atalla_mlir.sim.state import State
from atalla_mlir.sim.timing.channel import RELEASE_CYCLES
from atalla_mlir.sim.timing.model import Problem, TimingModel
from atalla_mlir.sim.timing.plan import CAUSES, UNIT_INDEX, PacketPlan, Special
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import Machine

# Their spans come from the state of the port or engine, not from the instruction's interval.
_BY_STATE = frozenset({Unit.VLSU, Unit.SDMA, Unit.NONE})


@dataclass(frozen=True)
class _Pending:
    """A transfer whose end is not known yet."""

    pc: int
    start: int
    details: Mapping[str, Any]


class ObservedTiming(TimingModel):
    """Tells `observer` what it charges and what it starts."""

    def __init__(self, machine: Machine, observer: Observer) -> None:
        super().__init__(machine)
        self._observer = observer
        self._instructions: tuple[MachineInstruction, ...] = ()
        self._pc = 0
        self._pending: dict[int, _Pending] = {}

    def issue(self, packet: PreparedPacket, state: State) -> Problem | None:
        self._instructions, self._pc = packet.instructions, packet.pc
        return super().issue(packet, state)

    def _wait(self, cause: int, cycle: int, until: int) -> int:
        if until > cycle:
            self._observer.stall(CAUSES[cause], self._pc, cycle, until)
        return super()._wait(cause, cycle, until)

    def _retire(self, plan: PacketPlan, cycle: int, state: State) -> None:
        self._observer.packet(plan.pc, cycle, tuple(inst.op.mnemonic for inst in self._instructions))
        transposing, storing = self._transpose.free_at, self._dcache.idle_at
        super()._retire(plan, cycle, state)
        started: dict[str, int] = {}
        for inst in self._instructions:
            if inst.op.unit in _BY_STATE:
                continue
            name = unit_track(inst.op.unit)
            start = cycle + 1 + started.get(name, 0)
            end = start + self._machine.interval(inst.op)
            if inst.op.unit in UNIT_INDEX:
                started[name] = end - cycle - 1
            elif inst.op.unit is Unit.TRANSPOSE:
                start, end = max(start, transposing), self._transpose.free_at
            elif inst.op.unit is Unit.EX5:
                start, end = max(start, storing), max(self._dcache.idle_at, start + 1)
            self._observer.busy(name, inst.op.mnemonic, plan.pc, start, max(end, start + 1))

    def _start_special(self, plan: PacketPlan, kind: int, a: int, b: int, cycle: int, state: State) -> None:
        super()._start_special(plan, kind, a, b, cycle, state)
        if kind in (Special.ROW_LOAD, Special.ROW_STORE):
            port, interval = self._ports[a], self._machine.pad_row_interval
            is_load = kind == Special.ROW_LOAD
            end = port.read_free if is_load else port.write_free
            name = "vreg.ld" if is_load else "vreg.st"
            self._observer.busy(f"pad {a} {'read' if is_load else 'write'}", name, plan.pc, end - interval, end)

    def _start_dma(self, plan: PacketPlan, kind: int, register: int, cycle: int, state: State) -> None:
        dma = state.dma
        self._end_transfer(dma.pad)
        super()._start_dma(plan, kind, register, cycle, state)
        details = transfer_details(
            is_load=kind == Special.DMA_LOAD, address=dma.address, row=dma.row, rows=dma.rows, columns=dma.cols
        )
        self._pending[dma.pad] = _Pending(plan.pc, cycle + 1, details)

    def _end_transfer(self, pad: int) -> None:
        """Tell about the last transfer of the pad, which has ended."""
        last = self._pending.pop(pad, None)
        if last is not None:
            end = self._channel.free[pad] - RELEASE_CYCLES
            self._observer.transfer(pad, last.pc, last.start, end, last.details)

    def _drain(self, earliest: int) -> None:
        start = self._cursor
        super()._drain(earliest)
        for pad in sorted(self._pending):
            self._end_transfer(pad)
        if self._cursor > start:
            self._observer.stall(StallCause.DRAIN, self._pc, start, self._cursor)
