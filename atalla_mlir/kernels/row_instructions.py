"""Operations of `atalla` on rows, masks and scalars to `ax01` instructions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from atalla_mlir._mlir import integer_value, ir, string_value
from atalla_mlir.kernels.attributes import EXPONENTIAL, FIRST_LANE, IN_TURN, MULTIPLIES, OVERLAP
from atalla_mlir.kernels.integer_instructions import Handler
from atalla_mlir.kernels.kernel_constants import float_bits
from atalla_mlir.target.registers import RegisterFile

if TYPE_CHECKING:
    from atalla_mlir.kernels.instructions import KernelLowering

BROADCAST = 0x40
_REDUCTIONS = {"add": "rsum_vi", "max": "rmax_vi", "min": "rmin_vi"}
_COMPARISONS = {"gt": "mgt", "lt": "mlt", "eq": "meq", "ne": "mneq"}


def _constant(lowering: KernelLowering, op: ir.Operation) -> None:
    value = ir.FloatAttr(op.attributes["value"]).value
    lowering.values[op.results[0]] = lowering.constants.integer(float_bits(value))


def _broadcast(lowering: KernelLowering, op: ir.Operation) -> None:
    constants, scalar = lowering.constants, lowering.values[op.operands[0]]
    is_zero = scalar == constants.x0
    lowering.values[op.results[0]] = constants.v0 if is_zero else lowering.b.add_vs(constants.v0, scalar, constants.m0)


def _zero(lowering: KernelLowering, op: ir.Operation) -> None:
    """In turn on the multiplier and on the adder, each of which takes two cycles, or on the exponential unit only."""
    constants = lowering.constants
    if EXPONENTIAL in op.attributes:
        lowering.values[op.results[0]] = lowering.b.expi_vi(constants.vanishing_row(), 0, constants.m1)
        return
    lowering.rows_made += 1
    row, scalar = constants.zero_row(), constants.zero()
    if lowering.rows_made % 2:
        lowering.values[op.results[0]] = lowering.b.add_vs(row, scalar, constants.m0)
    else:
        lowering.values[op.results[0]] = lowering.b.mul_vs(row, scalar, constants.m1)


def _copy(lowering: KernelLowering, op: ir.Operation) -> None:
    """In turn on the multiplier and on the adder, or on the multiplier only; both are exact, of -0 too."""
    constants, row = lowering.constants, lowering.values[op.operands[0]]
    multiplies = MULTIPLIES in op.attributes
    lowering.rows_made += not multiplies
    if lowering.rows_made % 2 and not multiplies:
        lowering.values[op.results[0]] = lowering.b.sub_vs(row, constants.zero(), constants.m0)
    else:
        lowering.values[op.results[0]] = lowering.b.mul_vs(row, constants.integer(float_bits(1.0)), constants.m1)


def _extract(lowering: KernelLowering, op: ir.Operation) -> None:
    lane = integer_value(op.attributes["lane"])
    lowering.values[op.results[0]] = lowering.b.vmov_vts(lowering.values[op.operands[0]], lane)


def _is_scalar(lowering: KernelLowering, value: ir.Value) -> bool:
    return value == lowering.constants.x0 or value.type == lowering.b.types[RegisterFile.SCALAR]


def _arithmetic(lowering: KernelLowering, op: ir.Operation, name: str, mask: ir.Value) -> None:
    left, right = (lowering.values[value] for value in op.operands)
    if left == right and name == "mul":
        # one bank cannot serve two reads at once; the adder has room beside a square
        right = lowering.b.sub_vv(left, lowering.constants.zero_row(), lowering.constants.m0)
    lanes = integer_value(op.attributes["lanes"])
    suffix = "vs" if _is_scalar(lowering, right) else "vv"
    if lanes == lowering.machine.vector_lanes:
        row = lowering.b.build(f"{name}_{suffix}", left, right, mask)
    else:
        row = lowering.b.build(f"{name}_{suffix}", left, right, lowering.constants.low_lanes(lanes), old=left)
    lowering.values[op.results[0]] = row


def _add(lowering: KernelLowering, op: ir.Operation) -> None:
    _arithmetic(lowering, op, "add", lowering.constants.m0)


def _sub(lowering: KernelLowering, op: ir.Operation) -> None:
    _arithmetic(lowering, op, "sub", lowering.constants.m0)


def _mul(lowering: KernelLowering, op: ir.Operation) -> None:
    _arithmetic(lowering, op, "mul", lowering.constants.m1)


def _masked(lowering: KernelLowering, op: ir.Operation, name: str) -> None:
    mask, left, right = (lowering.values[value] for value in op.operands)
    suffix = "vs" if _is_scalar(lowering, right) else "vv"
    lowering.values[op.results[0]] = lowering.b.build(f"{name}_{suffix}", left, right, mask, old=left)


def _masked_add(lowering: KernelLowering, op: ir.Operation) -> None:
    _masked(lowering, op, "add")


def _masked_mul(lowering: KernelLowering, op: ir.Operation) -> None:
    _masked(lowering, op, "mul")


def _masked_rsub(lowering: KernelLowering, op: ir.Operation) -> None:
    mask, left, right = (lowering.values[value] for value in op.operands)
    lowering.values[op.results[0]] = lowering.b.sub_vv(right, left, mask, old=left)


def _exp(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.b.expi_vi(lowering.values[op.operands[0]], 0, lowering.constants.m1)


def _compare(lowering: KernelLowering, op: ir.Operation) -> None:
    left, right = (lowering.values[value] for value in op.operands)
    if right == lowering.constants.x0:
        right = lowering.constants.zero()
    name = _COMPARISONS[string_value(op.attributes["predicate"])]
    suffix = "mvs" if _is_scalar(lowering, right) else "mvv"
    lowering.values[op.results[0]] = lowering.b.build(f"{name}_{suffix}", left, right, lowering.constants.m0)


def _select(lowering: KernelLowering, op: ir.Operation) -> None:
    """A masked copy over the false value: by 1.0 on the multiplier, which leaves the ALU to the comparison."""
    mask, on_true, on_false = (lowering.values[value] for value in op.operands)
    if IN_TURN in op.attributes:
        row = _merged(lowering, mask, on_true, on_false)
    elif on_true == lowering.constants.x0:
        row = lowering.b.mul_vs(lowering.constants.zero_row(), lowering.constants.zero(), mask, old=on_false)
    elif _is_scalar(lowering, on_true):
        if OVERLAP in op.parent.attributes:
            row = lowering.b.mul_vs(lowering.constants.ones(), on_true, mask, old=on_false)
        else:
            row = lowering.b.add_vs(lowering.constants.v0, on_true, mask, old=on_false)
    elif OVERLAP in op.parent.attributes:
        row = lowering.b.mul_vv(on_true, lowering.constants.ones(), mask, old=on_false)
    else:
        row = lowering.b.mul_vs(on_true, lowering.constants.integer(float_bits(1.0)), mask, old=on_false)
    lowering.values[op.results[0]] = row


def _merged(lowering: KernelLowering, mask: ir.Value, row: ir.Value, others: ir.Value) -> ir.Value:
    """As copies of whole rows (`_copy`), over what the other lanes hold."""
    lowering.rows_made += 1
    if lowering.rows_made % 2:
        return lowering.b.sub_vs(row, lowering.constants.zero(), mask, old=others)
    return lowering.b.mul_vv(row, lowering.constants.ones(), mask, old=others)


def _lanes_of(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.b.mv_stm(lowering.index(op.operands[0]))


def _lane_mask(lowering: KernelLowering, op: ir.Operation) -> None:
    first, last = (integer_value(op.attributes[key]) for key in ("first", "last"))
    lowering.values[op.results[0]] = lowering.constants.lane_mask(((1 << (last + 1)) - 1) & ~((1 << first) - 1))


def _reduce(lowering: KernelLowering, op: ir.Operation) -> None:
    name = _REDUCTIONS[string_value(op.attributes["kind"])]
    lanes = integer_value(op.attributes["lanes"])
    first = integer_value(op.attributes[FIRST_LANE]) if FIRST_LANE in op.attributes else 0
    mask = lowering.constants.lane_mask(((1 << lanes) - 1) << first)
    lowering.values[op.results[0]] = lowering.b.build(name, lowering.values[op.operands[0]], BROADCAST, mask)


def _scalar(lowering: KernelLowering, op: ir.Operation, name: str) -> None:
    lowering.values[op.results[0]] = lowering.b.build(name, *(lowering.values[value] for value in op.operands))


def _scalar_add(lowering: KernelLowering, op: ir.Operation) -> None:
    _scalar(lowering, op, "add_bf")


def _scalar_sub(lowering: KernelLowering, op: ir.Operation) -> None:
    _scalar(lowering, op, "sub_bf")


def _scalar_mul(lowering: KernelLowering, op: ir.Operation) -> None:
    _scalar(lowering, op, "mul_bf")


def _reciprocal(lowering: KernelLowering, op: ir.Operation) -> None:
    _scalar(lowering, op, "rcp_bf")


def _sqrt(lowering: KernelLowering, op: ir.Operation) -> None:
    _scalar(lowering, op, "sqrt_bf")


def _push(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.b.lw_vi(lowering.values[op.operands[0]], 0, lowering.constants.m1)


def _gemm(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.b.gemm_vv(lowering.values[op.operands[0]])


def _transpose_push(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.b.tpus_vi(lowering.values[op.operands[0]])


def _transpose_pop(lowering: KernelLowering, op: ir.Operation) -> None:
    lowering.values[op.results[0]] = lowering.b.tpop_vi()


HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "constant": _constant,
        "broadcast": _broadcast,
        "zero": _zero,
        "copy": _copy,
        "extract": _extract,
        "add": _add,
        "sub": _sub,
        "mul": _mul,
        "masked_add": _masked_add,
        "masked_mul": _masked_mul,
        "masked_rsub": _masked_rsub,
        "exp": _exp,
        "compare": _compare,
        "select": _select,
        "lanes_of": _lanes_of,
        "lane_mask": _lane_mask,
        "reduce": _reduce,
        "scalar_add": _scalar_add,
        "scalar_sub": _scalar_sub,
        "scalar_mul": _scalar_mul,
        "reciprocal": _reciprocal,
        "sqrt": _sqrt,
        "push": _push,
        "gemm": _gemm,
        "transpose_push": _transpose_push,
        "transpose_pop": _transpose_pop,
    }
)
"""Name of an operation -> what lowers it."""
