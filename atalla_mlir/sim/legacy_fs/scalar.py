"""What the emulator does for scalar instructions: functions of state, PC and operands in assembly order."""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np

from atalla_mlir.sim.engine import TrapKind
from atalla_mlir.sim.legacy_fs.state import WORD, LegacyState, bits_of, float_of
from atalla_mlir.sim.traps import TrapError
from atalla_mlir.target.encoding import PACKET_BYTES

Semantics = Callable[..., None]

SIGN = 0x80000000
WORD_BITS = 32
LARGEST_LOW_HALF = 0xFFFF


def emulator_error(what: str) -> TrapError:
    return TrapError(TrapKind.EMULATOR_ERROR, f"the emulator raises an exception: {what}")


def _signed(value: int) -> int:
    return value - (1 << WORD_BITS) if value & SIGN else value


def _divide(a: int, b: int) -> int:
    if b == 0:
        raise emulator_error("division by zero")
    quotient = abs(_signed(a)) // abs(_signed(b))
    return quotient if (a ^ b) & SIGN == 0 else -quotient


def _modulo(a: int, b: int) -> int:
    if b == 0:
        raise emulator_error("division by zero")
    return _signed(a) % _signed(b)


def _shift_left(a: int, b: int) -> int:
    return a << b if b < WORD_BITS else 0


def _shift_right(a: int, b: int) -> int:
    return a >> b if b < WORD_BITS else 0


def _shift_right_arithmetic(a: int, b: int) -> int:
    return _signed(a) >> min(b, WORD_BITS - 1)


def _register(operation: Callable[[int, int], int]) -> Semantics:
    def run(s: LegacyState, _pc: int, rd: int, rs1: int, rs2: int) -> None:
        s.write_scalar(rd, operation(s.x[rs1], s.x[rs2]))

    return run


def _immediate(operation: Callable[[int, int], int]) -> Semantics:
    def run(s: LegacyState, _pc: int, rd: int, rs1: int, imm: int) -> None:
        s.write_scalar(rd, operation(s.x[rs1], imm & WORD))

    return run


def _shift_immediate(operation: Callable[[int, int], int]) -> Semantics:
    """The amount is not reduced to five bits."""

    def run(s: LegacyState, _pc: int, rd: int, rs1: int, imm: int) -> None:
        if imm < 0:
            raise emulator_error("negative shift amount")
        s.write_scalar(rd, operation(s.x[rs1], imm))

    return run


def _less_signed(a: int, b: int) -> int:
    return int(_signed(a) < _signed(b))


def _arithmetic_operand(bits: int) -> float:
    """`add.bf`, `sub.bf`, `mul.bf` take a small register value for a BF16 pattern in the low half."""
    return float_of(bits << 16 if bits <= LARGEST_LOW_HALF else bits)


def _store_float(s: LegacyState, rd: int, value: float) -> None:
    with np.errstate(over="ignore"):
        bits = bits_of(value)
    if np.isfinite(value) and not np.isfinite(float_of(bits)):
        raise emulator_error("float32 overflow")
    s.write_scalar(rd, bits)


def _float_binary(operation: Callable[[float, float], float]) -> Semantics:
    def run(s: LegacyState, _pc: int, rd: int, rs1: int, rs2: int) -> None:
        _store_float(s, rd, operation(_arithmetic_operand(s.x[rs1]), _arithmetic_operand(s.x[rs2])))

    return run


def _reciprocal(s: LegacyState, _pc: int, rd: int, rs1: int, _rs2: int) -> None:
    value = float_of(s.x[rs1])
    if value == 0.0:
        raise emulator_error("division by zero")
    _store_float(s, rd, 1.0 / value)


def _square_root(s: LegacyState, _pc: int, rd: int, rs1: int, _rs2: int) -> None:
    s.write_scalar(rd, bits_of(np.sqrt(np.float32(float_of(s.x[rs1])))))


def _less_float(s: LegacyState, _pc: int, rd: int, rs1: int, rs2: int) -> None:
    s.write_scalar(rd, int(float_of(s.x[rs1]) < float_of(s.x[rs2])))


def _to_integer(s: LegacyState, _pc: int, rd: int, rs1: int, _rs2: int) -> None:
    value = float_of(s.x[rs1])
    if not -(2.0**31) <= value < 2.0**31:
        raise emulator_error("value is outside the integers")
    s.write_scalar(rd, int(value))


def _from_integer(s: LegacyState, _pc: int, rd: int, rs1: int, _rs2: int) -> None:
    s.write_scalar(rd, bits_of(np.float32(s.x[rs1])))


def _load_word(s: LegacyState, _pc: int, rd: int, imm: int, rs1: int) -> None:
    s.write_scalar(rd, s.memory.get(s.x[rs1] + imm, 0))


def _load_half(s: LegacyState, _pc: int, rd: int, imm: int, rs1: int) -> None:
    s.write_scalar(rd, s.memory.get(s.x[rs1] + imm, 0) << 16)


def _store_word(s: LegacyState, _pc: int, rd: int, imm: int, rs1: int) -> None:
    s.memory[s.x[rs1] + imm] = s.x[rd]


def _store_half(s: LegacyState, _pc: int, rd: int, imm: int, rs1: int) -> None:
    s.memory[s.x[rs1] + imm] = s.x[rd] >> 16


def _branch(taken: Callable[[int, int], bool]) -> Semantics:
    """Ordered comparisons are unsigned."""

    def run(s: LegacyState, pc: int, rs1: int, rs2: int, offset: int, incr: int) -> None:
        left = s.x[rs1]
        s.next_pc = pc + (offset if taken(left, s.x[rs2]) else PACKET_BYTES)
        s.write_scalar(rs1, left + incr)

    return run


def _jump_and_link(s: LegacyState, pc: int, rd: int, imm: int) -> None:
    s.write_scalar(rd, pc + PACKET_BYTES)
    s.next_pc = pc + imm


def _jump_register(s: LegacyState, pc: int, rd: int, rs1: int, imm: int) -> None:
    target = (s.x[rs1] + imm) & WORD
    s.write_scalar(rd, pc + PACKET_BYTES)
    s.next_pc = target


def _load_constant(s: LegacyState, _pc: int, rd: int, imm: int) -> None:
    s.write_scalar(rd, imm)


def _load_upper(s: LegacyState, _pc: int, rd: int, imm: int) -> None:
    s.write_scalar(rd, imm << 7)


def _nothing(_s: LegacyState, _pc: int) -> None:
    return


SCALAR: dict[str, Semantics] = {
    "add.s": _register(operator.add),
    "sub.s": _register(operator.sub),
    "mul.s": _register(operator.mul),
    "div.s": _register(_divide),
    "mod.s": _register(_modulo),
    "or.s": _register(int.__or__),
    "and.s": _register(int.__and__),
    "xor.s": _register(int.__xor__),
    "sll.s": _register(_shift_left),
    "srl.s": _register(_shift_right),
    "sra.s": _register(_shift_right_arithmetic),
    "slt.s": _register(_less_signed),
    "sltu.s": _register(operator.lt),
    "bfts.s": _to_integer,
    "add.bf": _float_binary(operator.add),
    "sub.bf": _float_binary(operator.sub),
    "mul.bf": _float_binary(operator.mul),
    "rcp.bf": _reciprocal,
    "slt.bf": _less_float,
    "sqrt.bf": _square_root,
    "stbf.s": _from_integer,
    "addi.s": _immediate(operator.add),
    "subi.s": _immediate(operator.sub),
    "muli.s": _immediate(operator.mul),
    "divi.s": _immediate(_divide),
    "modi.s": _immediate(_modulo),
    "ori.s": _immediate(int.__or__),
    "andi.s": _immediate(int.__and__),
    "xori.s": _immediate(int.__xor__),
    "slli.s": _shift_immediate(_shift_left),
    "srli.s": _shift_immediate(_shift_right),
    "srai.s": _shift_immediate(_shift_right_arithmetic),
    "slti.s": _immediate(_less_signed),
    "sltui.s": _immediate(operator.lt),
    "beq.s": _branch(operator.eq),
    "bne.s": _branch(operator.ne),
    "blt.s": _branch(operator.lt),
    "bge.s": _branch(operator.ge),
    "bgt.s": _branch(operator.gt),
    "ble.s": _branch(operator.le),
    "lw.s": _load_word,
    "sw.s": _store_word,
    "lhw.s": _load_half,
    "shw.s": _store_half,
    "jal": _jump_and_link,
    "jalr": _jump_register,
    "li.s": _load_constant,
    "lui.s": _load_upper,
    "nop.s": _nothing,
    "halt.s": _nothing,
}
