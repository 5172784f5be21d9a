"""Values that do not fit into their register file: rematerialised, or kept in a pad row (vectors) or scalar (masks).

A spilled register is replaced, in each packet that uses it, by a short-lived one that is filled in packets before and
saved in packets after. This is the last resort: correct rather than fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from atalla_mlir.codegen.liveness import Packet
from atalla_mlir.codegen.machine_ir import X0, Inst, MemoryRef, Register, SpillArea
from atalla_mlir.errors import LimitError
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

Packets = list[Packet]


@dataclass
class SpillStatistics:
    """Registers that did not fit: kept in pad rows, kept in scalars, recomputed where they are used."""

    vectors_to_pad: int = 0
    masks_to_scalars: int = 0
    rematerialised: int = 0

    @property
    def num_registers(self) -> int:
        return self.vectors_to_pad + self.masks_to_scalars + self.rematerialised


@dataclass
class Spiller:
    """Rewrites packets; remembers which registers must not be spilled: those that it made, and the base of its area."""

    name: str
    area: SpillArea | None
    machine: Machine
    next_index: int
    temporaries: set[Register] = field(default_factory=set)
    statistics: SpillStatistics = field(default_factory=SpillStatistics)
    _rows_used: int = 0

    def __post_init__(self) -> None:
        if self.area is not None:  # what is saved and loaded is found by it, also where it is a constant
            self.temporaries.add(self.area.base)

    def spill(self, blocks: Sequence[Packets], victims: Iterable[Register]) -> list[Packets]:
        """The blocks with every register of `victims` replaced."""
        result = list(blocks)
        constants = constant_definitions(chain.from_iterable(chain.from_iterable(result)))
        occurring = [
            frozenset(chain.from_iterable([inst.operands for packet in packets for inst in packet]))
            for packets in result
        ]
        for victim in victims:
            places = [at for at, operands in enumerate(occurring) if victim in operands]
            if victim in constants:
                self.statistics.rematerialised += 1
                for at in places:
                    result[at] = self._rematerialise(result[at], victim, constants[victim])
            else:
                home = self._home(victim)
                for at in places:
                    result[at] = self._through_memory(result[at], victim, home)
        return result

    def _new(self, file: RegisterFile, *, temporary: bool = True) -> Register:
        register = Register(file, self.next_index)
        self.next_index += 1
        if temporary:
            self.temporaries.add(register)
        return register

    def _rematerialise(self, packets: Packets, victim: Register, definitions: Sequence[Inst]) -> Packets:
        rewritten: Packets = []
        for packet in packets:
            kept = [inst for inst in packet if victim not in inst.defs]
            if any(victim in inst.uses for inst in kept):
                value = self._new(victim.file)
                rewritten.extend((inst,) for inst in self._recompute(value, definitions))
                kept = [_renamed(inst, victim, value) for inst in kept]
            if kept:
                rewritten.append(tuple(kept))
        return rewritten

    def _recompute(self, value: Register, definitions: Sequence[Inst]) -> list[Inst]:
        """The chain that made a constant, all in `value`."""
        made: list[Inst] = []
        for inst in definitions:
            _, *rest = inst.operands
            operands = [value if isinstance(item, Register) and not item.is_hard_wired else item for item in rest]
            made.append(Inst(inst.op, (value, *operands), source=inst.source))
        return made

    def _home(self, victim: Register) -> Register | int:
        """Where a victim lives: a scalar register, or a row of the spill area."""
        if victim.file is RegisterFile.MASK:
            self.statistics.masks_to_scalars += 1
            return self._new(RegisterFile.SCALAR, temporary=False)
        if victim.file is RegisterFile.SCALAR:
            raise LimitError(
                f"function {self.name} needs more scalar registers than there are; only constants can be recomputed"
            )
        if self.area is None:
            raise LimitError(f"function {self.name} needs more vector registers than there are and has no spill area")
        if self._rows_used == self.area.rows:
            raise LimitError(f"function {self.name} needs more than the {self.area.rows} rows of its spill area")
        self.statistics.vectors_to_pad += 1
        self._rows_used += 1
        return self._rows_used - 1

    def _through_memory(self, packets: Packets, victim: Register, home: Register | int) -> Packets:
        rewritten: Packets = []
        for packet in packets:
            if any(inst.op.is_control for inst in packet) and any(victim in inst.defs for inst in packet):
                rewritten.extend(self._before_jump(packet, victim, home))
            else:
                rewritten.extend(self._around(packet, victim, home))
        return rewritten

    def _around(self, packet: Packet, victim: Register, home: Register | int) -> Packets:
        """The packet between loads and saves of what it reads and writes of the victim."""
        reads = any(victim in inst.uses for inst in packet)
        writes = any(victim in inst.defs for inst in packet)
        if not reads and not writes:
            return [packet]
        value = self._new(victim.file)
        loads: Packets = [(inst,) for inst in self._load(value, home)] if reads else []
        saves: Packets = [(inst,) for inst in self._save(value, home)] if writes else []
        return [*loads, tuple(_renamed(inst, victim, value) for inst in packet), *saves]

    def _before_jump(self, packet: Packet, victim: Register, home: Register | int) -> Packets:
        """A save after a packet that jumps might not run: the definition goes before, the others keep the old value."""
        definition = tuple(inst for inst in packet if victim in inst.defs)
        rest = tuple(inst for inst in packet if victim not in inst.defs)
        loads: Packets = []
        if any(victim in inst.uses for inst in rest):
            old = self._new(victim.file)
            loads = [(inst,) for inst in self._load(old, home)]
            rest = tuple(_renamed(inst, victim, old) for inst in rest)
        return [*loads, *self._around(definition, victim, home), rest]

    def _load(self, value: Register, home: Register | int) -> list[Inst]:
        if isinstance(home, Register):
            return [Inst(BY_MNEMONIC["mv.stm"], (value, home))]
        offset, prepare = self._row(home)
        return [*prepare, self._pad_access("vreg.ld", value, offset, home)]

    def _save(self, value: Register, home: Register | int) -> list[Inst]:
        if isinstance(home, Register):
            return [Inst(BY_MNEMONIC["mv.mts"], (home, value))]
        offset, prepare = self._row(home)
        return [*prepare, self._pad_access("vreg.st", value, offset, home)]

    def _row(self, row: int) -> tuple[Register, list[Inst]]:
        """A scalar that holds a row offset, and what makes it."""
        if row == 0:
            return X0, []
        offset = self._new(RegisterFile.SCALAR)
        return offset, [Inst(BY_MNEMONIC["addi.s"], (offset, X0, row))]

    def _pad_access(self, mnemonic: str, value: Register, offset: Register, row: int) -> Inst:
        assert self.area is not None
        ref = MemoryRef(f"pad{self.area.pad}", "spill", row, row + 1, mnemonic == "vreg.st")
        operands = (value, self.area.base, offset, self.machine.vector_lanes - 1, self.area.pad)
        return Inst(BY_MNEMONIC[mnemonic], operands, memory=(ref,))


def _renamed(inst: Inst, old: Register, new: Register) -> Inst:
    if old not in inst.operands:
        return inst
    operands = tuple(new if value is old else value for value in inst.operands)
    return Inst(inst.op, operands, inst.merges, inst.memory, inst.clobbers, inst.source, inst.dma_shape)


def constant_definitions(insts: Iterable[Inst]) -> dict[Register, list[Inst]]:
    """For each register that holds a constant, the instructions that make it from nothing: `lui`, `addi` or both."""
    found = list(insts)
    times = Counter(chain.from_iterable([inst.defs for inst in found]))
    makers = {
        inst.defs[0]: inst
        for inst in found
        if inst.op.mnemonic in ("lui.s", "addi.s") and inst.defs and times[inst.defs[0]] == 1
    }
    chains = {register: _constant_chain(inst, makers) for register, inst in makers.items() if register.pinned is None}
    return {register: made for register, made in chains.items() if made is not None}


def _constant_chain(definition: Inst, makers: Mapping[Register, Inst]) -> list[Inst] | None:
    """What makes a constant; `makers` are the only ones of their registers."""
    if definition.op.mnemonic == "lui.s":
        return [definition]
    source = definition.operands[1]
    if source is X0:
        return [definition]
    upper = makers.get(source) if isinstance(source, Register) and source.pinned is None else None
    return [upper, definition] if upper is not None and upper.op.mnemonic == "lui.s" else None
