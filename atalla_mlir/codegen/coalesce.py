"""Copies that need not be: two registers that are never live at the same time become one.

Runs on unscheduled functions, so that neither the scheduler nor the allocator sees the copies that leaving SSA form
produces. Loops come first: a copy removed there is saved in every iteration.
"""

from __future__ import annotations

from atalla_mlir.codegen.machine_ir import M0, M1, X0, Block, Function, Inst, Register
from atalla_mlir.codegen.register_core import RegisterCore

_COPYING = ("addi.s", "sub.vs")


def copy_source(inst: Inst) -> Register | None:
    """What a copy reads: `addi rd, rs, 0` for scalars, `sub.vs vd, vs, x0` under all ones for vectors."""
    mnemonic = inst.op.mnemonic
    if mnemonic not in _COPYING or inst.merges:
        return None
    _, source, other, *masks = inst.operands
    is_copy = other == 0 if mnemonic == "addi.s" else other is X0 and masks[0] in (M0, M1)
    return source if is_copy and isinstance(source, Register) else None


def coalesce(function: Function) -> int:
    """Merges the two sides of copies where that changes nothing; returns the number of copies removed."""
    copies = [
        (block.loop_depth, inst.defs, source)
        for block in function.blocks
        for inst in block.insts
        if (source := copy_source(inst)) is not None
    ]
    if not copies:
        return 0
    ordered = sorted(copies, key=lambda copy: -copy[0])
    blocks, depths = [[(inst,) for inst in block.insts] for block in function.blocks], [0] * len(function.blocks)
    merged = RegisterCore(blocks, depths, function.successors()).merge_copies(
        [(written[0], source) for _, written, source in ordered if written],
        function.spill_area.base if function.spill_area is not None else None,
    )
    return sum(_rewrite(block, merged) for block in function.blocks)


def _rewrite(block: Block, merged: dict[Register, Register]) -> int:
    """Renames registers of a block to their representatives and drops copies of a register to itself."""
    kept: list[Inst] = []
    unmerged = merged.keys().isdisjoint
    for inst in block.insts:
        if not unmerged(inst.operands):
            inst.replace_registers(merged)
        source = copy_source(inst)
        if source is None or source is not inst.operands[0]:
            kept.append(inst)
    removed = len(block.insts) - len(kept)
    block.insts = kept
    return removed
