"""Constants move to where they are needed first: masks, of which there are few, and scalars where there are many.

A register that is set at the top of a function is taken in all loops before the one that reads it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from atalla_mlir.codegen.machine_ir import Block, Function, Inst, Register
from atalla_mlir.target.registers import RegisterFile

CROWDED = {RegisterFile.MASK: 4, RegisterFile.SCALAR: 96}
"""Constants of a file beyond which they are moved."""
FULL = {RegisterFile.MASK: 8, RegisterFile.SCALAR: 160}
"""Constants of a file beyond which they are also made anew in each iteration of a loop around other loops."""


def sink_constants(function: Function) -> Function:
    """The function with constants that are made once outside of the loops of their readers, right before these."""
    writes = Counter(register for inst in function.instructions() for register in inst.defs)
    blocks = [replace(block, insts=list(block.insts)) for block in function.blocks]
    fixed = [_fixed(block, writes) for block in blocks]
    counts = Counter(inst.defs[0].file for insts in fixed for inst in insts)
    crowded = {file for file, limit in CROWDED.items() if counts[file] > limit}
    if not crowded:
        return function
    full = {file for file, limit in FULL.items() if counts[file] > limit}
    reached, readers = dominators(function.successors()), _readers(blocks)
    for index, insts in enumerate(fixed):
        # what a constant is made from follows it
        for inst in reversed(insts):
            constant = inst.defs[0]
            if constant.file not in crowded:
                continue
            target = _target(blocks, reached, index, +readers[constant], again=constant.file in full)
            if target is not None:
                blocks[index].insts[:] = [other for other in blocks[index].insts if other is not inst]
                blocks[target].insts.insert(0, inst)
                for source in inst.uses:
                    readers[source].subtract([index])
                    readers[source].update([target])
    return replace(function, blocks=blocks)


def _fixed(block: Block, writes: Mapping[Register, int]) -> list[Inst]:
    """The instructions of a block outside of loops that make a constant, which nothing else writes, from constants."""
    if block.loop_depth or block.packets is not None:
        return []
    made: set[Register] = set()
    found: list[Inst] = []
    for inst in block.insts:
        if len(inst.defs) != 1 or inst.merges or inst.memory_refs() or inst.op.is_control or inst.clobbers:
            continue
        (register,) = inst.defs
        is_known = all(source.is_hard_wired or source in made for source in inst.uses)
        if register.file in CROWDED and register.pinned is None and writes[register] == 1 and is_known:
            made.add(register)
            found.append(inst)
    return found


def _readers(blocks: Sequence[Block]) -> dict[Register, Counter[int]]:
    """The blocks that read each register, with how many instructions do."""
    found: dict[Register, Counter[int]] = defaultdict(Counter)
    for index, block in enumerate(blocks):
        for inst in block.insts:
            for register in inst.uses:
                found[register][index] += 1
    return found


def _target(
    blocks: Sequence[Block], reached: Sequence[set[int]], index: int, readers: Collection[int], *, again: bool
) -> int | None:
    """The last block outside of the loops of all readers that these come after; None where that is `index` itself.

    With `again` it may be in a loop around other loops, and the first reader, but in no loop of one block.
    """
    if not readers or index in readers:
        return None
    fixed = [reader for reader in readers if not again or _repeats(blocks[reader])]
    depth = max(0, min(blocks[reader].loop_depth - (reader in fixed) for reader in readers))
    shared = set[int].intersection(*(reached[reader] for reader in readers)) - set(fixed)
    outside = [at for at in shared if blocks[at].loop_depth <= depth and blocks[at].packets is None and at > index]
    return max((at for at in outside if index in reached[at]), default=None)


def _repeats(block: Block) -> bool:
    """Whether a block is a loop of its own."""
    return block.control is not None and block.control.target == block.label


def dominators(successors: Sequence[Sequence[int]]) -> list[set[int]]:
    """Of each block those through which every way to it from the first one leads."""
    size = len(successors)
    predecessors: list[list[int]] = [[] for _ in range(size)]
    for index, following in enumerate(successors):
        for other in following:
            predecessors[other].append(index)
    found = [{0}, *(set(range(size)) for _ in range(size - 1))]
    changed = True
    while changed:
        changed = False
        for index in range(1, size):
            before = [found[other] for other in predecessors[index]]
            reached = (set[int].intersection(*before) if before else set[int]()) | {index}
            if reached != found[index]:
                found[index], changed = reached, True
    return found
