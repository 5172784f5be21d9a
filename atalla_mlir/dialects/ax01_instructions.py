"""The instruction operations of the `ax01` dialect, one for each row of the instruction table."""

from collections.abc import Callable
from typing import Any, Optional

from atalla_mlir._mlir import ext, ir
from atalla_mlir.dialects.ax01_registers import CONSTRAINTS, Ax01, fail, pinned_number, register_number
from atalla_mlir.target import isa
from atalla_mlir.target.registers import RegisterFile

Operand = ext.Operand
Result = ext.Result


def target_operand(instruction: isa.Instruction) -> Optional[isa.Operand]:
    """The immediate that holds the distance to a label, written as attribute `target` instead."""
    if instruction.is_branch:
        return instruction.by_name["offset"]
    return instruction.by_name["imm"] if instruction.mnemonic == "jal" else None


def operand_fields(instruction: isa.Instruction) -> tuple[isa.Operand, ...]:
    """The table's operands that are SSA operands of the operation (`old` follows if the instruction merges)."""
    return tuple(operand for operand in instruction.operands if operand.takes_port)


def attribute_fields(instruction: isa.Instruction) -> tuple[isa.Operand, ...]:
    """The immediates that are integer attributes of the operation: all but the `target`."""
    return tuple(operand for operand in instruction.immediates if operand is not target_operand(instruction))


def immediate_range(instruction: isa.Instruction, operand: isa.Operand) -> range:
    """The values that an attribute may have: the field's, or any word for a pseudo-instruction, which has none."""
    if instruction.is_pseudo:
        return range(-(1 << 31), 1 << 31)
    return range(operand.field.minimum, operand.field.maximum + 1, operand.field.scale)


def result_name(operand: isa.Operand) -> str:
    return f"{operand.name}_out" if operand.is_read else operand.name


_SCALAR_UNITS = {isa.Unit.EX1, isa.Unit.EX2, isa.Unit.EX3, isa.Unit.EX4, isa.Unit.MTS}
_PURE_UNITS = isa.LANE_UNITS | _SCALAR_UNITS


def is_pure(instruction: isa.Instruction) -> bool:
    """Whether the instruction only writes its results: no memory, no control, no state of array or transpose unit."""
    return instruction.is_pseudo or (instruction.unit in _PURE_UNITS and not instruction.is_control)


def _immediate(op: Any, name: str) -> Optional[int]:
    """The value of an integer attribute; None when it is missing or of another kind, which IRDL reports."""
    attributes = op.attributes
    attribute = attributes.get(name, None)
    return attribute.value if isinstance(attribute, ir.IntegerAttr) else None


def _same_register(op: Any, what: str, value: ir.Value, result: ir.Value) -> bool:
    """An operand that ends up in the result's register cannot be pinned to another one."""
    source, destination = pinned_number(value.type), pinned_number(result.type)
    if source is None or destination is None or source == destination:
        return True
    return fail(op, f"{what} is in register {source}, but its new value in {destination}")


def _instruction_verifier(instruction: isa.Instruction) -> Optional[Callable[[Any], bool]]:
    """What IRDL cannot say: ranges of immediates, and operands that share a register with a result.

    None when there is nothing to check, so that verification does not call into Python.
    """
    ranges = [(operand.name, immediate_range(instruction, operand)) for operand in attribute_fields(instruction)]
    fields = operand_fields(instruction)
    written = [operand for operand in instruction.operands if operand.is_written]
    tied = [(fields.index(operand), written.index(operand)) for operand in written if operand.is_read]
    if not (ranges or tied or instruction.merges):
        return None

    def verify_invariants(op: Any) -> bool:
        for name, allowed in ranges:
            value = _immediate(op, name)
            if value is not None and value not in allowed:
                return fail(op, f"{name} {value} does not fit in {allowed[0]}..{allowed[-1]}")
        if not (tied or instruction.merges):
            return True
        operands, results = op.operands, op.results
        if len(results) != len(written) or len(operands) < len(fields):
            return True  # IRDL reports it
        if instruction.merges and len(operands) == len(fields) + 1:
            old = operands[len(fields)]
            return _same_register(op, "old", old, results[0])
        return all(_same_register(op, fields[i].name, operands[i], results[j]) for i, j in tied)

    return verify_invariants


def _define_instruction(instruction: isa.Instruction) -> type[ext.Operation]:
    annotations: dict[str, Any] = {
        operand.name: Operand[CONSTRAINTS[operand.file]]
        for operand in operand_fields(instruction)
        if operand.file is not None
    }
    if instruction.merges:
        annotations["old"] = Optional[Operand[CONSTRAINTS[instruction.writes[0].file or RegisterFile.VECTOR]]]
    annotations.update({operand.name: ir.IntegerAttr for operand in attribute_fields(instruction)})
    if target_operand(instruction) is not None:
        annotations["target"] = ir.StringAttr
    for operand in instruction.writes:
        if operand.file is not None:
            annotations[result_name(operand)] = Result[CONSTRAINTS[operand.file]]
    namespace: dict[str, Any] = {
        "__annotations__": annotations,
        "__doc__": f"`{instruction.mnemonic}`: {instruction.semantics}.",
        "__module__": __name__,
    }
    verifier = _instruction_verifier(instruction)
    if verifier is not None:
        namespace["verify_invariants"] = verifier
    class_name = "".join(part.capitalize() for part in instruction.op_name.split("_")) + "Op"
    traits = [ext.Pure] if is_pure(instruction) else []
    defined = type(class_name, (Ax01.Operation,), namespace, name=instruction.op_name, traits=traits)
    if instruction.merges:
        _define_merge_accessors(defined, instruction)
    return defined


def _define_merge_accessors(defined: Any, instruction: isa.Instruction) -> None:
    """Positional accessors: `old` is the only optional operand, so the segment sizes that the bindings want are
    redundant, and IR without them is shorter and faster to build."""
    names = [operand.name for operand in operand_fields(instruction)]
    for position, name in enumerate(names):
        setattr(defined, name, property(lambda self, position=position: self.operands[position]))
    num_fields = len(names)

    def old(self: Any) -> Optional[ir.Value]:
        return self.operands[num_fields] if len(self.operands) > num_fields else None

    defined.old = property(old)
    defined._ODS_OPERAND_SEGMENTS = None


INSTRUCTION_OPS = {instruction.op_name: _define_instruction(instruction) for instruction in isa.INSTRUCTIONS}
"""Operation class of each instruction, by `Instruction.op_name`."""

_INSTRUCTION_OF_OPERATION = {f"ax01.{instruction.op_name}": instruction for instruction in isa.INSTRUCTIONS}


def instruction_of(op: ir.Operation) -> Optional[isa.Instruction]:
    """The row of the table that `op` is an instance of; None for the structural operations."""
    return _INSTRUCTION_OF_OPERATION.get(op.name)


def _places(instruction: isa.Instruction) -> tuple[tuple[Optional[int], Optional[int], Optional[str]], ...]:
    """Where each of the table's operands stands in the operation: as operand, result or attribute; in none, unused."""
    target = target_operand(instruction)
    found: list[tuple[Optional[int], Optional[int], Optional[str]]] = []
    num_operands = num_results = 0
    for operand in instruction.operands:
        at_port = at_result = name = None
        if operand.takes_port:
            at_port, num_operands = num_operands, num_operands + 1
        elif operand is target:
            name = "target"
        elif operand.role is isa.Role.IMMEDIATE:
            name = operand.name
        if operand.is_written:
            at_result = None if operand.is_read else num_results
            num_results += 1
        found.append((at_port, at_result, name))
    return tuple(found)


_PLACES = {f"ax01.{instruction.op_name}": _places(instruction) for instruction in isa.INSTRUCTIONS}


def assembly_operands(op: ir.Operation) -> tuple[Any, ...]:
    """What stands at each place of the table's operands: a Value, an int, or the label of a target (str).

    An operand that is read and written is the value that is read; unused fields are 0.
    """
    operands, attributes = list(op.operands), op.attributes
    found: list[Any] = []
    for at_port, at_result, name in _PLACES[op.name]:
        if at_port is not None:
            found.append(operands[at_port])
        elif at_result is not None:
            found.append(op.results[at_result])
        else:
            found.append(0 if name is None else attributes[name].value)
    return tuple(found)


def pinned_operands(op: ir.Operation) -> tuple[Any, ...]:
    """`assembly_operands` with register numbers for values; ValueError when one is not pinned."""
    return tuple(register_number(item) if isinstance(item, ir.Value) else item for item in assembly_operands(op))
