"""Operations of the `atalla` dialect on whole numbers of 32 bits, which the scalar units compute one at a time.

Integer tensors are read and written by scalar loads and stores only, never by DMA: the data cache and the transfers do
not see each other's data before the program ends.
"""

from collections.abc import Sequence

from atalla_mlir._mlir import ext, ir
from atalla_mlir.dialects.atalla import (
    Atalla,
    DramType,
    IntegerType,
    MaskType,
    Operand,
    Result,
    RowType,
    ScalarType,
)
from atalla_mlir.dialects.atalla_checks import check_map, check_word

KINDS = ("add", "sub", "mul", "div", "rem", "and", "or", "xor", "shl", "shr", "lt", "ltu")
"""`shr` keeps the sign; `lt` and `ltu` (unsigned) give 1 or 0."""


class WordLoadOp(Atalla.Operation, name="word_load"):
    """The integer that is element `map(indices)` of a buffer."""

    buffer: Operand[DramType]
    indices: Sequence[Operand[ir.IndexType]]
    map: ir.AffineMapAttr
    integer: Result[IntegerType]

    def verify_invariants(op):
        return check_map(op, "map", len(op.operands) - 1, 1)


class WordStoreOp(Atalla.Operation, name="word_store"):
    """Write an integer to element `map(indices)` of a buffer."""

    integer: Operand[IntegerType]
    buffer: Operand[DramType]
    indices: Sequence[Operand[ir.IndexType]]
    map: ir.AffineMapAttr

    def verify_invariants(op):
        return check_map(op, "map", len(op.operands) - 2, 1)


class IntegerConstantOp(Atalla.Operation, name="integer_constant", traits=[ext.Pure]):
    """A number."""

    value: ir.IntegerAttr
    integer: Result[IntegerType]


class IntegerIndexOp(Atalla.Operation, name="integer_index", traits=[ext.Pure]):
    """`map(indices)` as a number."""

    indices: Sequence[Operand[ir.IndexType]]
    map: ir.AffineMapAttr
    integer: Result[IntegerType]

    def verify_invariants(op):
        return check_map(op, "map", len(op.operands), 1)


class IntegerOp(Atalla.Operation, name="integer_op", traits=[ext.Pure]):
    """lhs `kind` rhs modulo 2^32."""

    lhs: Operand[IntegerType]
    rhs: Operand[IntegerType]
    kind: ir.StringAttr
    integer: Result[IntegerType]

    def verify_invariants(op):
        return check_word(op, "kind", KINDS)


class AsIndexOp(Atalla.Operation, name="as_index", traits=[ext.Pure]):
    """A number as an index of an access."""

    integer: Operand[IntegerType]
    index: Result[ir.IndexType]


class ToScalarOp(Atalla.Operation, name="to_scalar", traits=[ext.Pure]):
    """bf(integer)."""

    integer: Operand[IntegerType]
    scalar: Result[ScalarType]


class FromScalarOp(Atalla.Operation, name="from_scalar", traits=[ext.Pure]):
    """The scalar rounded toward zero, saturating."""

    scalar: Operand[ScalarType]
    integer: Result[IntegerType]


class ScalarBitsOp(Atalla.Operation, name="scalar_bits", traits=[ext.Pure]):
    """The register that holds a BF16 scalar as a number: its 16 bits times 2^16."""

    scalar: Operand[ScalarType]
    integer: Result[IntegerType]


class FromBitsOp(Atalla.Operation, name="from_bits", traits=[ext.Pure]):
    """The scalar whose `scalar_bits` are a number."""

    integer: Operand[IntegerType]
    scalar: Result[ScalarType]


class MaskBitsOp(Atalla.Operation, name="mask_bits", traits=[ext.Pure]):
    """A mask as a number: bit i is lane i."""

    mask: Operand[MaskType]
    integer: Result[IntegerType]


class InsertOp(Atalla.Operation, name="insert", traits=[ext.Pure]):
    """A row with the scalar (a -0.0 becomes +0.0) in lane `map(indices)`."""

    scalar: Operand[ScalarType]
    row: Operand[RowType]
    indices: Sequence[Operand[ir.IndexType]]
    map: ir.AffineMapAttr
    result: Result[RowType]

    def verify_invariants(op):
        return check_map(op, "map", len(op.operands) - 2, 1)
