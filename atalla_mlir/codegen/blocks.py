"""Straight lines: blocks that always run one after the other become one, so that scheduling can mix them."""

from __future__ import annotations

from dataclasses import replace

from atalla_mlir.codegen.machine_ir import Block, Function


def merge_blocks(function: Function) -> Function:
    """The function with every block joined to the one before it where control can come from nowhere else."""
    targets = {inst.target for inst in function.instructions() if inst.target is not None}
    merged: list[Block] = []
    for block in function.blocks:
        if merged and block.label not in targets and _can_extend(function, merged[-1], block):
            merged[-1] = replace(merged[-1], insts=[*merged[-1].insts, *block.insts])
        else:
            merged.append(block)
    return replace(function, blocks=merged)


def _can_extend(function: Function, first: Block, second: Block) -> bool:
    if first.control is not None or first.packets is not None or second.packets is not None:
        return False
    base = function.spill_area.base if function.spill_area is not None else None
    # the write of the spill base must stay at the end of its block
    ends_with_base = bool(first.insts) and base in first.insts[-1].defs
    return first.loop_depth == second.loop_depth and not ends_with_base
