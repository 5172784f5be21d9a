"""Small machine programs for tests, encoded straight from the instruction table, without the assembler."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir.target import isa
from atalla_mlir.target.encoding import SLOTS, pack_packet

Slot = tuple[str, *tuple[int, ...]]
"""A mnemonic and its operands in assembly order: ("addi.s", 1, 0, 5)."""


def word(mnemonic: str, *operands: int) -> int:
    """The 40-bit word of one instruction."""
    instruction = isa.BY_MNEMONIC[mnemonic]
    if len(operands) != len(instruction.operands):
        raise ValueError(f"{mnemonic} has {len(instruction.operands)} operands, got {len(operands)}")
    value = instruction.opcode
    for operand, number in zip(instruction.operands, operands, strict=True):
        value |= operand.field.place(number)
    return value


def program(*packets: Sequence[Slot]) -> bytes:
    """The code image of packets of one to four instructions, filled up with `nop.s`."""
    code = b""
    for packet in packets:
        words = [word(*slot) for slot in packet]
        code += pack_packet(words + [word("nop.s")] * (SLOTS - len(words)))
    return code
