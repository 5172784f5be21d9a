"""Integers that a schedule keeps for longer than its interval: copied on the way, so that no kernel is unrolled.

A value that is still needed when the next iteration makes it again takes two registers that take turns, and the kernel
is as long as two iterations. With a copy in between each part lives for less than the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.kernel import Kernel
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.registers import RegisterFile

MAX_SPLIT = 12
"""Values that are copied at most."""


@dataclass(frozen=True)
class SplitBody:
    """A loop body in which `copies` take the place of long values in what reads these late."""

    insts: tuple[Inst, ...]
    copies: dict[Register, Register]
    next_index: int


def split_long_values(kernel: Kernel, first_index: int) -> SplitBody | None:
    """The body with copies of what the kernel keeps for too long, or None where that cannot be copied.

    New registers are numbered from `first_index`.
    """
    insts, cycles = kernel.schedule.graph.insts, kernel.schedule.cycles
    long = kernel.long_values()
    if len(long) > MAX_SPLIT or not all(_may_split(register, insts) for register in long):
        return None
    names = {register: Register(register.file, first_index + number) for number, register in enumerate(long)}
    body: list[Inst] = []
    written: set[Register] = set()
    for index, inst in enumerate(insts):
        late = [register for register in inst.uses if register in written and cycles[index] > _middle(*long[register])]
        copy = replace(inst)
        copy.replace_registers({register: names[register] for register in late})
        body.append(copy)
        for register in inst.defs:
            if register in long:
                written.add(register)
                body.append(Inst(BY_MNEMONIC["addi.s"], (names[register], register, 0), source=inst.source))
    return SplitBody(tuple(body), names, first_index + len(names))


def _middle(start: int, end: int) -> int:
    return (start + end) // 2


def _may_split(register: Register, insts: Sequence[Inst]) -> bool:
    """Whether a register is an integer that an iteration writes once, before it reads it."""
    if register.file is not RegisterFile.SCALAR or register.pinned is not None:
        return False
    writers = [index for index, inst in enumerate(insts) if register in inst.defs]
    readers = [index for index, inst in enumerate(insts) if register in inst.uses]
    return len(writers) == 1 and all(index > writers[0] for index in readers)
