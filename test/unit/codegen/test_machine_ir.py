"""Machine IR: what is read and written, verification, memory references."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.machine_ir import (
    M0,
    V0,
    X0,
    Block,
    Function,
    Inst,
    MemoryRef,
    Register,
    SpillArea,
    format_memory,
    parse_memory,
    physical,
)
from atalla_mlir.errors import InternalError
from atalla_mlir.target.isa import BY_MNEMONIC, HALT
from atalla_mlir.target.registers import RegisterFile


def scalar(index: int) -> Register:
    return Register(RegisterFile.SCALAR, index)


def vector(index: int) -> Register:
    return Register(RegisterFile.VECTOR, index)


UNSHARED = Register(RegisterFile.SCALAR, 7, 7)


def inst(mnemonic: str, *operands: Register | int | str, merges: bool = False) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands, merges)


def function(*insts: Inst) -> Function:
    return Function("f", [Block("entry", [*insts, Inst(HALT, ())])])


def test_merging_lane_operation_reads_its_old_destination():
    a, b, m = vector(1), vector(2), Register(RegisterFile.MASK, 1)
    assert inst("add.vv", a, b, V0, m).uses == (b, m)
    assert inst("add.vv", a, b, V0, m, merges=True).uses == (b, m, a)


def test_branch_and_transfer_read_and_write_their_first_register():
    counter, metadata = scalar(1), scalar(2)
    branch = inst("bne.s", counter, X0, "entry", 1)
    assert (branch.defs, branch.uses) == ((counter,), (counter,))
    transfer = inst("scpad.ld", counter, X0, metadata)
    assert (transfer.defs, transfer.uses) == ((counter,), (counter, metadata))


def test_hard_wired_registers_are_no_dependence_but_take_ports():
    load = inst("vreg.ld", vector(1), X0, X0, 31, 0)
    assert load.uses == ()
    assert load.port_reads == (X0, X0)


def test_weight_push_takes_the_port_of_its_mask():
    mask = Register(RegisterFile.MASK, 3)
    push = inst("lw.vi", 0, V0, 0, mask)
    assert push.port_reads == (V0, mask)
    assert push.uses == (mask,)


def test_fixed_registers_are_unique():
    assert physical(RegisterFile.SCALAR, 5) is physical(RegisterFile.SCALAR, 5)
    with pytest.raises(InternalError, match=r"^register m16 does not exist, the file has 16$"):
        physical(RegisterFile.MASK, 16)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (inst("addi.s", scalar(1), X0, 5000), "imm must be in -2048..2047, got 5000"),
        (inst("addi.s", vector(1), X0, 5), "rd must be a register of file x, got %v1"),
        (inst("addi.s", scalar(1), X0), "expected 3 operands, got 2"),
        (inst("rcp.bf", scalar(1), X0, X0), "rs2 is ignored by the machine and must be 0, got x0"),
        (inst("gemm.vv", vector(1), V0, 0, 0, merges=True), "gemm.vv writes its whole destination and cannot merge"),
        (inst("li.s", scalar(1), 5), "li.s has no encoding; use lui.s and addi.s"),
        (
            inst("addi.s", scalar(1), Register(RegisterFile.SCALAR, 7, 7), 0),
            "pinned register x7 must come from physical()",
        ),
        (inst("vreg.ld", vector(1), X0, X0, "there", 0), "num_cols must be a number, got label there"),
    ],
)
def test_verification_names_the_instruction_and_what_is_wrong(bad: Inst, message: str):
    with pytest.raises(InternalError) as caught:
        function(bad).verify()
    assert str(caught.value) == f"function f, block entry, instruction 0 '{bad}': {message}"


def test_control_must_end_its_block():
    with pytest.raises(InternalError, match="a control instruction must be the last of its block"):
        function(inst("jal", X0, "entry")).verify()


def test_targets_must_exist_except_those_of_calls():
    link = physical(RegisterFile.SCALAR, 1)
    call = Function("f", [Block("entry", [inst("jal", link, "elsewhere")]), Block("end", [Inst(HALT, ())])])
    call.verify()
    assert call.successors() == [[1], []]
    jump = Function("f", [Block("entry", [inst("jal", X0, "elsewhere")])])
    with pytest.raises(InternalError, match="label elsewhere is not defined in the function"):
        jump.verify()


def test_control_must_not_run_off_the_end():
    with pytest.raises(InternalError, match="^function f: control runs off the end of the last block$"):
        Function("f", [Block("entry", [inst("addi.s", scalar(1), X0, 1)])]).verify()


def test_spill_base_must_end_its_block():
    base = scalar(1)
    made = inst("lui.s", base, 16)
    spilling = Function("f", [Block("entry", [made, Inst(HALT, ())])], SpillArea(0, base, 4))
    with pytest.raises(InternalError, match="^function f: spill base %x1 must be written at the end of a block$"):
        spilling.verify()


@pytest.mark.parametrize(
    ("first", "second", "conflicts"),
    [
        ("write pad0:a[0:4]", "read pad0:a[3:8]", True),
        ("write pad0:a[0:4]", "read pad0:a[4:8]", False),
        ("read pad0:a[0:4]", "read pad0:a[0:4]", False),
        ("write pad0:a[?:?]", "read pad0:a[4:8]", True),
        ("write pad0:a[0:4]", "read pad0:b[0:4]", False),
        ("write pad0:a[0:4]", "read pad1:a[0:4]", False),
        ("write pad0:*[?:?]", "read pad0:b[0:4]", True),
    ],
)
def test_memory_references_conflict_when_they_may_touch_the_same_bytes(first: str, second: str, conflicts: bool):
    (a,), (b,) = parse_memory(first), parse_memory(second)
    assert a.conflicts(b) is conflicts
    assert b.conflicts(a) is conflicts


def test_memory_references_round_trip_as_text():
    refs = (
        MemoryRef("pad2", "weights", 0, 1, False),
        MemoryRef("dram", "y.3", None, None, True),
        MemoryRef("pad1", "rows", 2, 4, True, True),
    )
    assert format_memory(refs) == "read pad2:weights[0:1], write dram:y.3[?:?], wait pad1:rows[2:4]"
    assert parse_memory(format_memory(refs)) == refs
    with pytest.raises(ValueError, match=r"^expected a memory access such as 'read pad2:weights\[0:1\]', got 'pad2'$"):
        parse_memory("pad2")


def test_a_memory_instruction_without_references_may_touch_its_whole_space():
    store = inst("vreg.st", vector(1), X0, X0, 31, 2)
    assert store.memory_refs() == (MemoryRef("pad2", "*", None, None, True),)
    transfer = inst("scpad.st", scalar(1), X0, X0)
    assert {ref.space for ref in transfer.memory_refs()} == {"pad0", "pad1", "pad2", "pad3", "dram"}
    assert [ref.is_write for ref in transfer.memory_refs()] == [False, False, False, False, True]


def test_dump_shows_blocks_and_notes():
    text = function(inst("add.vv", vector(1), vector(2), V0, M0, merges=True)).dump()
    assert text == "function f\nentry:  ; depth 0\n  add.vv %v1, %v2, v0, m0  ; merges\n  halt.s\n"
