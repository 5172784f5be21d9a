"""Operations that show a tensor with its dimensions in another order; whoever reads them folds them into strides."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir._mlir import create_op, i64_array_attr, ir

ORDER = "atalla.order"
"""On an operation: which dimension of the value that it stands for each dimension of its result is."""


def permuted_type(kind: ir.RankedTensorType, permutation: Sequence[int]) -> ir.RankedTensorType:
    """The type of a tensor whose dimension `i` is dimension `permutation[i]` of `kind` (NumPy's meaning)."""
    return ir.RankedTensorType.get([kind.shape[at] for at in permutation], kind.element_type)


def inverted(permutation: Sequence[int]) -> list[int]:
    return sorted(range(len(permutation)), key=lambda at: permutation[at])


def transposed_view(source: ir.Value, permutation: Sequence[int]) -> ir.Value:
    """`source` with its dimensions permuted (NumPy's meaning), at the current insertion point and location."""
    result = permuted_type(ir.RankedTensorType(source.type), permutation)
    empty = create_op("tensor.empty", [result], [], {}).results[0]
    dims = [ir.AffineExpr.get_dim(at) for at in range(result.rank)]
    maps = [
        ir.AffineMap.get(result.rank, 0, [dims[at] for at in inverted(permutation)]),
        ir.AffineMap.get(result.rank, 0, dims),
    ]
    parallel = ir.Attribute.parse("#linalg.iterator_type<parallel>")
    op = create_op(
        "linalg.generic",
        [result],
        [source, empty],
        {
            "indexing_maps": ir.ArrayAttr.get([ir.AffineMapAttr.get(item) for item in maps]),
            "iterator_types": ir.ArrayAttr.get([parallel] * result.rank),
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([1, 1]),
        },
        regions=1,
    )
    element = result.element_type
    body = ir.Block.create_at_start(op.regions[0], [element, element], [op.location] * 2)
    with ir.InsertionPoint(body), op.location:
        create_op("linalg.yield", [], [body.arguments[0]])
    return op.results[0]


def row_major_copy(source: ir.Value) -> ir.Operation:
    """A padding by nothing, which is not folded: a copy of `source` in row-major order."""
    kind = ir.RankedTensorType(source.type)
    zeros = i64_array_attr([0] * kind.rank)
    op = create_op(
        "tensor.pad",
        [kind],
        [source],
        {
            "static_low": zeros,
            "static_high": zeros,
            "nofold": ir.UnitAttr.get(),
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([1, 0, 0]),
        },
        regions=1,
    )
    body = ir.Block.create_at_start(op.regions[0], [ir.IndexType.get()] * kind.rank, [op.location] * kind.rank)
    with ir.InsertionPoint(body), op.location:
        zero = create_op("arith.constant", [kind.element_type], [], {"value": ir.FloatAttr.get(kind.element_type, 0.0)})
        create_op("tensor.yield", [], [zero.results[0]])
    return op
