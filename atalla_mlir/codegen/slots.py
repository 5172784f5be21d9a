"""The order of instructions inside a packet."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir.codegen.machine_ir import Inst
from atalla_mlir.errors import InternalError


def slot_order(insts: Sequence[Inst]) -> tuple[Inst, ...]:
    """The instructions of a packet in slots: readers of a register precede its writer, so that all readings agree.

    What only reads comes first, which frees registers for the results of the others; control comes last.
    """
    if len(insts) == 1:
        return (insts[0],)
    left = sorted(insts, key=lambda inst: (inst.op.is_control, len(inst.defs) - len(inst.uses)))
    written = {register for inst in left for register in inst.defs}
    if all(written.isdisjoint(inst.uses) for inst in left):
        return tuple(left)
    order: list[Inst] = []
    while left:
        ready = next((inst for inst in left if not _must_wait(inst, left)), None)
        if ready is None:
            raise InternalError(f"packet has no order of slots: {'; '.join(map(str, insts))}")
        left.remove(ready)
        order.append(ready)
    return tuple(order)


def _must_wait(inst: Inst, others: Sequence[Inst]) -> bool:
    """Whether another instruction still has to read what `inst` writes."""
    defs = inst.defs
    return any(register in other.uses for register in defs for other in others if other is not inst)
