"""Registers of their own for values that a block computes and uses up.

The code that fills and drains a pipeline writes the registers of its kernel, in another order than the kernel does. As
long as a value there shares the register of the same value in the kernel, both must fit into one number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from atalla_mlir.codegen.liveness import BlockLiveness, block_liveness
from atalla_mlir.codegen.machine_ir import Block, Function, Inst, Register


def name_local_values(function: Function, banks: dict[Register, int]) -> Function:
    """The function with such values renamed, except in blocks with packets; adds the banks of new registers."""
    liveness = block_liveness([[(inst,) for inst in block.insts] for block in function.blocks], function.successors())
    writes = Counter(register for inst in function.instructions() for register in inst.defs)
    several = {register for register, count in writes.items() if count > 1 and register.pinned is None}
    if function.spill_area is not None:
        several.discard(function.spill_area.base)
    next_index = max((register.index for register in function.registers()), default=0) + 1
    blocks: list[Block] = []
    for block, sets in zip(function.blocks, liveness, strict=True):
        if block.packets is not None:
            blocks.append(block)
            continue
        local = _local_writes(block, sets, several)
        renamed = {key: Register(key[1].file, next_index + at) for at, key in enumerate(local)}
        next_index += len(renamed)
        banks.update({new: banks[old] for (_, old), new in renamed.items() if old in banks})
        blocks.append(replace(block, insts=_renamed(block, renamed)) if renamed else block)
    return replace(function, blocks=blocks)


def _local_writes(block: Block, liveness: BlockLiveness, several: set[Register]) -> list[tuple[int, Register]]:
    """Instructions and the registers that they write with a value nobody needs after the block."""
    leaving = {register for register in several if register in liveness.live_out}
    found: list[tuple[int, Register]] = []
    for at in range(len(block.insts) - 1, -1, -1):
        inst = block.insts[at]
        for register in inst.defs:
            if register not in several or register in _kept(inst):
                continue
            if register not in leaving:
                found.append((at, register))
            leaving.discard(register)
    return found


def _kept(inst: Inst) -> frozenset[Register]:
    """Registers that an instruction changes in part: their value before and after share a number."""
    changed = {
        value
        for value, item in zip(inst.operands, inst.op.operands, strict=True)
        if isinstance(value, Register) and item.is_written and (item.takes_port or inst.merges)
    }
    return frozenset(changed)


def _renamed(block: Block, renamed: Mapping[tuple[int, Register], Register]) -> list[Inst]:
    names: dict[Register, Register] = {}
    insts: list[Inst] = []
    for at, inst in enumerate(block.insts):
        before = dict(names)
        kept = _kept(inst)
        for register in inst.defs:
            if register not in kept:
                names.pop(register, None)
                if (at, register) in renamed:
                    names[register] = renamed[at, register]
        operands = tuple(
            (names if item.is_written else before).get(value, value) if isinstance(value, Register) else value
            for value, item in zip(inst.operands, inst.op.operands, strict=True)
        )
        insts.append(inst if operands == inst.operands else replace(inst, operands=operands))
    return insts
