"""Values that are read with a frame around them and without: they are stored once, with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atalla_mlir._mlir import create_op, i64_array_attr, indexing_forms, ir
from atalla_mlir.passes.cloning import outside_operands


def read_interiors(block: ir.Block) -> None:
    """Let what reads a value after it was padded read the padded one: the value need not be stored a second time.

    Where a product reads the padded one it is padded at once.
    """
    positions = _positions(block)
    for pad in [op for op in positions if op.name == "tensor.pad"]:
        source, low, high = _frame_of(pad)
        if not isinstance(source, ir.OpResult) or min(*low, *high) < 0:
            continue
        if any(_is_contracted(use) for use in pad.results[0].uses):
            _move_up(pad, positions)
            positions = _positions(block)
        later = [use for use in source.uses if _reads_later(user_of(use), positions, positions[pad])]
        if not later:
            continue
        with ir.InsertionPoint(block.operations[positions[pad] + 1]), pad.location:
            interior = _slice(pad.results[0], ir.RankedTensorType(source.type), low)
        for use in later:
            user_of(use).operands[use.operand_number] = interior
        positions = _positions(block)


def _move_up(pad: ir.Operation, positions: Mapping[ir.Operation, int]) -> None:
    """Behind the last operation that computes anything for it; constants come before all others."""
    needed = [value.owner.operation for value in outside_operands(pad) if isinstance(value, ir.OpResult)]
    computed = [op for op in needed if op.operands]
    if not computed:
        return
    first = next(iter(positions))
    for constant in needed:
        if constant not in computed and constant != first:
            constant.move_before(first)
    pad.move_after(max(computed, key=positions.__getitem__))


def user_of(use: ir.OpOperand) -> ir.Operation:
    return use.owner.operation if hasattr(use.owner, "operation") else use.owner


def _positions(block: ir.Block) -> dict[ir.Operation, int]:
    return {view.operation: at for at, view in enumerate(block.operations)}


def _is_contracted(use: ir.OpOperand) -> bool:
    """Whether its user sums over a dimension that no window slides along: it is a product."""
    user = user_of(use)
    if user.name != "linalg.generic":
        return False
    *_, result = forms = indexing_forms(user)
    own = forms[use.operand_number]
    kept = {dim for form in result or () for dim in form.dims}
    return any(len(form.dims) == 1 and not kept & set(form.dims) for form in own or ())


def _frame_of(pad: ir.Operation) -> tuple[ir.Value, list[int], list[int]]:
    low, high = (list(ir.DenseI64ArrayAttr(pad.attributes[name])) for name in ("static_low", "static_high"))
    return pad.operands[0], low, high


def _reads_later(op: ir.Operation, positions: Mapping[ir.Operation, int], start: int) -> bool:
    return op.name not in ("tensor.pad", "func.return") and positions.get(op, -1) > start


def _slice(source: ir.Value, kind: ir.RankedTensorType, offsets: Sequence[int]) -> ir.Value:
    attributes = {
        "static_offsets": i64_array_attr(offsets),
        "static_sizes": i64_array_attr(list(kind.shape)),
        "static_strides": i64_array_attr([1] * kind.rank),
        "operandSegmentSizes": ir.DenseI32ArrayAttr.get([1, 0, 0, 0]),
    }
    return create_op("tensor.extract_slice", [kind], [source], attributes).results[0]
