"""Operations between known values and wanted ones, and copies of them elsewhere."""

from __future__ import annotations

from atalla_mlir._mlir import ir


def upstream(values: list[ir.Value], known: dict[ir.Value, ir.Value]) -> list[ir.Operation]:
    """Operations that compute `values` from the values in `known`, in an order in which they can be cloned."""
    order: list[ir.Operation] = []
    seen: set[ir.Operation] = set()
    stack: list[tuple[ir.Value, bool]] = [(value, False) for value in reversed(values)]
    while stack:
        value, done = stack.pop()
        if value in known or isinstance(value, ir.BlockArgument):
            continue
        op = value.owner.operation
        if done:
            if op not in seen:
                seen.add(op)
                order.append(op)
            continue
        if op in seen:
            continue
        stack.append((value, True))
        stack.extend((operand, False) for operand in reversed(outside_operands(op)))
    return order


def outside_operands(op: ir.Operation) -> list[ir.Value]:
    """Operands of `op` and values that its regions use from outside."""
    found = list(op.operands)
    for region in op.regions:
        for block in region.blocks:
            for nested in block.operations:
                for operand in outside_operands(nested.operation):
                    owner = operand.owner
                    inside = owner == block if isinstance(operand, ir.BlockArgument) else owner.operation.block == block
                    if not inside:
                        found.append(operand)
    return found


def clone_into(op: ir.Operation, mapping: dict[ir.Value, ir.Value]) -> None:
    """Clone `op` at the insertion point with operands (also inside its regions) replaced by `mapping`."""
    copy = op.clone()
    _remap(copy.operation, mapping)
    for old, new in zip(op.results, copy.operation.results, strict=True):
        mapping[old] = new


def _remap(op: ir.Operation, mapping: dict[ir.Value, ir.Value]) -> None:
    for at, operand in enumerate(op.operands):
        if operand in mapping:
            op.operands[at] = mapping[operand]
    for region in op.regions:
        for block in region.blocks:
            for nested in block.operations:
                _remap(nested.operation, mapping)
