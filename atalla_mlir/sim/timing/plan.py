"""What the cycle model needs to know of a packet, prepared once: registers, units, writes with fixed delays.

Scoreboard indices: scalar registers 0..255, vector registers 256..511, mask registers 512..527. The hard-wired
registers (index 0 of each file) are never busy and never written, so they do not appear.
"""

from __future__ import annotations

from enum import IntEnum

from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.sim.engine import StallCause
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.isa import LANE_UNITS, Operand, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.packets import bank_conflict_cycles
from atalla_mlir.target.registers import FILES, HARD_WIRED, RegisterFile

CAUSES = tuple(StallCause)
CAUSE_INDEX = {cause: index for index, cause in enumerate(CAUSES)}

VECTOR_BASE = FILES[RegisterFile.SCALAR].count
MASK_BASE = VECTOR_BASE + FILES[RegisterFile.VECTOR].count
REGISTERS = MASK_BASE + FILES[RegisterFile.MASK].count
_BASES = {RegisterFile.SCALAR: 0, RegisterFile.VECTOR: VECTOR_BASE, RegisterFile.MASK: MASK_BASE}

PRIORITY_SHIFT = 10
"""A pending write is one number: priority (0 wins) above the scoreboard index."""

WRITE_PRIORITY = {
    Unit.EX5: 0,
    Unit.EX1: 1,
    Unit.EX4: 2,
    Unit.EX3: 3,
    Unit.EX2: 4,
    Unit.MTS: 5,
    Unit.VLSU: 0,
    Unit.GSAU: 4,
    Unit.TRANSPOSE: 5,
    Unit.REDUCTION: 6,
    Unit.LANE_ALU: 7,
    Unit.LANE_MUL: 8,
    Unit.LANE_EXP: 9,
}
"""Of 5.4, 0 first. Vector registers: the VLSUs by pad number, then these; mask registers: EX2 before the lanes."""

# Units with an initiation interval that can exceed one packet.
UNIT_INDEX = {
    Unit.EX1: 0,
    Unit.EX2: 1,
    Unit.EX3: 2,
    Unit.EX4: 3,
    Unit.LANE_ALU: 4,
    Unit.REDUCTION: 4,  # the fold runs on the lane ALUs
    Unit.LANE_MUL: 5,
    Unit.LANE_EXP: 6,
}
UNITS = 7

WRITE_AFTER_EX = 2
"""From issue: one cycle to EX, the latency to the offer, one more to the write."""


class Special(IntEnum):
    """Instructions whose timing takes more than scoreboard and initiation interval, in the order of their checks."""

    REDUCTION = 0
    TILE_PUSH = 1
    TILE_POP = 2
    GEMM = 3
    WEIGHT_PUSH = 4
    DMA_LOAD = 5
    DMA_STORE = 6
    SCALAR_LOAD = 7
    SCALAR_STORE = 8
    ROW_LOAD = 9
    ROW_STORE = 10


SPECIALS = {
    "gemm.vv": Special.GEMM,
    "lw.vi": Special.WEIGHT_PUSH,
    "rsum.vi": Special.REDUCTION,
    "rmin.vi": Special.REDUCTION,
    "rmax.vi": Special.REDUCTION,
    "vreg.ld": Special.ROW_LOAD,
    "vreg.st": Special.ROW_STORE,
    "scpad.ld": Special.DMA_LOAD,
    "scpad.st": Special.DMA_STORE,
    "lw.s": Special.SCALAR_LOAD,
    "lhw.s": Special.SCALAR_LOAD,
    "sw.s": Special.SCALAR_STORE,
    "shw.s": Special.SCALAR_STORE,
    "tpus.vi": Special.TILE_PUSH,
    "tpop.vi": Special.TILE_POP,
}
# Specials that write their register at a time the model computes, not after a fixed delay.
_VARIABLE = frozenset({Special.ROW_LOAD, Special.SCALAR_LOAD, Special.TILE_POP})

_RAW = {
    RegisterFile.SCALAR: StallCause.RAW_SCALAR,
    RegisterFile.VECTOR: StallCause.RAW_VECTOR,
    RegisterFile.MASK: StallCause.RAW_MASK,
}
_WAW = {
    RegisterFile.SCALAR: StallCause.WAW_SCALAR,
    RegisterFile.VECTOR: StallCause.WAW_VECTOR,
    RegisterFile.MASK: StallCause.WAW_MASK,
}


def scoreboard_index(file: RegisterFile, number: int) -> int:
    return _BASES[file] + number


def bank_of(index: int) -> int:
    """The register bank of a scoreboard index, counted over all files: scalar 0..3, vector 4..7, mask 8 and 9."""
    if index < VECTOR_BASE:
        return index % FILES[RegisterFile.SCALAR].banks
    if index < MASK_BASE:
        return 4 + (index - VECTOR_BASE) % FILES[RegisterFile.VECTOR].banks
    return 8 + (index - MASK_BASE) % FILES[RegisterFile.MASK].banks


BANKS = 10


class PacketPlan:
    """Numbers only, so that the model runs on plain integers.

    `registers` are the scoreboard indices that must not be busy, in charging order, `register_causes` what a wait for
    them is charged to. `units` are (unit, interval) pairs with intervals above 1. `writes` are (index, delay from issue
    to write, bank, pending write). `dropped_delay` is the longest such delay of a result for a hard-wired register.

    `specials` are (kind, instruction of the packet, a, b), sorted. Row accesses: a = pad, b = register loaded or 0.
    Scalar loads, `tpop.vi`, SDMA: a = register written or held, or 0. Reductions: a = reductions in earlier slots, b =
    cycles that it waits for earlier slots.
    """

    __slots__ = (
        "bank_cycles",
        "dropped_delay",
        "first_line",
        "halts",
        "is_control",
        "last_line",
        "pc",
        "register_causes",
        "registers",
        "specials",
        "units",
        "writes",
    )

    def __init__(self, machine: Machine, pc: int, instructions: tuple[MachineInstruction, ...], *, halts: bool) -> None:
        self.pc = pc
        self.halts = halts
        self.first_line = pc // machine.icache_line_bytes
        self.last_line = (pc + PACKET_BYTES - 1) // machine.icache_line_bytes
        self.is_control = any(inst.op.is_control for inst in instructions)
        self.bank_cycles = bank_conflict_cycles([(inst.op, inst.operands) for inst in instructions])
        waits = _waits(instructions)
        self.registers = tuple(index for index, _ in waits)
        self.register_causes = tuple(cause for _, cause in waits)
        busy: dict[int, int] = {}
        self.dropped_delay = 0
        writes: list[tuple[int, int, int, int]] = []
        specials: list[tuple[int, int, int, int]] = []
        for position, inst in enumerate(instructions):
            start = self._occupy(machine, inst, busy)
            kind = SPECIALS.get(inst.op.mnemonic)
            if kind is not None:
                specials.append(_special(kind, position, inst, start, _count(specials, kind)))
            if kind not in _VARIABLE and inst.op.unit is not Unit.SDMA:
                self._add_writes(machine, inst, start, writes)
        self.units = tuple((unit, cycles) for unit, cycles in sorted(busy.items()) if cycles > 1)
        self.writes = tuple(writes)
        self.specials = tuple(sorted((int(kind), position, a, b) for kind, position, a, b in specials))

    @staticmethod
    def _occupy(machine: Machine, inst: MachineInstruction, busy: dict[int, int]) -> int:
        """Add the instruction to its unit; the cycles that it waits for earlier slots of the packet there."""
        unit = inst.op.unit
        if unit is Unit.LANE_MUL and machine.mul_shares_alu:
            unit = Unit.LANE_ALU
        index = UNIT_INDEX.get(unit)
        if index is None:
            return 0
        before = busy.get(index, 0)
        busy[index] = before + machine.interval(inst.op)
        return before

    def _add_writes(
        self, machine: Machine, inst: MachineInstruction, start: int, writes: list[tuple[int, int, int, int]]
    ) -> None:
        delay = WRITE_AFTER_EX + start + machine.latency(inst.op.latency)
        for operand, number in zip(inst.op.operands, inst.operands, strict=True):
            if not operand.is_written:
                continue
            if number == HARD_WIRED or operand.file is None:
                self.dropped_delay = max(self.dropped_delay, delay)
                continue
            index = scoreboard_index(operand.file, number)
            writes.append((index, delay, bank_of(index), pending_write(inst.op.unit, operand, index)))


def pending_write(unit: Unit, operand: Operand, index: int) -> int:
    """Priority and register of a write, as one number."""
    priority = int(unit in LANE_UNITS) if operand.file is RegisterFile.MASK else WRITE_PRIORITY[unit]
    return priority << PRIORITY_SHIFT | index


def _waits(instructions: tuple[MachineInstruction, ...]) -> list[tuple[int, int]]:
    """Sources before destinations, scalar before vector before mask, then slots and operands in order."""
    waits: list[tuple[int, int]] = []
    for file in RegisterFile:
        waits += [(r, CAUSE_INDEX[_RAW[file]]) for r in _indices(instructions, file, written=False)]
    for file in RegisterFile:
        waits += [(r, CAUSE_INDEX[_WAW[file]]) for r in _indices(instructions, file, written=True)]
    first: dict[int, int] = {}
    for register, cause in waits:
        first.setdefault(register, cause)
    return list(first.items())


def _indices(instructions: tuple[MachineInstruction, ...], file: RegisterFile, *, written: bool) -> list[int]:
    return [
        scoreboard_index(file, number)
        for inst in instructions
        for operand, number in zip(inst.op.operands, inst.operands, strict=True)
        if operand.file is file and number != HARD_WIRED and (operand.is_written if written else operand.takes_port)
    ]


def _count(specials: list[tuple[int, int, int, int]], kind: Special) -> int:
    return sum(special[0] == kind for special in specials)


def _special(
    kind: Special, position: int, inst: MachineInstruction, start: int, earlier: int
) -> tuple[int, int, int, int]:
    """(kind, instruction of the packet, a, b) as `PacketPlan` documents them."""
    values = {operand.name: value for operand, value in zip(inst.op.operands, inst.operands, strict=True)}
    if kind in (Special.ROW_LOAD, Special.ROW_STORE):
        destination = values["vd"] if kind is Special.ROW_LOAD else HARD_WIRED
        return kind, position, values["sid"], VECTOR_BASE + destination if destination else 0
    if kind in (Special.DMA_LOAD, Special.DMA_STORE):
        return kind, position, values["rs1"], 0
    if kind is Special.SCALAR_LOAD:
        return kind, position, values["rd"], 0
    if kind is Special.TILE_POP:
        return kind, position, VECTOR_BASE + values["vs1"] if values["vs1"] else 0, 0
    return kind, position, earlier, start
