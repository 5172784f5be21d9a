"""Values of a block get registers of their own, those that others need keep theirs."""

from __future__ import annotations

from atalla_mlir.codegen.local_values import name_local_values
from atalla_mlir.codegen.machine_ir import Block, Function, Inst, Register
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.registers import RegisterFile


def scalar(index: int) -> Register:
    return Register(RegisterFile.SCALAR, index)


def add(target: Register, source: Register, step: int) -> Inst:
    return Inst(BY_MNEMONIC["addi.s"], (target, source, step))


HALT = Inst(BY_MNEMONIC["halt.s"], tuple(0 for _ in BY_MNEMONIC["halt.s"].operands))


def test_values_that_end_in_their_block_are_renamed() -> None:
    a, b, zero = scalar(1), scalar(2), Register(RegisterFile.SCALAR, 0, 0)
    first = Block("first", [add(a, zero, 1), add(b, a, 1), add(a, b, 2), add(a, a, 3)])
    second = Block("second", [add(b, a, 1), add(a, b, 1), HALT])
    banks = {a: 1, b: 0}
    renamed = name_local_values(Function("f", [first, second]), banks)
    begin, follow, third, last = renamed.blocks[0].insts
    assert begin.defs[0] not in (a, b)
    assert follow.uses == begin.defs
    assert follow.defs[0] not in (a, b)
    assert third.uses == follow.defs
    assert third.defs[0] not in (a, b, *begin.defs)
    assert last.uses == third.defs
    # the second block reads what the first one leaves in a
    assert last.defs == (a,)
    assert renamed.blocks[1].insts[0].uses == (a,)
    assert banks[begin.defs[0]] == banks[third.defs[0]] == 1
    assert banks[follow.defs[0]] == 0


def test_blocks_with_packets_stay_as_they_are() -> None:
    a, zero = scalar(1), Register(RegisterFile.SCALAR, 0, 0)
    insts = [add(a, zero, 1), add(a, zero, 2)]
    kernel = Block("kernel", insts, packets=tuple((inst,) for inst in insts))
    renamed = name_local_values(Function("f", [kernel, Block("end", [HALT])]), {})
    assert renamed.blocks[0] is kernel
