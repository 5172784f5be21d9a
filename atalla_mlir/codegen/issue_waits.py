"""How long an iteration of a kernel takes: its packets issue in order, and wait for what comes late.

A schedule knows when units give their results. When these are written depends on what else is written then: each bank
of the vector registers takes one row in a cycle, and the first in the order of the machine is served first (5.3). This
runs the packets of a kernel a few times, with these ports and the pads, and says how long the last passes take.
"""

from __future__ import annotations

import ctypes
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import lru_cache
from itertools import chain, repeat

from atalla_mlir.codegen.loop_graph import LoopGraph
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.codegen.native_library import Body, library, numbers, place_of, starts_and_items
from atalla_mlir.codegen.slots import slot_order
from atalla_mlir.target.isa import Latency, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

PASSES = 6
"""After fewer the waits of a kernel repeat themselves, or nearly so."""
COUNTED_PASSES = 3
RANKS = {Unit.GSAU: 4, Unit.TRANSPOSE: 5, Unit.REDUCTION: 6, Unit.LANE_ALU: 7, Unit.LANE_MUL: 8, Unit.LANE_EXP: 9}
"""The order in which rows are written that want the same cycle; those from the pads come first, by pad."""


@dataclass(frozen=True)
class PassWaits:
    """What `COUNTED_PASSES` passes through the packets of a kernel take, without what transfers hold up.

    `waits` says for how many cycles packets waited for a register to be written, or because another one of its bank was
    read with it; `rivals` what was last written when a register would have been.
    """

    counted_cycles: int
    waits: Mapping[Register, int]
    rivals: Mapping[Register, Register]

    @property
    def cycles(self) -> int:
        """From one pass to the next."""
        return -(-self.counted_cycles // COUNTED_PASSES)


def pass_waits(packets: Sequence[Sequence[Inst]], banks: Mapping[Register, int], machine: Machine) -> PassWaits:
    """Runs the packets of a kernel a few times. Registers whose bank is not known are written without waiting."""
    issue = _Issue(banks, machine)
    ends: list[int] = []
    for number in range(PASSES):
        if number == PASSES - COUNTED_PASSES:
            issue.waits.clear()
        for packet in packets:
            issue.packet(packet)
        ends.append(issue.cursor)
    return PassWaits(ends[-1] - ends[-1 - COUNTED_PASSES], dict(issue.waits), issue.rivals)


def scheduled_pass_waits(
    graph: LoopGraph, cycles: Sequence[int], interval: int, banks: Mapping[Register, int], machine: Machine
) -> PassWaits:
    """`pass_waits` of a body whose instructions issue in `cycles`, from `interval` to `interval`: by the native core,
    where there is one."""
    native = library()
    if native is not None:
        body = _body_numbers(graph, machine)
        registers = body.registers
        given, known = numbers(cycles), numbers(map(banks.get, registers, repeat(-1)))
        waits, rivals = (numbers(repeat(0, len(registers))) for _ in range(2))
        counted = native.atalla_pass_waits(
            ctypes.byref(body.described), place_of(given), interval, *map(place_of, (known, waits, rivals))
        )
        if counted >= 0:
            waited = {register: wait for register, wait in zip(registers, waits, strict=True) if wait}
            found = ((register, at) for register, at in zip(registers, rivals, strict=True) if at >= 0)
            return PassWaits(counted, waited, {register: registers[at] for register, at in found})
    rows: list[list[Inst]] = [[] for _ in range(interval)]
    for inst, cycle in zip(graph.insts, cycles, strict=True):
        rows[cycle % interval].append(inst)
    return pass_waits([slot_order(row) for row in rows if row], banks, machine)


@lru_cache(maxsize=4)
def _body_numbers(graph: LoopGraph, machine: Machine) -> _BodyNumbers:
    """Kernels of the same few bodies are looked at again and again."""
    return _BodyNumbers(graph.insts, machine)


class _BodyNumbers:
    """A body in numbers, as the native core takes it: `described` is its structure, `registers` are those in it."""

    def __init__(self, insts: Sequence[Inst], machine: Machine) -> None:
        uses, defs, reads = ([getattr(inst, name) for inst in insts] for name in ("uses", "defs", "port_reads"))
        self.registers = list(dict.fromkeys(chain.from_iterable(chain(reads, defs))))
        number = {register: at for at, register in enumerate(self.registers)}.__getitem__
        (use_starts, used), (def_starts, written), (read_starts, read) = (
            starts_and_items([list(map(number, registers)) for registers in lists]) for lists in (uses, defs, reads)
        )
        units: dict[tuple[Unit, int | None], int] = {}
        unit_numbers = [units.setdefault(_unit(inst), len(units)) for inst in insts]
        files = list(RegisterFile)
        self.described = Body(
            size=len(insts),
            num_registers=len(self.registers),
            num_units=len(units),
            num_banks=FILES[RegisterFile.VECTOR].banks,
            vector_file=files.index(RegisterFile.VECTOR),
            array_drain_cycles=machine.array_drain_cycles,
            passes=PASSES,
            counted_passes=COUNTED_PASSES,
        )
        self.described.point(
            files=[files.index(register.file) for register in self.registers],
            roles=map(_role, insts),
            units=unit_numbers,
            intervals=[_unit_interval(inst, machine) for inst in insts],
            distances=[machine.distance(inst.op) for inst in insts],
            ranks=map(_rank, insts),
            use_starts=use_starts,
            uses=used,
            def_starts=def_starts,
            defs=written,
            read_starts=read_starts,
            reads=read,
        )


class _Role(IntFlag):
    """What an instruction is (`ATALLA_ISSUE_...`)."""

    TRANSFER = 1
    ROW = 2
    PUSH = 4
    PRODUCT = 8


def _role(inst: Inst) -> int:
    if inst.op.unit is Unit.SDMA:
        return _Role.TRANSFER
    if inst.op.unit is Unit.VLSU:
        return _Role.ROW
    if inst.op.latency is Latency.WEIGHT_PUSH:
        return _Role.PUSH | (_Role.PRODUCT if inst.defs else _Role(0))
    return _Role.PRODUCT if inst.op.unit is Unit.GSAU and inst.defs else _Role(0)


def _unit(inst: Inst) -> tuple[Unit, int | None]:
    """What is busy for a while: reads and writes of a pad are two."""
    if inst.op.unit is Unit.VLSU:
        return inst.op.unit, inst.pad if inst.defs else -1 - (inst.pad or 0)
    return inst.op.unit, None


def _unit_interval(inst: Inst, machine: Machine) -> int:
    return machine.pad_row_interval if inst.op.unit is Unit.VLSU else machine.interval(inst.op)


def _rank(inst: Inst) -> int:
    """The order of results that come at once."""
    return (inst.pad or 0) if inst.op.unit is Unit.VLSU else RANKS.get(inst.op.unit, len(RANKS))


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
        self.waits: Counter[Register] = Counter()
        self.rivals: dict[Register, Register] = {}

    def packet(self, packet: Sequence[Inst]) -> None:
        """Issue a packet as soon as nothing makes it wait."""
        at, last = self.cursor, None
        for inst in packet:
            for register in (*inst.uses, *inst.defs):
                if self._ready[register] > at:
                    at, last = self._ready[register], register
            if inst.op.unit not in (Unit.VLSU, Unit.SDMA):
                at = max(at, self._free[_unit(inst)])
            if inst.op.latency is Latency.WEIGHT_PUSH:
                at = max(at, self._last_row + self._machine.array_drain_cycles)
        if last is not None and self._ready[last] == at:
            self.waits[last] += at - self.cursor
        at += self._bank_wait(packet)
        for inst in packet:
            self._start(inst, at)
        self.cursor = at + 1

    def _bank_wait(self, packet: Sequence[Inst]) -> int:
        reads: Counter[tuple[RegisterFile, int]] = Counter()
        for register in dict.fromkeys(register for inst in packet for register in inst.port_reads):
            if register not in self._banks:
                continue
            place = register.file, self._banks[register]
            reads[place] += 1
            if reads[place] > 1:
                self.waits[register] += reads[place]
        most = max(reads.values(), default=1)
        return most if most > 1 else 0

    def _start(self, inst: Inst, at: int) -> None:
        unit, machine = inst.op.unit, self._machine
        if unit is Unit.SDMA:
            return
        key, interval, late = _unit(inst), _unit_interval(inst, machine), 0
        if unit is Unit.VLSU:
            accepted = max(at + 1, self._free[key])
            self._free[key] = accepted + interval
            late = accepted - at - 1
        else:
            self._free[key] = at + interval
            if unit is Unit.GSAU and inst.defs:
                self._last_row = at
        for register in inst.defs:
            self._write(register, at + machine.distance(inst.op) - 1 + late, _rank(inst))

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
                (rank, register), other = (other_rank, other), register
            self.rivals[register] = other
            at += 1
        writes[at] = rank, register
        self._ready[register] = at + 1
