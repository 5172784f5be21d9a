"""`atalla-pack-constants`: parameters that products read are stored in the order in which the array reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atalla_mlir._mlir import AffineForm, create_op, i64_array_attr, indexing_forms, ir, operations, string_value
from atalla_mlir.passes.base import Pass

PERMUTATION = "atalla.permutation"
"""Argument attribute: the argument holds the named parameter transposed by this permutation (NumPy's meaning)."""
CONSTANT_KINDS = ("parameter", "constant")


@dataclass(frozen=True)
class PackConstantsPass(Pass):
    """Transpose parameters at compile time so that the depth of each product that reads them is contiguous

    The argument gets the transposed type and the attribute `atalla.permutation`; a transposition back, which later
    passes fold into strides, keeps the meaning of its other readers.
    """

    name: ClassVar[str] = "atalla-pack-constants"
    anchor: ClassVar[str] = "func.func"

    def run(self, op: ir.Operation) -> None:
        if not op.regions[0].blocks:
            return
        wanted: dict[ir.Value, int] = {}
        for generic in operations(op, "linalg.generic"):
            _collect(generic, wanted)
        block = op.regions[0].blocks[0]
        for argument in list(block.arguments):
            dim = wanted.get(argument)
            if dim is not None and _kind(op, argument) in CONSTANT_KINDS:
                _transpose(op, argument, dim)


def _kind(function: ir.Operation, argument: ir.BlockArgument) -> str:
    if "arg_attrs" not in function.attributes:
        return ""
    attributes = ir.DictAttr(ir.ArrayAttr(function.attributes["arg_attrs"])[argument.arg_number])
    if PERMUTATION in attributes or "atalla.kind" not in attributes:
        return ""
    return string_value(attributes["atalla.kind"])


def _collect(generic: ir.Operation, wanted: dict[ir.Value, int]) -> None:
    """Note arguments whose last dim is not the one that the product reduces, with the dim that is."""
    kinds = ["reduction" in str(kind) for kind in ir.ArrayAttr(generic.attributes["iterator_types"])]
    if not any(kinds) or len(generic.operands) != 3:
        return
    for value, forms in zip(list(generic.operands)[:2], indexing_forms(generic), strict=False):
        source, dims = _through_transposes(value, forms or ())
        if not isinstance(source, ir.BlockArgument) or not dims:
            continue
        reduced = [at for at, dim in enumerate(dims) if dim is not None and kinds[dim]]
        last = dims[-1]
        if reduced and (last is None or not kinds[last]):
            wanted[source] = reduced[-1]


def _through_transposes(value: ir.Value, forms: tuple[AffineForm, ...]) -> tuple[ir.Value, list[int | None]]:
    """The tensor behind pure transpositions of `value`, and the loop that indexes each of its dims."""
    dims: list[int | None] = [form.single_dim for form in forms]
    while isinstance(value, ir.OpResult):
        owner = value.owner.operation
        if owner.name != "linalg.generic" or len(owner.operands) != 2:
            break
        block = owner.regions[0].blocks[0]
        if len(block.operations) != 1 or block.operations[0].operands[0] != block.arguments[0]:
            break
        source, target = (tuple(form.single_dim for form in forms or ()) for forms in indexing_forms(owner))
        if None in source or None in target or sorted(source) != sorted(target):  # pyright: ignore[reportArgumentType]
            break
        dims = [dims[target.index(dim)] for dim in source]
        value = owner.operands[0]
    return value, dims


def _transpose(function: ir.Operation, argument: ir.BlockArgument, dim: int) -> None:
    kind = ir.RankedTensorType(argument.type)
    rank = kind.rank
    permutation = [*(at for at in range(rank) if at != dim), dim]
    packed = ir.RankedTensorType.get([kind.shape[at] for at in permutation], kind.element_type)
    uses = list(argument.uses)
    argument.set_type(packed)
    block = function.regions[0].blocks[0]
    with ir.InsertionPoint.at_block_begin(block), function.location:
        back = _transposed_view(argument, kind, permutation)
    for use in uses:
        use.owner.operands[use.operand_number] = back
    _update_signature(function, argument.arg_number, packed, permutation)


def _transposed_view(source: ir.Value, result: ir.RankedTensorType, permutation: list[int]) -> ir.Value:
    empty = create_op("tensor.empty", [result], [], {}).results[0]
    dims = [ir.AffineExpr.get_dim(at) for at in range(result.rank)]
    maps = [
        ir.AffineMap.get(result.rank, 0, [dims[at] for at in permutation]),
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


def _update_signature(function: ir.Operation, at: int, kind: ir.Type, permutation: list[int]) -> None:
    signature = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value)
    inputs = list(signature.inputs)
    inputs[at] = kind
    function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, signature.results))
    attributes = list(ir.ArrayAttr(function.attributes["arg_attrs"]))
    own = {item.name: item.attr for item in ir.DictAttr(attributes[at])}
    own[PERMUTATION] = i64_array_attr(permutation)
    attributes[at] = ir.DictAttr.get(own)
    function.attributes["arg_attrs"] = ir.ArrayAttr.get(attributes)
