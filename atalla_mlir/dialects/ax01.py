"""The `ax01` dialect: exactly the machine's instructions, in SSA, plus what holds them together.

There is one operation per row of the instruction table, made from it: `add.vv` is `ax01.add_vv`.

* operands are the registers that the instruction reads (or whose port it takes), in assembly order; an instruction
  that merges has an optional last operand `old`, the value that inactive lanes keep (absent: the mask is known to be
  all ones, or the inactive lanes do not matter);
* results are the registers that it writes; an operand that is read and written is both, its result called `<name>_out`;
* immediates are i32 attributes with the operand's name, the destination of a branch or `jal` the string `target`;
* encoded but unused fields do not appear.

Register types are virtual (`!ax01.sreg`, `!ax01.vreg`, `!ax01.mreg`) or pinned to a number (`!ax01.x<5 : i32>`,
`!ax01.v<5 : i32>`, `!ax01.m<5 : i32>`). Virtual code lives in `ax01.func` and `ax01.loop`; after allocation a function
holds `ax01.label` and `ax01.packet`.
"""

from collections.abc import Sequence
from typing import Any

from atalla_mlir._mlir import ext, ir
from atalla_mlir.dialects.ax01_instructions import INSTRUCTION_OPS, assembly_operands, instruction_of, pinned_operands
from atalla_mlir.dialects.ax01_registers import (
    ANY_PINNED,
    ANY_REGISTER,
    PINNED_TYPES,
    SCALAR,
    VIRTUAL_TYPES,
    Ax01,
    MRegType,
    SRegType,
    VRegType,
    fail,
    pinned_number,
    register_file,
    register_number,
)
from atalla_mlir.dialects.dialect_base import load_once
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.packets import packet_violations

__all__ = [
    "INSTRUCTION_OPS",
    "PINNED_TYPES",
    "VIRTUAL_TYPES",
    "Ax01",
    "CallOp",
    "CopyOp",
    "EndOp",
    "FuncOp",
    "GetRegisterOp",
    "LabelOp",
    "LoopOp",
    "PacketOp",
    "YieldOp",
    "assembly_operands",
    "instruction_of",
    "load",
    "pinned_number",
    "pinned_operands",
    "register_file",
    "register_number",
]

Operand = ext.Operand
Result = ext.Result
Region = ext.Region


def _check_terminator(op: Any, name: str) -> bool:
    """The only region of `op` has one block, which ends with operation `name`."""
    blocks = list(op.regions[0].blocks)
    if len(blocks) != 1:
        return fail(op, f"must have one block, got {len(blocks)}")
    operations = blocks[0].operations
    last = operations[len(operations) - 1].operation.name if len(operations) else "nothing"
    return last == name or fail(op, f"must end with {name}, ends with {last}")


def _check_exists(op: Any, value: ir.Value) -> bool:
    """A pinned register must be one that the machine has."""
    if pinned_number(value.type) is not None:
        try:
            register_number(value)
        except ValueError as error:
            return fail(op, str(error))
    return True


class FuncOp(Ax01.Operation, name="func", traits=[ir.IsIsolatedFromAboveTrait]):
    """A function: one block without arguments that ends with `ax01.end`.

    Arguments and results pass in pinned registers (`ax01.get_register`, `ax01.copy`).
    """

    sym_name: ir.StringAttr
    body: Region

    def verify_region_invariants(self) -> bool:
        if not _check_terminator(self, "ax01.end"):
            return False
        arguments = self.regions[0].blocks[0].arguments
        return not len(arguments) or fail(self, f"takes no block arguments, got {len(arguments)}")


class EndOp(Ax01.Operation, name="end", traits=[ir.IsTerminatorTrait]):
    """Ends the text of a function; control does not return by it, but by an instruction before it."""


class YieldOp(Ax01.Operation, name="yield", traits=[ir.IsTerminatorTrait]):
    """Ends an iteration of `ax01.loop` with the next values of the carried registers, grouped by file as they are."""

    scalars: Sequence[Operand[SRegType]]
    vectors: Sequence[Operand[VRegType]]
    masks: Sequence[Operand[MRegType]]


class LoopOp(Ax01.Operation, name="loop"):
    """A counted loop: the body runs `trip_count` times, at least once unless it has `atalla.may_be_empty`.

    The block's arguments are the carried values: the operands after the trip count before the first iteration, the
    operands of `ax01.yield` after that; the results are the values after the last iteration. Carried values are
    virtual and grouped by register file, scalars first, because IRDL wants one type per variadic group.
    """

    trip_count: Operand[SCALAR]
    scalars: Sequence[Operand[SRegType]]
    vectors: Sequence[Operand[VRegType]]
    masks: Sequence[Operand[MRegType]]
    final_scalars: Sequence[Result[SRegType]]
    final_vectors: Sequence[Result[VRegType]]
    final_masks: Sequence[Result[MRegType]]
    body: Region

    def verify_region_invariants(self) -> bool:
        if not _check_terminator(self, "ax01.yield"):
            return False
        block = self.regions[0].blocks[0]
        inits = [value.type for value in list(self.operands)[1:]]
        carried = {
            "block arguments": [value.type for value in block.arguments],
            "yielded values": [value.type for value in block.operations[len(block.operations) - 1].operands],
            "results": [value.type for value in self.results],
        }
        for what, types in carried.items():
            if types != inits:
                expected, got = _type_list(inits), _type_list(types)
                return fail(self, f"carries ({expected}), but its {what} are ({got})")
        return True


def _type_list(types: Sequence[ir.Type]) -> str:
    return ", ".join(map(str, types))


class CallOp(Ax01.Operation, name="call"):
    """Call the function or firmware service `callee`.

    Arguments are put into pinned registers with `ax01.copy` before it, results are taken with `ax01.get_register`
    after it.
    """

    callee: ir.FlatSymbolRefAttr


class CopyOp(Ax01.Operation, name="copy"):
    """The same value in another register of the same file, virtual or pinned."""

    source: Operand[ANY_REGISTER]
    destination: Result[ANY_REGISTER]

    def verify_invariants(self) -> bool:
        if len(self.operands) != 1 or len(self.results) != 1:
            return True  # IRDL reports it
        source, destination = self.operands[0].type, self.results[0].type
        if register_file(source) is not register_file(destination):
            return fail(self, f"cannot copy {source} to {destination}, another register file")
        return _check_exists(self, self.operands[0]) and _check_exists(self, self.results[0])


class GetRegisterOp(Ax01.Operation, name="get_register"):
    """The present content of a pinned register."""

    content: Result[ANY_PINNED]

    def verify_invariants(self) -> bool:
        return not len(self.results) or _check_exists(self, self.results[0])


class LabelOp(Ax01.Operation, name="label"):
    """Names the next packet as a target of branches and `jal`; the name counts within its function."""

    label: ir.StringAttr


class PacketOp(Ax01.Operation, name="packet", traits=[ir.NoTerminatorTrait]):
    """Up to four instructions that issue together, slot 0 first, on pinned registers; empty slots are `nop.s`.

    Operands come from `ax01.get_register`. A packet must be legal: no instruction reads or writes what an earlier one
    of the same packet writes, and units and register ports suffice.
    """

    body: Region

    def verify_region_invariants(self) -> bool:
        slots: list[Any] = []
        for block in self.regions[0].blocks:
            for inner in block.operations:
                instruction = instruction_of(inner.operation)
                if instruction is None:
                    return fail(self, f"holds '{inner.operation.name}', which is not an instruction")
                if instruction.is_pseudo:
                    return fail(self, f"holds the pseudo-instruction {instruction.mnemonic}, which has no encoding")
                try:
                    operands = pinned_operands(inner.operation)
                except ValueError as error:
                    return fail(self, f"slot {len(slots)}, {instruction.mnemonic}: {error}")
                slots.append((instruction, tuple(0 if isinstance(item, str) else item for item in operands)))
        if len(slots) > SLOTS:
            return fail(self, f"holds {len(slots)} instructions, at most {SLOTS} fit")
        violations = packet_violations(slots)
        return not violations or fail(self, "; ".join(violations))


def load() -> None:
    """Load the dialect into the current context; loading it again does nothing."""
    load_once(Ax01)
