"""The operations of a kernel, looked at once: each look at one through the bindings takes as long as to lower it."""

from __future__ import annotations

from dataclasses import dataclass, field

from atalla_mlir._mlir import ir

LOOP, LOOP_END = "scf.for", "scf.yield"


@dataclass(eq=False)
class Body:
    """A block and its operations, each with its name, loops with their bodies."""

    block: ir.Block
    ops: list[tuple[ir.Operation, str, Body | None]] = field(
        default_factory=list["tuple[ir.Operation, str, Body | None]"]
    )

    @property
    def loops(self) -> list[Body]:
        """The bodies of the loops directly inside."""
        return [body for _, _, body in self.ops if body is not None]

    def named(self, name: str) -> list[ir.Operation]:
        """The operations of that name here and in all loops inside, in program order."""
        found: list[ir.Operation] = []
        for op, own, body in self.ops:
            if own == name:
                found.append(op)
            if body is not None:
                found += body.named(name)
        return found


def read_body(kernel: ir.Operation) -> Body:
    """The only block of a kernel, with its loops."""
    open_bodies = [Body(kernel.regions[0].blocks[0])]

    def visit(op: ir.Operation) -> ir.WalkResult:
        name = op.name
        if op == kernel:
            return ir.WalkResult.ADVANCE
        loop = Body(op.regions[0].blocks[0]) if name == LOOP else None
        open_bodies[-1].ops.append((op, name, loop))
        if loop is not None:
            open_bodies.append(loop)
        elif name == LOOP_END and op.parent.name == LOOP:
            open_bodies.pop()
        return ir.WalkResult.ADVANCE

    kernel.walk(visit, ir.WalkOrder.PRE_ORDER)
    return open_bodies[0]
