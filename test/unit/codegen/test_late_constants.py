"""Constants move behind what does not read them: into free slots, past calls, before waits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest

from atalla_mlir.codegen.late_constants import delay_constants
from atalla_mlir.codegen.machine_ir import M0, V0, X0, Inst, Register
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.registers import RegisterFile

Packet = Sequence[Inst]
FIRST = 8


def inst(mnemonic: str, *operands: Register | int | str) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands)


@cache
def scalar(index: int) -> Register:
    return Register(RegisterFile.SCALAR, index)


def constant(index: int) -> Inst:
    return inst("addi.s", scalar(index), X0, index)


def reader(*indices: int) -> Inst:
    return inst("add.s", scalar(100 + indices[0]), scalar(indices[0]), scalar(indices[-1]))


LANES = inst("add.vv", Register(RegisterFile.VECTOR, 50), V0, V0, M0)
FULL = (LANES, inst("mul.vv", Register(RegisterFile.VECTOR, 51), V0, V0, M0), inst("sub.s", scalar(150), X0, X0))
WAIT = inst("addi.s", X0, scalar(120), 0)


def moved(
    blocks: Sequence[Sequence[Packet]], depths: Sequence[int] = (), successors: Sequence[Sequence[int]] = ()
) -> list[list[Packet]]:
    """Blocks that follow each other, unless told otherwise; registers are numbered in the order of their indices."""
    following = successors or [[at + 1] for at in range(len(blocks) - 1)] + [[]]
    insts = [one for packets in blocks for packet in packets for one in packet]
    numbers = {register: FIRST + register.index for one in insts for register in one.registers}
    return delay_constants([list(packets) for packets in blocks], depths or [0] * len(blocks), following, numbers)


def test_free_slots_are_taken_by_what_is_read_first():
    one, two = constant(1), constant(2)
    entry: list[Packet] = [(two,), (one,), (FULL[2],)]
    code: list[Packet] = [(LANES,), (LANES,), (reader(1),), (reader(2),)]
    first, second = moved([entry, code])
    assert first == [(FULL[2],)]
    assert second == [(LANES, one), (LANES, two), *code[2:]]


def test_what_finds_no_slot_is_made_before_the_first_wait():
    one = constant(1)
    entry, code = [(one,), (LANES,)], [FULL, (WAIT,), (reader(1),)]
    first, second = moved([entry, code])
    assert first == [(LANES,)]
    assert second == [code[0], (one,), *code[1:]]


def test_what_is_read_before_the_wait_comes_before_its_reader():
    one = constant(1)
    code: list[Packet] = [FULL, (reader(1),), (WAIT,)]
    assert moved([[(one,), (LANES,)], code])[1] == [code[0], (one,), *code[1:]]


def test_a_slot_in_which_a_bank_would_be_read_twice_is_left_free():
    """The constant reads x0, of bank 0, as the other instruction does."""
    one = constant(1)
    beside = inst("mul.s", scalar(3), scalar(0), scalar(2))
    code: list[Packet] = [(beside,), (reader(1),)]
    assert moved([[(one,), (LANES,)], code])[1] == [(one,), *code]


@pytest.mark.parametrize("reads_first", [False, True])
def test_constants_stay_outside_of_loops_and_before_their_first_reader(reads_first: bool):
    one = constant(1)
    loop: list[Packet] = [(reader(1) if reads_first else LANES,)]
    blocks: list[list[Packet]] = [[(one,), (LANES,)], loop, [(LANES,)], [(reader(1),)], [(LANES,)]]
    found = moved(blocks, [0, 1, 0, 1, 0], [[1], [1, 2], [3], [3, 4], []])
    assert found[1] == loop and found[3] == blocks[3]
    assert (found[0] == blocks[0]) is reads_first
    assert (found[2] == [(LANES, one)]) is not reads_first


def test_branches_that_do_not_read_it_are_passed():
    one = constant(1)
    blocks: list[list[Packet]] = [[(one,), (LANES,)], [(LANES,)], [(LANES,)], [(LANES,), (reader(1),)]]
    found = moved(blocks, successors=[[1, 2], [3], [3], []])
    assert found[1:3] == blocks[1:3]
    assert found[3] == [(LANES, one), blocks[3][1]]
    # where both read it, it stays before them
    blocks[1] = blocks[2] = [(reader(1),)]
    assert moved(blocks, successors=[[1, 2], [3], [3], []]) == blocks


@pytest.mark.parametrize(
    "kept",
    [
        inst("addi.s", scalar(1), scalar(9), 1),  # no constant
        inst("add.s", Register(RegisterFile.SCALAR, 5, pinned=12), X0, X0),  # an argument of a call
    ],
)
def test_other_instructions_stay(kept: Inst):
    blocks: list[list[Packet]] = [[(kept,), (LANES,)], [(LANES,), (inst("add.s", scalar(3), kept.defs[0], X0),)]]
    assert moved(blocks) == blocks


def test_what_is_written_twice_and_what_nobody_reads_stay():
    blocks: list[list[Packet]] = [[(constant(1),), (constant(2),)], [(constant(1),), (reader(1),)]]
    assert moved(blocks) == blocks
