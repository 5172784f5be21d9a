"""Instructions to 40-bit words, packets to bytes."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir.errors import LimitError
from atalla_mlir.mc.instruction import NOP, MachineInstruction
from atalla_mlir.target.encoding import SLOTS, pack_packet


def encode(instruction: MachineInstruction) -> int:
    """The 40-bit word; LimitError names the operand that does not fit and its range."""
    op = instruction.op
    if op.is_pseudo:
        raise LimitError(f"{op.mnemonic} is a pseudo-instruction and has no encoding")
    try:
        return op.word(instruction.operands)
    except ValueError as error:
        raise LimitError(f"{op.mnemonic}: {error}") from error


def encode_packet(instructions: Sequence[MachineInstruction]) -> bytes:
    """The 20 bytes of a packet; empty slots are filled with `nop.s`."""
    if len(instructions) > SLOTS:
        raise LimitError(f"{len(instructions)} instructions in a packet of {SLOTS} slots")
    filled = [*instructions, *[NOP] * (SLOTS - len(instructions))]
    return pack_packet([encode(instruction) for instruction in filled])
