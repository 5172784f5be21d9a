"""Semantics of the scalar instructions (machine reference 2.1 to 2.6): one binder per instruction.

A binder takes the state and the operands in assembly order and returns the action that the packet runs. Scalar
registers hold unsigned 32-bit numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np

from atalla_mlir.sim import numerics
from atalla_mlir.sim.state import MASKS, SCALARS, State
from atalla_mlir.target.encoding import PACKET_BYTES

Action = Callable[[], None]
Binder = Callable[..., Action]
IntegerOp = Callable[[int, int], int]

WORD = 0xFFFFFFFF
SIGN = 0x80000000
UPPER = 0xFFFF0000
SHIFT_LIMIT = 32


def signed(value: int) -> int:
    return value - (1 << 32) if value & SIGN else value


def _divide(a: int, b: int) -> int:
    """Signed quotient truncated toward zero; by 0: -1; INT_MIN / -1: INT_MIN (2^31 wraps)."""
    if b == 0:
        return WORD
    dividend, divisor = signed(a), signed(b)
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _modulo(a: int, b: int) -> int:
    """Signed remainder with the sign of the dividend; by 0: the dividend."""
    if b == 0:
        return a
    remainder = abs(signed(a)) % abs(signed(b))
    return -remainder if a & SIGN else remainder


def _shift_left(a: int, b: int) -> int:
    return a << b if b < SHIFT_LIMIT else 0


def _shift_right(a: int, b: int) -> int:
    return a >> b if b < SHIFT_LIMIT else 0


def _shift_right_arithmetic(a: int, b: int) -> int:
    return signed(a) >> min(b, SHIFT_LIMIT - 1)


def _less_signed(a: int, b: int) -> int:
    return int((a ^ SIGN) < (b ^ SIGN))


def _less_unsigned(a: int, b: int) -> int:
    return int(a < b)


def _register(operation: IntegerOp) -> Binder:
    def bind(state: State, rd: int, rs1: int, rs2: int) -> Action:
        x, target = state.x, rd or SCALARS

        def execute() -> None:
            x[target] = operation(x[rs1], x[rs2]) & WORD

        return execute

    return bind


def _immediate(operation: IntegerOp, field_mask: int = WORD) -> Binder:
    """The immediate is sign-extended to 32 bits; shifts use only its low five bits (`field_mask`)."""

    def bind(state: State, rd: int, rs1: int, imm: int) -> Action:
        x, target, constant = state.x, rd or SCALARS, imm & field_mask

        def execute() -> None:
            x[target] = operation(x[rs1], constant) & WORD

        return execute

    return bind


def _float32(bits: int) -> numerics.Floats:
    return np.array([bits & UPPER], np.uint32).view(np.float32)


def _float_binary(operation: Callable[[numerics.Floats, numerics.Floats], numerics.Floats]) -> Binder:
    def bind(state: State, rd: int, rs1: int, rs2: int) -> Action:
        x, target = state.x, rd or SCALARS

        def execute() -> None:
            result = operation(_float32(x[rs1]), _float32(x[rs2]))
            x[target] = int(numerics.round_bits(result.view(np.uint32))[0])

        return execute

    return bind


def _float_unary(operation: Callable[[numerics.Floats], numerics.Floats]) -> Binder:
    """`rcp.bf` and `sqrt.bf`; a NaN operand keeps its sign, a NaN made from a number is negative."""

    def bind(state: State, rd: int, rs1: int, _rs2: int) -> Action:
        x, target = state.x, rd or SCALARS

        def execute() -> None:
            operand = _float32(x[rs1])
            with np.errstate(all="ignore"):
                result = operation(operand)
            if np.isnan(result[0]):
                numerics.fix_nans(result, operand, operand)
            x[target] = int(numerics.round_bits(result.view(np.uint32))[0])

        return execute

    return bind


def _convert(operation: Callable[[int], int]) -> Binder:
    def bind(state: State, rd: int, rs1: int, _rs2: int) -> Action:
        x, target = state.x, rd or SCALARS

        def execute() -> None:
            x[target] = operation(x[rs1])

        return execute

    return bind


def _reciprocal(value: numerics.Floats) -> numerics.Floats:
    return np.float32(1.0) / value


def _less_float(state: State, rd: int, rs1: int, rs2: int) -> Action:
    x, target = state.x, rd or SCALARS

    def execute() -> None:
        x[target] = int(_float32(x[rs1])[0] < _float32(x[rs2])[0])

    return execute


def _load_upper(state: State, rd: int, imm: int) -> Action:
    x, target, value = state.x, rd or SCALARS, imm << 7 & WORD

    def execute() -> None:
        x[target] = value

    return execute


def _jump_and_link(state: State, rd: int, imm: int) -> Action:
    x, target, distance = state.x, rd or SCALARS, imm - PACKET_BYTES

    def execute() -> None:
        following = state.next_pc
        x[target] = following
        state.next_pc = (following + distance) & WORD

    return execute


def _jump_register(state: State, rd: int, rs1: int, imm: int) -> Action:
    x, target = state.x, rd or SCALARS

    def execute() -> None:
        destination = (x[rs1] + imm) & WORD
        x[target] = state.next_pc
        state.next_pc = destination

    return execute


def _branch(taken: IntegerOp) -> Binder:
    """Compares the old rs1, then increments it whether or not the branch is taken."""

    def bind(state: State, rs1: int, rs2: int, offset: int, incr: int) -> Action:
        x, target, distance = state.x, rs1 or SCALARS, offset - PACKET_BYTES

        def execute() -> None:
            left = x[rs1]
            if taken(left, x[rs2]):
                state.next_pc = (state.next_pc + distance) & WORD
            x[target] = (left + incr) & WORD

        return execute

    return bind


def _greater_or_equal(a: int, b: int) -> int:
    return int((a ^ SIGN) >= (b ^ SIGN))


def _greater(a: int, b: int) -> int:
    return int((a ^ SIGN) > (b ^ SIGN))


def _less_or_equal(a: int, b: int) -> int:
    return int((a ^ SIGN) <= (b ^ SIGN))


def _nothing(_state: State) -> Action:
    def execute() -> None:
        return

    return execute


def _mask_to_scalar(state: State, rd: int, vms: int) -> Action:
    x, m, target = state.x, state.m, rd or SCALARS

    def execute() -> None:
        x[target] = m[vms]

    return execute


def _scalar_to_mask(state: State, vmd: int, rs1: int) -> Action:
    x, m, target = state.x, state.m, vmd or MASKS

    def execute() -> None:
        m[target] = x[rs1]

    return execute


_SHIFT_FIELD = SHIFT_LIMIT - 1

BINDERS: dict[str, Binder] = {
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
    "sltu.s": _register(_less_unsigned),
    "bfts.s": _convert(numerics.bf16_to_integer),
    "stbf.s": _convert(numerics.integer_to_bf16),
    "add.bf": _float_binary(numerics.add),
    "sub.bf": _float_binary(numerics.subtract),
    "mul.bf": _float_binary(numerics.multiply),
    "rcp.bf": _float_unary(_reciprocal),
    "sqrt.bf": _float_unary(np.sqrt),
    "slt.bf": _less_float,
    "addi.s": _immediate(operator.add),
    "subi.s": _immediate(operator.sub),
    "muli.s": _immediate(operator.mul),
    "divi.s": _immediate(_divide),
    "modi.s": _immediate(_modulo),
    "ori.s": _immediate(int.__or__),
    "andi.s": _immediate(int.__and__),
    "xori.s": _immediate(int.__xor__),
    "slli.s": _immediate(_shift_left, _SHIFT_FIELD),
    "srli.s": _immediate(_shift_right, _SHIFT_FIELD),
    "srai.s": _immediate(_shift_right_arithmetic, _SHIFT_FIELD),
    "slti.s": _immediate(_less_signed),
    "sltui.s": _immediate(_less_unsigned),
    "beq.s": _branch(operator.eq),
    "bne.s": _branch(operator.ne),
    "blt.s": _branch(_less_signed),
    "bge.s": _branch(_greater_or_equal),
    "bgt.s": _branch(_greater),
    "ble.s": _branch(_less_or_equal),
    "jal": _jump_and_link,
    "jalr": _jump_register,
    "lui.s": _load_upper,
    "nop.s": _nothing,
    "halt.s": _nothing,
    "mv.mts": _mask_to_scalar,
    "mv.stm": _scalar_to_mask,
}
