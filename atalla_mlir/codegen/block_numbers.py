"""Blocks of instructions in numbers, as the native core takes them (`atalla_blocks`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import cache
from itertools import accumulate, chain, repeat

from atalla_mlir.codegen.banks import BANK_OFFSETS, fixed_bank
from atalla_mlir.codegen.dependence import result_latency
from atalla_mlir.codegen.list_scheduler import CANDIDATES
from atalla_mlir.codegen.liveness import BlockLiveness
from atalla_mlir.codegen.loop_graph import unit_name
from atalla_mlir.codegen.machine_ir import ANY_OBJECT, Block, Inst, MemoryRef, Register, order_key
from atalla_mlir.codegen.native_library import Blocks, numbers
from atalla_mlir.codegen.resources import EMPTY_PACKET, OVER, UnitTimes, counts, demand_of, unit_interval
from atalla_mlir.target.encoding import SLOTS, DmaShape
from atalla_mlir.target.isa import INSTRUCTIONS, Latency, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

UNKNOWN = -(1 << 31)
"""A row that is not known."""
_FILES = {file: number for number, file in enumerate(RegisterFile)}
_WITH_PAD = frozenset(op.mnemonic for op in INSTRUCTIONS if op.unit in (Unit.VLSU, Unit.SDMA))
"""Instructions whose pad matters."""

KindKey = str | tuple[str, int | None, DmaShape | None]


class Role(IntFlag):
    """What a kind of instructions is (`ATALLA_ROLE_...`)."""

    LOAD = 1
    STORE = 2
    PUSH = 4
    PRODUCT = 8
    TRANSPOSE = 16
    CONTROL = 32
    HALT = 64


@dataclass(frozen=True)
class Kind:
    """What instructions that differ in registers and immediates only have in common."""

    role: int
    latency: int
    unit_cycles: int
    row_cycles: int
    unit: object
    group: str
    counts: int
    book: object
    busy: int
    early: int
    queues: bool
    flight: int
    may_access: bool
    """Whether it accesses memory when it does not say which."""


@cache
def _kinds(_machine: Machine) -> dict[KindKey, Kind]:
    """The kinds of a machine so far."""
    return {}


def _key(inst: Inst) -> KindKey:
    mnemonic = inst.op.mnemonic
    return (mnemonic, inst.pad, inst.dma_shape) if mnemonic in _WITH_PAD else mnemonic


def _describe(inst: Inst, machine: Machine) -> Kind:
    """The kind of an instruction."""
    times, demand = UnitTimes([inst], machine), demand_of(inst)
    return Kind(
        role=_role(inst),
        latency=result_latency(inst, machine),
        unit_cycles=unit_interval(inst, machine),
        row_cycles=machine.interval(inst.op),
        unit=demand.unit,
        group=unit_name(inst, demand.unit),
        counts=counts(demand),
        book=times.keys[0],
        busy=times.busy[0],
        early=times.early[0],
        queues=times.queues[0],
        flight=times.flights[0],
        may_access=inst.op.is_memory,
    )


def _role(inst: Inst) -> int:
    op = inst.op
    if op.unit is Unit.SDMA:
        return Role.STORE if op.mnemonic == "scpad.st" else Role.LOAD
    match order_key(inst):
        case "weights":
            return Role.PUSH if op.latency is Latency.WEIGHT_PUSH else Role.PRODUCT
        case "transpose":
            return Role.TRANSPOSE
        case _:
            control = Role.CONTROL if op.is_control else Role(0)
            return control | (Role.HALT if op.mnemonic == "halt.s" else Role(0))


class BlockNumbers:
    """Some blocks of a function; `described` is their structure."""

    def __init__(self, blocks: Sequence[Block], liveness: Sequence[BlockLiveness], machine: Machine) -> None:
        insts = [inst for block in blocks for inst in block.insts]
        self.described = Blocks(
            vector_file=_FILES[RegisterFile.VECTOR],
            array_drain_cycles=machine.array_drain_cycles,
            reductions_in_flight=max(1, machine.reductions_in_flight),
            slots=SLOTS,
            candidates=CANDIDATES,
            empty_packet=EMPTY_PACKET,
            over=OVER,
            bank_offsets=tuple(BANK_OFFSETS[file] for file in RegisterFile),
        )
        self._machine = machine
        self._point_registers(insts, liveness)
        self._point_kinds(insts)
        self.described.point(
            merges=[inst.merges for inst in insts],
            block_starts=accumulate((len(block.insts) for block in blocks), initial=0),
            is_in_loop=[block.loop_depth > 0 for block in blocks],
            repeats=[block.repeats for block in blocks],
        )

    def banks(self, banks: Mapping[Register, int]) -> Iterable[int]:
        """The bank of each register, -1 for none."""
        return map(banks.get, self._registers, repeat(-1))

    def _point_registers(self, insts: Sequence[Inst], liveness: Sequence[BlockLiveness]) -> None:
        reads, defs = [inst.port_reads for inst in insts], [inst.defs for inst in insts]
        live_in, live_out = [sets.live_in for sets in liveness], [sets.live_out for sets in liveness]
        self._registers = list(dict.fromkeys(chain.from_iterable(chain(reads, defs, live_in, live_out))))
        known = {register: number for number, register in enumerate(self._registers)}

        def numbered(lists: Sequence[Collection[Register]]) -> Iterable[Iterable[int]]:
            starts = accumulate(map(len, lists), initial=0)
            return numbers(starts), numbers(map(known.__getitem__, chain.from_iterable(lists)))

        read_starts, read = numbered(reads)
        def_starts, written = numbered(defs)
        live_in_starts, entering = numbered(live_in)
        live_out_starts, leaving = numbered(live_out)
        self.described.num_registers = len(known)
        self.described.point(
            files=[_FILES[register.file] for register in self._registers],
            is_hard_wired=[register.is_hard_wired for register in self._registers],
            fixed_banks=map(fixed_bank, self._registers),
            read_starts=read_starts,
            reads=read,
            def_starts=def_starts,
            defs=written,
            live_in_starts=live_in_starts,
            live_in=entering,
            live_out_starts=live_out_starts,
            live_out=leaving,
        )

    def _point_kinds(self, insts: Sequence[Inst]) -> None:
        """The kind of each instruction and what it accesses; equal accesses are one set."""
        known = _kinds(self._machine)
        places: dict[KindKey, int] = {}
        found: list[Kind] = []
        accesses: list[tuple[MemoryRef, ...]] = [()]
        sets: dict[int, int] = {}
        kinds: list[int] = []
        access_sets: list[int] = []
        for inst in insts:
            key = _key(inst)
            kind = places.get(key)
            if kind is None:
                kind = places[key] = len(found)
                found.append(known.get(key) or known.setdefault(key, _describe(inst, self._machine)))
            kinds.append(kind)
            refs = inst.memory or (inst.memory_refs() if found[kind].may_access else accesses[0])
            at = 0
            if refs:
                # the set keeps them alive, so no others get their identity
                at = sets.setdefault(id(refs), len(accesses))
                if at == len(accesses):
                    accesses.append(refs)
            access_sets.append(at)
        self.described.point(kinds=kinds, access_sets=access_sets)
        self._point_properties(found)
        self._point_accesses(accesses)

    def _point_properties(self, kinds: Sequence[Kind]) -> None:
        units = _numbered([kind.unit for kind in kinds])
        groups = _numbered([kind.group for kind in kinds])
        books = _numbered([kind.book for kind in kinds])
        self.described.num_units, self.described.num_groups, self.described.num_books = (
            max(values, default=-1) + 1 for values in (units, groups, books)
        )
        self.described.point(
            roles=[kind.role for kind in kinds],
            latencies=[kind.latency for kind in kinds],
            unit_cycles=[kind.unit_cycles for kind in kinds],
            row_cycles=[kind.row_cycles for kind in kinds],
            units=units,
            groups=groups,
            counts=[kind.counts for kind in kinds],
            books=books,
            busy=[kind.busy for kind in kinds],
            early=[kind.early for kind in kinds],
            queues=[kind.queues for kind in kinds],
            flights=[kind.flight for kind in kinds],
        )

    def _point_accesses(self, accesses: Sequence[tuple[MemoryRef, ...]]) -> None:
        refs = [ref for set_of_refs in accesses for ref in set_of_refs]
        names = dict.fromkeys((ref.space, ref.object) for ref in refs)
        objects = {name: number for number, name in enumerate(names)}
        spaces = _numbered([space for space, _ in objects])
        self.described.num_objects, self.described.num_spaces = len(objects), max(spaces, default=-1) + 1
        self.described.point(
            access_starts=accumulate(map(len, accesses), initial=0),
            access_objects=[objects[ref.space, ref.object] for ref in refs],
            access_lows=[UNKNOWN if ref.low is None else ref.low for ref in refs],
            access_highs=[UNKNOWN if ref.high is None else ref.high for ref in refs],
            access_writes=[ref.is_write for ref in refs],
            access_waits=[ref.is_wait for ref in refs],
            object_spaces=spaces,
            is_any_object=[name == ANY_OBJECT for _, name in objects],
        )


def _numbered(values: Sequence[object]) -> list[int]:
    """Equal values as equal numbers from 0."""
    known: dict[object, int] = {}
    return [known.setdefault(value, len(known)) for value in values]
