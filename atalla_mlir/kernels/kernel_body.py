"""The operations of a kernel, looked at once: each look at one through the bindings takes as long as to lower it."""

from __future__ import annotations

from dataclasses import dataclass, field

from atalla_mlir._mlir import ir

LOOP, LOOP_END = "scf.for", "scf.yield"


@dataclass(eq=False)
class Body:
    """A block: its operations with their names, and the bodies of the loops among them."""

    block: ir.Block
    ops: list[tuple[ir.Operation, str]] = field(default_factory=list[tuple[ir.Operation, str]])
    loops: dict[ir.Operation, Body] = field(default_factory=dict[ir.Operation, "Body"])

    def named(self, name: str) -> list[ir.Operation]:
        """The operations of that name here and in all loops inside, in program order."""
        found: list[ir.Operation] = []
        for op, own in self.ops:
            if own == name:
                found.append(op)
            if own == LOOP:
                found += self.loops[op].named(name)
        return found


def read_body(kernel: ir.Operation) -> Body:
    """The only block of a kernel, with its loops."""
    open_bodies = [Body(kernel.regions[0].blocks[0])]

    def visit(op: ir.Operation) -> ir.WalkResult:
        name = op.name
        if op == kernel:
            return ir.WalkResult.ADVANCE
        body = open_bodies[-1]
        body.ops.append((op, name))
        if name == LOOP:
            body.loops[op] = Body(op.regions[0].blocks[0])
            open_bodies.append(body.loops[op])
        elif name == LOOP_END and op.parent.name == LOOP:
            open_bodies.pop()
        return ir.WalkResult.ADVANCE

    kernel.walk(visit, ir.WalkOrder.PRE_ORDER)
    return open_bodies[0]
