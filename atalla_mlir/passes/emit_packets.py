"""`atalla-emit-packets`: `ax01` code in SSA form becomes packets on real registers.

Scheduling and register allocation are one pass because what lies between them is not SSA: loop-carried values share
registers, and live ranges are as fine as slots of a packet. The algorithms are separate, in `codegen`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from atalla_mlir._mlir import Sources, array_attr, i64_attr, ir, string_attr
from atalla_mlir.codegen.allocate import AllocatedFunction, allocate
from atalla_mlir.codegen.coalesce import coalesce
from atalla_mlir.codegen.layout import Label, Slot, packet_contents, slot_histogram
from atalla_mlir.codegen.loop_rows import LoopRow, loop_rows
from atalla_mlir.codegen.machine_ir import Function, Register, physical
from atalla_mlir.codegen.schedule import ScheduledFunction, schedule
from atalla_mlir.dialects.ax01_builder import Builder
from atalla_mlir.dialects.encoded_packets import PACKETS, EncodedPackets
from atalla_mlir.dialects.module_attributes import CODE, LOOPS, OBJECT, PAD_ROWS
from atalla_mlir.errors import InternalError, LimitError
from atalla_mlir.passes.base import Pass
from atalla_mlir.passes.machine_functions import FunctionReader
from atalla_mlir.target.encoding import SLOTS, pack_packet
from atalla_mlir.target.isa import NOP
from atalla_mlir.target.machine import Machine, machine
from atalla_mlir.target.packets import packet_violations
from atalla_mlir.target.registers import RegisterFile

_EMPTY_SLOTS = (NOP.opcode,) * SLOTS
SPARE_REGISTERS: Sequence[Mapping[RegisterFile, int]] = (
    {RegisterFile.VECTOR: 16, RegisterFile.MASK: 2},
    {RegisterFile.VECTOR: 48, RegisterFile.MASK: 4},
)
"""Registers of a file that overlapping iterations leave free when its values spill."""


@dataclass(frozen=True)
class EmitPacketsPass(Pass):
    """Schedule instructions into packets and allocate registers

    Works on functions in SSA form; a function that holds packets or object code already stays as it is. Attributes on
    the function report what came of it: `atalla.code` has packets, filled slots, registers, bank conflicts and spills,
    `atalla.loops` of each loop of one block its initiation interval, its bounds and what binds.
    """

    name: ClassVar[str] = "atalla-emit-packets"
    anchor: ClassVar[str] = "ax01.func"

    machine: str = "ax01"
    """Parameter set whose latencies and units the schedule is made for."""
    pipeline: bool = True
    """Overlap the iterations of loops (modulo scheduling)."""
    encode: bool = False
    """Leave the packets as bytes in an attribute, which is quicker than to make operations and to read them again."""

    def run(self, op: ir.Operation) -> None:
        if _has_packets(op):
            return
        target = machine(self.machine)
        reader = FunctionReader(op)
        function = reader.read()
        coalesce(function)
        scheduled, allocated = _emit(function, target, pipeline=self.pipeline)
        _report(op, scheduled, allocated, target)
        _clear(op)
        if self.encode:
            op.attributes[PACKETS] = _encoded(op, allocated, reader.locations).attribute()
            ir.Operation.create("ax01.end", loc=op.location, ip=ir.InsertionPoint(op.regions[0].blocks[0]))
        else:
            _fill_body(op, allocated, reader.locations)


def _emit(function: Function, target: Machine, *, pipeline: bool) -> tuple[ScheduledFunction, AllocatedFunction]:
    """Schedule and registers; loops overlap less, or stay as they are, when their values would spill."""
    found: list[tuple[ScheduledFunction, AllocatedFunction]] = []
    levels = [({}, True), *((spare, True) for spare in SPARE_REGISTERS)] if pipeline else []
    for spare, overlaps in (*levels, (SPARE_REGISTERS[-1], False)):
        kept = {file: count for file, count in spare.items() if not found or _spills(found[-1][1], file)}
        scheduled = schedule(function, target, pipeline=overlaps, spare=kept)
        try:
            allocated = allocate(scheduled, target)
        except LimitError:
            if not scheduled.loops and not found:
                raise
            continue
        found.append((scheduled, allocated))
        spills = allocated.statistics.spills
        if not spills.num_registers or not (scheduled.loops or spills.vectors_to_pad):
            break
    return min(found, key=lambda way: _spilled(way[1]))


def _spills(allocated: AllocatedFunction, file: RegisterFile) -> bool:
    spills = allocated.statistics.spills
    return bool(spills.masks_to_scalars if file is RegisterFile.MASK else spills.vectors_to_pad)


def _spilled(allocated: AllocatedFunction) -> tuple[int, int]:
    spills = allocated.statistics.spills
    return spills.vectors_to_pad, spills.num_registers


def _has_packets(op: ir.Operation) -> bool:
    """Labels alone do not tell: functions in SSA form may have them too."""
    return (
        OBJECT in op.attributes
        or PACKETS in op.attributes
        or any(inner.operation.name == "ax01.packet" for inner in op.regions[0].blocks[0].operations)
    )


def _report(op: ir.Operation, scheduled: ScheduledFunction, allocated: AllocatedFunction, target: Machine) -> None:
    statistics, histogram = allocated.statistics, slot_histogram(allocated.items)
    numbers = {
        "packets": sum(histogram),
        "instructions": sum(filled * count for filled, count in enumerate(histogram)),
        "scalar_registers": statistics.registers_used[RegisterFile.SCALAR],
        "vector_registers": statistics.registers_used[RegisterFile.VECTOR],
        "mask_registers": statistics.registers_used[RegisterFile.MASK],
        "bank_conflict_cycles": statistics.bank_conflict_cycles,
        "spilled_vectors": statistics.spills.vectors_to_pad,
        "spilled_masks": statistics.spills.masks_to_scalars,
        "rematerialised": statistics.spills.rematerialised,
    }
    pads = {"pad_rows": op.attributes[PAD_ROWS]} if PAD_ROWS in op.attributes else {}
    op.attributes[CODE] = ir.DictAttr.get({**_numbers(numbers), **pads})
    rows = loop_rows(scheduled, target)
    if rows:
        op.attributes[LOOPS] = array_attr([_loop_attribute(row) for row in rows])


def _numbers(numbers: Mapping[str, int]) -> dict[str, ir.Attribute]:
    return {name: i64_attr(number) for name, number in numbers.items()}


def _loop_attribute(row: LoopRow) -> ir.DictAttr:
    """All fields of a row; those that are only known at run time are left out."""
    fields = {**asdict(row), "schedule_bound_cycles": row.schedule_bound_cycles}
    return ir.DictAttr.get(
        {
            name: string_attr(value) if isinstance(value, str) else i64_attr(value)
            for name, value in fields.items()
            if value is not None
        }
    )


def _clear(op: ir.Operation) -> None:
    for inner in reversed(list(op.regions[0].blocks[0].operations)):
        inner.operation.erase()


def _encoded(op: ir.Operation, allocated: AllocatedFunction, locations: Sequence[ir.Location]) -> EncodedPackets:
    """The packets as bytes, checked as the operations would be."""
    code: list[bytes] = []
    jumps: list[tuple[int, int, str]] = []
    labels: dict[str, int] = {}
    origins: list[str | None] = []
    texts = _SourceTexts(op.location, locations)
    for item in allocated.items:
        if isinstance(item, Label):
            labels[item.name] = len(code)
            continue
        contents = packet_contents(item)
        violations = packet_violations(contents)
        if violations:
            raise InternalError(f"packet {len(code)} of function {allocated.name}: {'; '.join(violations)}")
        for at, slot in enumerate(item):
            if slot.op.is_control and slot.target is not None:
                jumps.append((len(code), at, slot.target))
        words = [instruction.word(operands) for instruction, operands in contents]
        code.append(pack_packet([*words, *_EMPTY_SLOTS[len(words) :]]))
        origins.append(next(filter(None, [texts[slot.source] for slot in item]), None))
    return EncodedPackets(b"".join(code), jumps, labels, origins)


class _SourceTexts(dict[str | None, str | None]):
    """The positions that `Slot.source` stands for as texts."""

    def __init__(self, whole: ir.Location, locations: Sequence[ir.Location]) -> None:
        super().__init__()
        self._whole, self._locations, self._sources = whole, locations, Sources()

    def __missing__(self, source: str | None) -> str | None:
        location = self._whole if source is None else self._locations[int(source)]
        text = self[source] = self._sources.text(location)
        return text


def _fill_body(op: ir.Operation, allocated: AllocatedFunction, locations: Sequence[ir.Location]) -> None:
    builder = Builder(op.location, ir.InsertionPoint(op.regions[0].blocks[0]))
    values = _fixed_registers(builder, allocated)
    for item in allocated.items:
        if isinstance(item, Label):
            builder.label(item.name)
            continue
        with builder.packet():
            for slot in item:
                builder.loc = locations[int(slot.source)] if slot.source is not None else op.location
                _build_slot(builder, slot, values)
        builder.loc = op.location
    ir.Operation.create("ax01.end", loc=op.location, ip=builder.ip)


def _fixed_registers(builder: Builder, allocated: AllocatedFunction) -> dict[Register, ir.Value]:
    """One `ax01.get_register` for each register that the packets read, at the top of the function."""
    read = {
        physical(operand.file, value)
        for item in allocated.items
        if not isinstance(item, Label)
        for slot in item
        for operand, value in zip(slot.op.operands, slot.operands, strict=True)
        if operand.file is not None and operand.takes_port and isinstance(value, int)
    }
    files = list(RegisterFile)
    ordered = sorted(read, key=lambda register: (files.index(register.file), register.index))
    return {register: builder.get_register(register.file, register.index) for register in ordered}


def _build_slot(builder: Builder, slot: Slot, values: dict[Register, ir.Value]) -> None:
    arguments: list[ir.Value | int | str] = []
    into: ir.Type | None = None
    for operand, value in zip(slot.op.operands, slot.operands, strict=True):
        if operand.file is None:
            arguments.append(value)
            continue
        assert isinstance(value, int)
        if operand.takes_port:
            arguments.append(values[physical(operand.file, value)])
        if operand.is_written:
            into = builder.pinned(operand.file, value)
    builder.build(slot.op.op_name, *arguments, into=into)
