"""What nobody reads is left out, outside of loops and as far as it does nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest

from atalla_mlir.codegen.machine_ir import M0, V0, X0, Inst, Register, physical
from atalla_mlir.codegen.spill import Packets
from atalla_mlir.codegen.unread_results import drop_unread
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.registers import RegisterFile

ARGUMENT, LINK = physical(RegisterFile.SCALAR, 12), physical(RegisterFile.SCALAR, 1)


def inst(mnemonic: str, *operands: Register | int | str, merges: bool = False) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands, merges)


@cache
def scalar(index: int) -> Register:
    return Register(RegisterFile.SCALAR, index)


def after(index: int, source: int) -> Inst:
    return inst("addi.s", scalar(index), scalar(source), 1)


def read(index: int) -> Inst:
    return inst("add.s", ARGUMENT, scalar(index), X0)


RETURN = inst("jalr", X0, LINK, 0)


def left(
    blocks: Sequence[Packets], depths: Sequence[int] = (), successors: Sequence[Sequence[int]] = ()
) -> list[Packets]:
    """Blocks that follow each other, unless told otherwise."""
    following = successors or [[at + 1] for at in range(len(blocks) - 1)] + [[]]
    return drop_unread(blocks, depths or [0] * len(blocks), following)


def test_a_chain_that_ends_unread_goes_as_a_whole():
    kept = after(3, 9)
    packets: Packets = [(after(1, 9),), (after(2, 1), kept), (read(3),), (RETURN,)]
    assert left([packets]) == [[(kept,), *packets[2:]]]


def test_what_is_written_again_before_it_is_read_goes():
    first, second = after(1, 9), after(1, 8)
    assert left([[(first,), (second,), (read(1),), (RETURN,)]])[0][0] == (second,)


def test_what_an_instruction_of_its_packet_writes_is_read_before():
    reader, writer = after(2, 1), after(1, 8)
    packets: Packets = [(after(1, 9),), (reader, writer), (read(1),), (read(2),), (RETURN,)]
    assert left([packets]) == [packets]


def test_readers_may_be_in_other_blocks_and_loops_stay_as_they_are():
    made, carried = after(1, 9), after(2, 2)
    again = inst("bne.s", scalar(5), scalar(6), "loop", 1)
    blocks: list[Packets] = [[(made,), (after(2, 9),), (after(4, 9),)], [(carried,), (again,)], [(read(1),), (RETURN,)]]
    found = left(blocks, [0, 1, 0], [[1], [1, 2], []])
    assert found == [blocks[0][:2], *blocks[1:]]


@pytest.mark.parametrize(
    "kept",
    [
        inst("addi.s", X0, scalar(1), 0),  # a wait for a transfer
        inst("addi.s", ARGUMENT, X0, 3),  # an argument of a call, or a result
        inst("vreg.ld", Register(RegisterFile.VECTOR, 1), scalar(1), scalar(2), 31, 0),
        inst("scpad.ld", scalar(1), scalar(2), scalar(3)),
        inst("gemm.vv", Register(RegisterFile.VECTOR, 1), Register(RegisterFile.VECTOR, 2), 0, 0),
        inst("jal", LINK, "service"),
    ],
)
def test_what_does_more_stays(kept: Inst):
    assert left([[(kept,)], [(RETURN,)]]) == [[(kept,)], [(RETURN,)]]


def test_a_merging_operation_reads_what_it_keeps():
    rows = [Register(RegisterFile.VECTOR, at) for at in range(2)]
    first, merged = inst("add.vv", rows[0], V0, V0, M0), inst("add.vv", rows[0], V0, V0, M0, merges=True)
    store = inst("vreg.st", rows[0], scalar(1), scalar(2), 31, 0)
    assert left([[(first,), (merged,), (store,), (RETURN,)]])[0][:2] == [(first,), (merged,)]
    assert left([[(first,), (merged,), (RETURN,)]]) == [[(RETURN,)]]
