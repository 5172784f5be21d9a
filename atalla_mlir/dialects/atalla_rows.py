"""Operations of the `atalla` dialect on rows, masks and scalars: what lanes, array and scalar unit compute.

An operation with `lanes` computes that many; the others keep what they hold.
"""

from typing import Any

from atalla_mlir._mlir import ext, ir
from atalla_mlir.dialects.atalla import Atalla, MaskType, Operand, Result, RowType, ScalarType
from atalla_mlir.dialects.atalla_checks import check_range, check_word, fail, integer_attribute
from atalla_mlir.target.machine import AX01

PREDICATES = ("gt", "lt", "eq", "ne")
REDUCTIONS = ("add", "max", "min")


class ZeroOp(Atalla.Operation, name="zero"):
    """A row of +0.0 in a register of its own: what an accumulator starts from."""

    row: Result[RowType]


class CopyOp(Atalla.Operation, name="copy"):
    """The same row, bit by bit, in a register of its own."""

    source: Operand[RowType]
    row: Result[RowType]


class ConstantOp(Atalla.Operation, name="constant", traits=[ext.Pure]):
    """A BF16 constant in a scalar register."""

    value: ir.FloatAttr
    scalar: Result[ScalarType]


class BroadcastOp(Atalla.Operation, name="broadcast", traits=[ext.Pure]):
    """A row whose lanes all hold the scalar (a -0.0 becomes +0.0)."""

    scalar: Operand[ScalarType]
    row: Result[RowType]


class ExtractOp(Atalla.Operation, name="extract", traits=[ext.Pure]):
    """The value of one lane of a row."""

    row: Operand[RowType]
    lane: ir.IntegerAttr
    scalar: Result[ScalarType]

    def verify_invariants(op):
        return check_range(op, "lane", 0, AX01.vector_lanes - 1)


def _check_lanes(op: Any) -> bool:
    return check_range(op, "lanes", 1, AX01.vector_lanes)


class AddOp(Atalla.Operation, name="add", traits=[ext.Pure]):
    """bf(lhs + rhs) in lanes 0..lanes-1; other lanes are lhs. rhs is a row or a scalar."""

    lhs: Operand[RowType]
    rhs: Operand[Any]
    lanes: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return _check_lanes(op)


class SubOp(Atalla.Operation, name="sub", traits=[ext.Pure]):
    """bf(lhs - rhs) in lanes 0..lanes-1; other lanes are lhs. rhs is a row or a scalar."""

    lhs: Operand[RowType]
    rhs: Operand[Any]
    lanes: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return _check_lanes(op)


class MulOp(Atalla.Operation, name="mul", traits=[ext.Pure]):
    """bf(lhs * rhs) in lanes 0..lanes-1; other lanes are lhs. rhs is a row or a scalar."""

    lhs: Operand[RowType]
    rhs: Operand[Any]
    lanes: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return _check_lanes(op)


class MaskedAddOp(Atalla.Operation, name="masked_add", traits=[ext.Pure]):
    """bf(lhs + rhs) in the lanes of the mask; other lanes are lhs. rhs is a row or a scalar."""

    mask: Operand[MaskType]
    lhs: Operand[RowType]
    rhs: Operand[Any]
    row: Result[RowType]


class MaskedMulOp(Atalla.Operation, name="masked_mul", traits=[ext.Pure]):
    """bf(lhs * rhs) in the lanes of the mask; other lanes are lhs. rhs is a row or a scalar."""

    mask: Operand[MaskType]
    lhs: Operand[RowType]
    rhs: Operand[Any]
    row: Result[RowType]


class MaskedRsubOp(Atalla.Operation, name="masked_rsub", traits=[ext.Pure]):
    """bf(rhs - lhs) in the lanes of the mask; other lanes are lhs."""

    mask: Operand[MaskType]
    lhs: Operand[RowType]
    rhs: Operand[RowType]
    row: Result[RowType]


class ExpOp(Atalla.Operation, name="exp", traits=[ext.Pure]):
    """bf(e^x) in every lane."""

    source: Operand[RowType]
    row: Result[RowType]


class CompareOp(Atalla.Operation, name="compare", traits=[ext.Pure]):
    """Bit i of the mask is `lhs[i] predicate rhs[i]`; IEEE, so any NaN gives 0, except for `ne`. rhs: row or scalar."""

    lhs: Operand[RowType]
    rhs: Operand[Any]
    predicate: ir.StringAttr
    mask: Result[MaskType]

    def verify_invariants(op):
        return check_word(op, "predicate", PREDICATES)


class SelectOp(Atalla.Operation, name="select", traits=[ext.Pure]):
    """Lane i is on_true[i] where the mask is set, else on_false[i]. on_true is a row or a scalar."""

    mask: Operand[MaskType]
    on_true: Operand[Any]
    on_false: Operand[RowType]
    row: Result[RowType]


class LaneMaskOp(Atalla.Operation, name="lane_mask", traits=[ext.Pure]):
    """The mask of lanes first..last."""

    first: ir.IntegerAttr
    last: ir.IntegerAttr
    mask: Result[MaskType]

    def verify_invariants(op):
        first, last = integer_attribute(op, "first"), integer_attribute(op, "last")
        if first is not None and last is not None and first > last:
            return fail(op, f"first lane {first} comes after last lane {last}")
        return check_range(op, "first", 0, AX01.vector_lanes - 1) and check_range(op, "last", 0, AX01.vector_lanes - 1)


class LanesOfOp(Atalla.Operation, name="lanes_of", traits=[ext.Pure]):
    """The mask whose lane i is bit i of an index."""

    bits: Operand[ir.IndexType]
    mask: Result[MaskType]


class ReduceOp(Atalla.Operation, name="reduce", traits=[ext.Pure]):
    """Fold lanes 0..lanes-1 of a row; every lane of the result holds it. `kind` is add, max or min."""

    source: Operand[RowType]
    kind: ir.StringAttr
    lanes: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return check_word(op, "kind", REDUCTIONS) and _check_lanes(op)


class ScalarAddOp(Atalla.Operation, name="scalar_add", traits=[ext.Pure]):
    """bf(lhs + rhs) in the scalar unit."""

    lhs: Operand[ScalarType]
    rhs: Operand[ScalarType]
    scalar: Result[ScalarType]


class ScalarSubOp(Atalla.Operation, name="scalar_sub", traits=[ext.Pure]):
    """bf(lhs - rhs) in the scalar unit."""

    lhs: Operand[ScalarType]
    rhs: Operand[ScalarType]
    scalar: Result[ScalarType]


class ScalarMulOp(Atalla.Operation, name="scalar_mul", traits=[ext.Pure]):
    """bf(lhs * rhs) in the scalar unit."""

    lhs: Operand[ScalarType]
    rhs: Operand[ScalarType]
    scalar: Result[ScalarType]


class ReciprocalOp(Atalla.Operation, name="reciprocal", traits=[ext.Pure]):
    """bf(1 / x) in the scalar unit."""

    source: Operand[ScalarType]
    scalar: Result[ScalarType]


class SqrtOp(Atalla.Operation, name="sqrt", traits=[ext.Pure]):
    """bf(sqrt(x)) in the scalar unit."""

    source: Operand[ScalarType]
    scalar: Result[ScalarType]


class PushOp(Atalla.Operation, name="push"):
    """Shift a row into the array as weight column 0: push the vector of the last output lane first."""

    row: Operand[RowType]


class GemmOp(Atalla.Operation, name="gemm"):
    """Lane j of the result is the dot product of the row with weight column j (machine reference 2.9)."""

    source: Operand[RowType]
    row: Result[RowType]


class TransposePushOp(Atalla.Operation, name="transpose_push"):
    """Push a row into the transpose unit; 32 pushes fill it."""

    row: Operand[RowType]


class TransposePopOp(Atalla.Operation, name="transpose_pop"):
    """The next column of the 32 rows that were pushed; all 32 columns must be popped."""

    row: Result[RowType]
