"""Copies that need not be: two registers that are never live at the same time become one.

Runs on unscheduled functions, so that neither the scheduler nor the allocator sees the copies that leaving SSA form
produces. Loops come first: a copy removed there is saved in every iteration.
"""

from __future__ import annotations

from atalla_mlir.codegen.liveness import bits, live_ranges
from atalla_mlir.codegen.machine_ir import M0, M1, X0, Block, Function, Inst, Register, physical
from atalla_mlir.target.registers import FIRMWARE_TABLE, RegisterFile

_CONSTANT = (M1, physical(RegisterFile.SCALAR, FIRMWARE_TABLE))
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
    classes = _Classes(function)
    for _, written, source in sorted(copies, key=lambda copy: -copy[0]):
        if written:
            classes.merge(written[0], source)
    merged = classes.merged()
    return sum(_rewrite(block, merged) for block in function.blocks)


class _Classes:
    """Registers that have been merged: a representative and the live range of each class."""

    def __init__(self, function: Function) -> None:
        packets = [[(inst,) for inst in block.insts] for block in function.blocks]
        self._spill_base = function.spill_area.base if function.spill_area is not None else None
        self._masks = live_ranges(packets, function.successors()).masks
        for position, inst in enumerate(function.instructions()):
            for file, number in inst.clobbers:
                register = physical(file, number)
                self._masks[register] = self._masks.get(register, 0) | bits(position, position + 1)
        self._parents: dict[Register, Register] = {}

    def merged(self) -> dict[Register, Register]:
        """The registers for which another one stands, with that one."""
        return {register: self.find(register) for register in self._parents}

    def find(self, register: Register) -> Register:
        while register in self._parents:
            register = self._parents[register]
        return register

    def merge(self, first: Register, second: Register) -> None:
        kept, merged = self.find(first), self.find(second)
        if merged.pinned is not None:
            kept, merged = merged, kept
        if kept is merged or merged.pinned is not None or kept.is_hard_wired or kept in _CONSTANT:
            return
        if self._spill_base in (kept, merged):
            return
        kept_mask, merged_mask = self._masks.get(kept, 0), self._masks.get(merged, 0)
        if kept_mask & merged_mask:
            return
        self._masks[kept] = kept_mask | merged_mask
        self._parents[merged] = kept


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
