"""40-bit words to instructions, bytes to packets."""

from __future__ import annotations

from atalla_mlir.errors import BadInputError
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import OPCODE, unpack_packets

Packet = tuple[MachineInstruction | None, ...]


class UndefinedOpcode(BadInputError):  # noqa: N818 (the name of the trap)
    """A word whose opcode the machine does not define."""


def decode(word: int) -> MachineInstruction | None:
    """The instruction of a word; None for the all-zero word, which is an empty slot."""
    if word == 0:
        return None
    opcode = OPCODE.extract(word)
    op = isa.BY_OPCODE.get(opcode)
    if op is None or op.is_pseudo:
        name = f" ({op.mnemonic})" if op is not None else ""
        raise UndefinedOpcode(f"undefined opcode {opcode}{name} in word {word:010X}")
    return MachineInstruction(op, tuple(operand.field.extract(word) for operand in op.operands))


def decode_packets(code: bytes) -> list[Packet]:
    """All packets of a code image; BadInputError when its size is not a whole number of packets."""
    try:
        packets = list(unpack_packets(code))
    except ValueError as error:
        raise BadInputError(str(error)) from error
    return [tuple(decode(word) for word in words) for words in packets]
