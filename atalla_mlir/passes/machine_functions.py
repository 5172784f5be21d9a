"""`ax01.func` in SSA form -> machine IR: loops become blocks and branches, tied values become one register.

Leaving SSA form inserts a copy wherever an instruction overwrites what it reads (a merging operation's `old`, a
branch's counter, a DMA's address) and at the edges of loops; `codegen.coalesce` removes those that are not needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir._mlir import ir, string_value
from atalla_mlir.codegen.machine_ir import (
    DMA_SHAPE,
    M1,
    X0,
    Block,
    Function,
    Inst,
    MemoryRef,
    Register,
    SpillArea,
    parse_memory,
    physical,
)
from atalla_mlir.dialects.ax01 import assembly_operands, instruction_of, pinned_number, register_file
from atalla_mlir.dialects.ax01_builder import MAY_BE_EMPTY, MEMORY_ATTRIBUTE
from atalla_mlir.passes.base import PassFailure
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.isa import BY_MNEMONIC, INSTRUCTIONS, Format, Instruction
from atalla_mlir.target.registers import (
    ALL_ONES_MASK,
    FILES,
    FIRMWARE_CLOBBERS,
    FIRMWARE_TABLE,
    HARD_WIRED,
    LINK,
    RegisterFile,
)

SPILL_ROWS, SPILL_PAD = "atalla.spill_rows", "atalla.spill_pad"
"""On the operation that makes a pad-local byte address: rows from there, in that pad, that spills may use."""
_NUM_PORTS = {op.mnemonic: sum(operand.takes_port for operand in op.operands) for op in INSTRUCTIONS}
FIRMWARE_PREFIXES = ("spad_", "fw_", "panic")
CONSTANT_REGISTERS = {
    RegisterFile.SCALAR: (HARD_WIRED, FIRMWARE_TABLE),
    RegisterFile.VECTOR: (HARD_WIRED,),
    RegisterFile.MASK: (HARD_WIRED, ALL_ONES_MASK),
}
KERNEL_CLOBBERS = frozenset(
    (file, number)
    for file, shape in FILES.items()
    for number in range(shape.count)
    if number not in CONSTANT_REGISTERS[file]
)
SERVICE_CLOBBERS = frozenset((RegisterFile.SCALAR, number) for number in (LINK, *FIRMWARE_CLOBBERS))


class FunctionReader:
    """Translates one `ax01.func`. `locations[int(inst.source)]` is where an instruction came from."""

    def __init__(self, op: ir.Operation) -> None:
        self.locations: list[ir.Location] = []
        self._numbers: dict[ir.Attribute, str] = {}
        self._op = op
        self._registers: dict[ir.Value, Register] = {}
        self._constants: dict[ir.Value, int] = {}
        self._next_index = 0
        self._num_labels = 0
        self._depth = 0
        self._depth = 0
        self._source: str | None = None
        self._function = Function(string_value(op.attributes["sym_name"]))
        self._start_block("entry")

    def read(self) -> Function:
        self._read_block(self._op.regions[0].blocks[0])
        blocks = self._function.blocks
        self._function.blocks = [block for block in blocks if block.insts or block is not blocks[-1]]
        last = self._function.blocks[-1].control if self._function.blocks else None
        if last is None or last.op.is_branch or last.is_call:
            raise PassFailure(self._op, "control runs off the end of the function; end it with jalr, jal or halt.s")
        return self._function

    # registers

    def _new(self, file: RegisterFile) -> Register:
        self._next_index += 1
        return Register(file, self._next_index)

    def _result(self, value: ir.Value) -> Register:
        """The register of a value that is defined here."""
        kind = value.type
        number, file = pinned_number(kind), register_file(kind)
        assert file is not None  # the operation is verified
        register = self._registers[value] = self._new(file) if number is None else physical(file, number)
        return register

    def _register(self, value: ir.Value) -> Register:
        return self._registers[value]

    # blocks

    def _start_block(self, label: str) -> None:
        self._block = Block(label, loop_depth=self._depth)
        self._function.blocks.append(self._block)
        self._is_open = True

    def _new_label(self, kind: str) -> str:
        self._num_labels += 1
        return f".{kind}{self._num_labels}"

    def _append(self, inst: Inst) -> None:
        if not self._is_open:
            self._start_block(self._new_label("next"))
        inst.source = self._source
        self._block.insts.append(inst)
        self._is_open = not inst.op.is_control

    def _emit(self, mnemonic: str, *operands: Register | int | str) -> None:
        self._append(Inst(BY_MNEMONIC[mnemonic], operands))

    def _copy(self, destination: Register, source: Register) -> None:
        if destination is source:
            return
        match destination.file:
            case RegisterFile.SCALAR:
                self._emit("addi.s", destination, source, 0)
            case RegisterFile.VECTOR:
                self._emit("sub.vs", destination, source, X0, M1)
            case RegisterFile.MASK:
                bits = self._new(RegisterFile.SCALAR)
                self._emit("mv.mts", bits, source)
                self._emit("mv.stm", destination, bits)

    # operations

    def _read_block(self, block: ir.Block) -> None:
        for op in block.operations:
            self._read_operation(op.operation)

    def _read_operation(self, op: ir.Operation) -> None:
        location = op.location
        key = location.attr  # equal locations are different objects, with hashes of their own
        self._source = self._numbers.get(key)
        if self._source is None:
            self._source = self._numbers[key] = str(len(self.locations))
            self.locations.append(location)
        instruction = instruction_of(op)
        if instruction is not None:
            self._read_instruction(op, instruction)
            return
        match op.name:
            case "ax01.loop":
                self._read_loop(op)
            case "ax01.call":
                self._read_call(op)
            case "ax01.copy":
                self._copy(self._result(op.results[0]), self._register(op.operands[0]))
            case "ax01.get_register":
                self._read_get_register(op)
            case "ax01.label":
                self._start_block(string_value(op.attributes["label"]))
            case "ax01.end" | "ax01.yield":
                pass
            case _:
                raise PassFailure(op, f"'{op.name}' cannot be scheduled; lower it to ax01 instructions first")

    def _read_get_register(self, op: ir.Operation) -> None:
        """A fixed register's content now: copied, because the register may change while the value is still used."""
        value = op.results[0]
        fixed = self._result(value)
        if fixed.pinned in CONSTANT_REGISTERS[fixed.file]:
            return
        kept = self._new(fixed.file)
        self._copy(kept, fixed)
        self._registers[value] = kept

    def _read_call(self, op: ir.Operation) -> None:
        callee = string_value(op.attributes["callee"])
        clobbers = SERVICE_CLOBBERS if callee.startswith(FIRMWARE_PREFIXES) else KERNEL_CLOBBERS
        link = physical(RegisterFile.SCALAR, LINK)
        self._append(Inst(BY_MNEMONIC["jal"], (link, callee), clobbers=clobbers))

    def _read_instruction(self, op: ir.Operation, instruction: Instruction) -> None:
        if instruction.is_pseudo:
            self._read_load_immediate(op)
            return
        fields, attributes = assembly_operands(op), op.attributes
        operands: list[Register | int | str] = []
        results = iter(op.results)
        merges = False
        updated: dict[ir.Value, Register] = {}
        for operand, field in zip(instruction.operands, fields, strict=True):
            if operand.is_written:
                destination = self._result(next(results))
                old = field if operand.is_read else _old_value(op, instruction)
                if old is not None:
                    self._copy(destination, self._registers[old])
                    merges = merges or not operand.is_read
                    if all(use.owner == op for use in old.uses):
                        updated[old] = destination
                operands.append(destination)
            elif operand.takes_port:
                # what nobody else needs is read from the copy that is written over: one register then does
                operands.append(updated[field] if field in updated else self._registers[field])
            else:
                operands.append(field)
        memory = self._memory(op, attributes[MEMORY_ATTRIBUTE]) if MEMORY_ATTRIBUTE in attributes else ()
        inst = Inst(instruction, tuple(operands), merges, memory)
        if instruction.format is Format.SDMA:
            inst.dma_shape = self._dma_shape(op, fields[2])
        self._note_constant(op, instruction, fields)
        self._append(inst)
        if SPILL_ROWS in attributes:
            self._note_spill_area(op, operands)

    def _read_load_immediate(self, op: ir.Operation) -> None:
        """`li.s` as one `addi.s`, or `lui.s` and, unless the low seven bits are 0, `addi.s`."""
        destination = self._result(op.results[0])
        value = ir.IntegerAttr(op.attributes["imm"]).value
        self._constants[op.results[0]] = value & 0xFFFFFFFF
        if BY_MNEMONIC["addi.s"].by_name["imm"].field.fits(value):
            self._emit("addi.s", destination, X0, value)
            return
        low = value & 0x7F
        upper = self._new(RegisterFile.SCALAR) if low else destination
        self._emit("lui.s", upper, (value >> 7) & 0x1FFFFFF)
        if low:
            self._emit("addi.s", destination, upper, low)

    def _memory(self, op: ir.Operation, described: ir.Attribute) -> tuple[MemoryRef, ...]:
        try:
            return parse_memory(string_value(described))
        except (TypeError, ValueError) as error:
            raise PassFailure(op, f"{MEMORY_ATTRIBUTE}: {error}") from None

    def _note_constant(self, op: ir.Operation, instruction: Instruction, fields: Sequence[object]) -> None:
        """Follows the constants that make the metadata word of a DMA."""
        if instruction.mnemonic == "lui.s" and isinstance(fields[1], int):
            self._constants[op.results[0]] = (fields[1] << 7) & 0xFFFFFFFF
        elif instruction.mnemonic == "addi.s" and isinstance(fields[2], int):
            source = fields[1]
            base = self._constants.get(source) if isinstance(source, ir.Value) else None
            if isinstance(source, ir.Value) and self._register(source) is X0:
                base = 0
            if base is not None:
                self._constants[op.results[0]] = (base + fields[2]) & 0xFFFFFFFF

    def _dma_shape(self, op: ir.Operation, metadata: object) -> DmaShape | None:
        if DMA_SHAPE in op.attributes:
            return DmaShape.decode(ir.IntegerAttr(op.attributes[DMA_SHAPE]).value & 0xFFFFFFFF)
        word = self._constants.get(metadata) if isinstance(metadata, ir.Value) else None
        return None if word is None else DmaShape.decode(word)

    def _note_spill_area(self, op: ir.Operation, operands: Sequence[Register | int | str]) -> None:
        rows = ir.IntegerAttr(op.attributes[SPILL_ROWS]).value
        pad = ir.IntegerAttr(op.attributes[SPILL_PAD]).value
        base = operands[0]
        assert isinstance(base, Register)
        self._function.spill_area = SpillArea(pad, base, rows)
        self._start_block(self._new_label("spillable"))

    # loops

    def _read_loop(self, op: ir.Operation) -> None:
        """The counter runs from 1; `blt counter, trip_count` branches back and increments it in one instruction."""
        body = op.regions[0].blocks[0]
        trip_count, *inits = op.operands
        carried = [self._result(argument) for argument in body.arguments]
        for register, init in zip(carried, inits, strict=True):
            self._copy(register, self._register(init))
        counter = self._new(RegisterFile.SCALAR)
        self._emit("addi.s", counter, X0, 1)
        after = self._skip_if_empty(trip_count) if MAY_BE_EMPTY in op.attributes else None
        label = self._new_label("loop")
        self._depth += 1
        self._start_block(label)
        self._read_block(body)
        yielded = [self._register(value) for value in body.operations[len(body.operations) - 1].operands]
        self._parallel_copy(carried, yielded)
        self._emit("blt.s", counter, self._register(trip_count), label, 1)
        self._depth -= 1
        self._start_block(after or self._new_label("after"))
        for result, register in zip(op.results, carried, strict=True):
            self._registers[result] = register

    def _skip_if_empty(self, trip_count: ir.Value) -> str:
        """Branches over a loop without iterations; the label of what comes after it."""
        after, none = self._new_label("after"), self._new(RegisterFile.SCALAR)
        self._emit("addi.s", none, X0, 0)
        self._emit("bge.s", none, self._register(trip_count), after, 0)
        return after

    def _parallel_copy(self, destinations: Sequence[Register], sources: Sequence[Register]) -> None:
        """All copies at once: a source that another copy overwrites is saved first."""
        saved: list[Register] = []
        overwritten = set(destinations)
        for destination, source in zip(destinations, sources, strict=True):
            if source is not destination and source in overwritten:
                self._copy(kept := self._new(source.file), source)
                saved.append(kept)
            else:
                saved.append(source)
        for destination, source in zip(destinations, saved, strict=True):
            self._copy(destination, source)


def _old_value(op: ir.Operation, instruction: Instruction) -> ir.Value | None:
    """The trailing operand of a merging operation, if it is there."""
    if not instruction.merges:
        return None
    operands, num_ports = op.operands, _NUM_PORTS[instruction.mnemonic]
    return operands[num_ports] if len(operands) > num_ports else None
