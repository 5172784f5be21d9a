"""Arithmetic on indices to `ax01` instructions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from atalla_mlir._mlir import integer_value, ir
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.affine_index import constant_index
from atalla_mlir.kernels.integer_instructions import Handler
from atalla_mlir.target.encoding import IMM12

if TYPE_CHECKING:
    from atalla_mlir.kernels.instructions import KernelLowering

_ARITHMETIC = {
    "arith.addi": "add_s",
    "arith.subi": "sub_s",
    "arith.muli": "mul_s",
    "arith.andi": "and_s",
    "arith.xori": "xor_s",
    "arith.ori": "or_s",
    "arith.shrui": "srl_s",
    "arith.shrsi": "sra_s",
}


def _arithmetic(lowering: KernelLowering, op: ir.Operation) -> None:
    """One scalar instruction; a small constant is its immediate."""
    left, right = op.operands
    constant = constant_index(right)
    if op.name == "arith.addi" and constant is not None and IMM12.fits(constant):
        lowering.values[op.results[0]] = lowering.b.addi_s(lowering.index(left), constant)
        return
    lowering.values[op.results[0]] = lowering.b.build(_ARITHMETIC[op.name], lowering.index(left), lowering.index(right))


def _limit(lowering: KernelLowering, op: ir.Operation) -> None:
    """The lesser or the greater of an index and a constant: their difference where it is negative, or is not."""
    index, limit = op.operands
    bound = constant_index(limit)
    if bound is None:
        raise InternalError(f"{op.name} with a limit that is not a constant")
    over = lowering.constants.plus(lowering.index(index), -bound)
    kept = lowering.b.srai_s(over, 31)
    if op.name == "arith.maxsi":
        kept = lowering.b.xori_s(kept, -1)
    lowering.values[op.results[0]] = lowering.constants.plus(lowering.b.and_s(over, kept), bound)


def _equal_bits(lowering: KernelLowering, op: ir.Operation) -> None:
    """0 - (difference == 0): unsigned below 1, negated."""
    left, right = op.operands
    is_zero = constant_index(right) == 0
    difference = lowering.index(left) if is_zero else lowering.b.sub_s(lowering.index(left), lowering.index(right))
    below_one = lowering.b.sltu_s(difference, lowering.constants.integer(1))
    lowering.values[op.results[0]] = lowering.b.sub_s(lowering.constants.x0, below_one)


def _next_index(lowering: KernelLowering, op: ir.Operation) -> None:
    last = lowering.constants.integer(integer_value(op.attributes["last"]))
    following = lowering.b.addi_s(lowering.values[op.operands[0]], 1)
    beyond = lowering.b.slt_s(last, following)
    lowering.values[op.results[0]] = lowering.b.sub_s(following, beyond)


def is_computed_with(variable: ir.Value) -> bool:
    """Whether anything but addresses that the loop increments needs the number of its iteration."""
    return any(use.owner.operation.name in _ARITHMETIC for use in variable.uses)


HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        **dict.fromkeys(_ARITHMETIC, _arithmetic),
        "arith.minsi": _limit,
        "arith.maxsi": _limit,
        "atalla.equal_bits": _equal_bits,
        "atalla.next_index": _next_index,
    }
)
"""Name of an operation -> what lowers it."""
