"""Operations that show a tensor with its dimensions in another order; whoever reads them folds them into strides."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir._mlir import create_op, i64_array_attr, indexing_forms, ir

PERMUTATION = "atalla.permutation"
"""On an argument or result of a function: it holds the named value transposed so (NumPy's meaning)."""
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


def transposition(op: ir.Operation) -> list[int] | None:
    """The permutation by which a `linalg.generic` shows its operand transposed (NumPy's meaning); else None."""
    block = op.regions[0].blocks[0]
    if len(op.operands) != 2 or len(block.operations) != 1 or block.operations[0].operands[0] != block.arguments[0]:
        return None
    source, target = ([form.single_dim for form in forms or ()] for forms in indexing_forms(op))
    if None in source or None in target or len(source) != len(target) or set(source) != set(target):
        return None
    return [source.index(dim) for dim in target]


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


def argument_attributes(function: ir.Operation, argument: ir.BlockArgument) -> ir.DictAttr:
    """The attributes of an argument of a function; empty where it has none."""
    if "arg_attrs" not in function.attributes:
        return ir.DictAttr.get({})
    return ir.DictAttr(ir.ArrayAttr(function.attributes["arg_attrs"])[argument.arg_number])


def store_argument_permuted(function: ir.Operation, argument: ir.BlockArgument, permutation: Sequence[int]) -> None:
    """Give an argument the transposed type, say so in its attributes, and show its readers a transposition back."""
    packed = permuted_type(ir.RankedTensorType(argument.type), permutation)
    uses = list(argument.uses)
    argument.set_type(packed)
    block = function.regions[0].blocks[0]
    with ir.InsertionPoint.at_block_begin(block), function.location:
        back = transposed_view(argument, inverted(permutation))
    for use in uses:
        use.owner.operands[use.operand_number] = back
    _note_permuted(function, "arg_attrs", argument.arg_number, packed, permutation)


def return_permuted(function: ir.Operation, at: int, value: ir.Value, permutation: Sequence[int]) -> None:
    """Let a function return `value`, which is its result `at` transposed, and say so in the result's attributes."""
    block = function.regions[0].blocks[0]
    block.operations[len(block.operations) - 1].operation.operands[at] = value
    _note_permuted(function, "res_attrs", at, value.type, permutation)


def _note_permuted(function: ir.Operation, key: str, at: int, kind: ir.Type, permutation: Sequence[int]) -> None:
    signature = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value)
    types = {"arg_attrs": list(signature.inputs), "res_attrs": list(signature.results)}
    types[key][at] = kind
    new = ir.FunctionType.get(types["arg_attrs"], types["res_attrs"])
    function.attributes["function_type"] = ir.TypeAttr.get(new)
    if key in function.attributes:
        attributes = list(ir.ArrayAttr(function.attributes[key]))
    else:
        attributes = [ir.DictAttr.get({}) for _ in types[key]]
    own = {item.name: item.attr for item in ir.DictAttr(attributes[at])}
    own[PERMUTATION] = i64_array_attr(permutation)
    attributes[at] = ir.DictAttr.get(own)
    function.attributes[key] = ir.ArrayAttr.get(attributes)
