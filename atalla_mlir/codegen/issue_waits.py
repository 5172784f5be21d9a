"""How long an iteration of a kernel takes: its packets issue in order, and wait for what comes late.

A schedule knows when units give their results. When these are written depends on what else is written then: each bank
of the vector registers takes one row in a cycle, and the first in the order of the machine is served first (5.3). This
runs the packets of a kernel a few times, with these ports and the pads, and says how long the last passes take.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.target.isa import Latency, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

PASSES = 6
"""After fewer the waits of a kernel repeat themselves, or nearly so."""
COUNTED_PASSES = 3
RANKS = {Unit.GSAU: 4, Unit.TRANSPOSE: 5, Unit.REDUCTION: 6, Unit.LANE_ALU: 7, Unit.LANE_MUL: 8, Unit.LANE_EXP: 9}
"""The order in which rows are written that want the same cycle; those from the pads come first, by pad."""


def pass_cycles(packets: Sequence[Sequence[Inst]], banks: Mapping[Register, int], machine: Machine) -> int:
    """Cycles from one pass through the packets of a kernel to the next, without what transfers hold up.

    Registers whose bank is not known are written without waiting.
    """
    issue = _Issue(banks, machine)
    ends: list[int] = []
    for _ in range(PASSES):
        for packet in packets:
            issue.packet(packet)
        ends.append(issue.cursor)
    return -(-(ends[-1] - ends[-1 - COUNTED_PASSES]) // COUNTED_PASSES)


class _Issue:
    """The state of registers, units and ports between two packets."""

    def __init__(self, banks: Mapping[Register, int], machine: Machine) -> None:
        self.cursor = 0
        self._banks, self._machine = banks, machine
        self._ready: dict[Register, int] = defaultdict(int)
        self._free: dict[tuple[Unit, int | None], int] = defaultdict(int)
        self._last_row = -machine.array_drain_cycles
        self._writes: list[dict[int, tuple[int, Register]]] = [{} for _ in range(4)]
        """Of each bank of vectors what is written in a cycle, with its rank."""

    def packet(self, packet: Sequence[Inst]) -> None:
        """Issue a packet as soon as nothing makes it wait."""
        at = self.cursor
        for inst in packet:
            for register in (*inst.uses, *inst.defs):
                at = max(at, self._ready[register])
            if inst.op.unit not in (Unit.VLSU, Unit.SDMA):
                at = max(at, self._free[inst.op.unit, None])
            if inst.op.latency is Latency.WEIGHT_PUSH:
                at = max(at, self._last_row + self._machine.array_drain_cycles)
        at += self._bank_wait(packet)
        for inst in packet:
            self._start(inst, at)
        self.cursor = at + 1

    def _bank_wait(self, packet: Sequence[Inst]) -> int:
        reads = {register for inst in packet for register in inst.port_reads}
        known = Counter((register.file, self._banks[register]) for register in reads if register in self._banks)
        most = max(known.values(), default=1)
        return most if most > 1 else 0

    def _start(self, inst: Inst, at: int) -> None:
        unit, machine = inst.op.unit, self._machine
        if unit is Unit.SDMA:
            return
        late = 0
        if unit is Unit.VLSU:
            key = unit, inst.pad if inst.defs else -1 - (inst.pad or 0)
            accepted = max(at + 1, self._free[key])
            self._free[key] = accepted + machine.pad_row_interval
            late = accepted - at - 1
        else:
            self._free[unit, None] = at + machine.interval(inst.op)
            if unit is Unit.GSAU and inst.defs:
                self._last_row = at
        for register in inst.defs:
            rank = (inst.pad or 0) if unit is Unit.VLSU else RANKS.get(unit, len(RANKS))
            self._write(register, at + machine.distance(inst.op) - 1 + late, rank)

    def _write(self, register: Register, at: int, rank: int) -> None:
        """Enter a result that is there from cycle `at` on; it may put off others that come after it in rank."""
        bank = self._banks.get(register)
        if bank is None or register.file is not RegisterFile.VECTOR:
            self._ready[register] = at + 1
            return
        writes = self._writes[bank]
        while at in writes:
            other_rank, other = writes[at]
            if rank < other_rank:
                writes[at] = rank, register
                self._ready[register] = at + 1
                rank, register = other_rank, other
            at += 1
        writes[at] = rank, register
        self._ready[register] = at + 1
