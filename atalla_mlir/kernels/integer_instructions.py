"""Operations of `atalla` on whole numbers to `ax01` instructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from atalla_mlir._mlir import integer_value, ir, string_attr, string_value

if TYPE_CHECKING:
    from atalla_mlir.kernels.instructions import KernelLowering

WORD_BYTES = 4
WORD_ACCESSES: Mapping[str, int] = MappingProxyType({"atalla.word_load": 0, "atalla.word_store": 1})
"""Operations with an address in DRAM -> which operand their buffer is."""
COUNTER_OPERANDS: Mapping[str, int] = MappingProxyType({"atalla.integer_index": 0, "atalla.insert": 2})
"""Operations that take the value of a map -> the first operand of it."""
_INSTRUCTIONS = {
    "add": "add_s",
    "sub": "sub_s",
    "mul": "mul_s",
    "div": "div_s",
    "rem": "mod_s",
    "and": "and_s",
    "or": "or_s",
    "xor": "xor_s",
    "shl": "sll_s",
    "shr": "sra_s",
    "lt": "slt_s",
    "ltu": "sltu_s",
}


def _word_load(lowering: KernelLowering, op: ir.Operation) -> None:
    address, near = lowering.pointers.word_address(op, WORD_ACCESSES[op.name])
    memory = string_attr(f"read dram:b{lowering.buffers[op.operands[0]]}[?:?]")
    lowering.values[op.results[0]] = lowering.b.lw_s(near, address, memory=memory)


def _word_store(lowering: KernelLowering, op: ir.Operation) -> None:
    address, near = lowering.pointers.word_address(op, WORD_ACCESSES[op.name])
    memory = string_attr(f"write dram:b{lowering.buffers[op.operands[1]]}[?:?]")
    lowering.b.sw_s(lowering.values[op.operands[0]], near, address, memory=memory)


def _constant(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.constants.integer(integer_value(op.attributes["value"]))


def _index(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.pointers.affine_value(op, COUNTER_OPERANDS[op.name])


def _integer(lowering: KernelLowering, op: ir.Operation) -> None:
    left, right = (lowering.values[value] for value in op.operands)
    name = _INSTRUCTIONS[string_value(op.attributes["kind"])]
    lowering.values[op.results[0]] = lowering.b.build(name, left, right)


def _same(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.values[op.operands[0]]


def _to_scalar(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.b.stbf_s(lowering.values[op.operands[0]])


def _from_scalar(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.b.bfts_s(lowering.values[op.operands[0]])


def _mask_bits(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.b.mv_mts(lowering.values[op.operands[0]])


def _insert(lowering: KernelLowering, op: ir.Operation) -> None:
    scalar, row = (lowering.values[value] for value in list(op.operands)[:2])
    lane = lowering.pointers.affine_value(op, COUNTER_OPERANDS[op.name])
    mask = lowering.b.mv_stm(lowering.b.sll_s(lowering.constants.integer(1), lane))
    lowering.values[op.results[0]] = lowering.b.add_vs(lowering.constants.v0, scalar, mask, old=row)


Handler = Callable[["KernelLowering", ir.Operation], None]

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "word_load": _word_load,
        "word_store": _word_store,
        "integer_constant": _constant,
        "integer_index": _index,
        "integer_op": _integer,
        "as_index": _same,
        "scalar_bits": _same,
        "from_bits": _same,
        "to_scalar": _to_scalar,
        "from_scalar": _from_scalar,
        "mask_bits": _mask_bits,
        "insert": _insert,
    }
)
"""Name of an operation -> what lowers it."""
