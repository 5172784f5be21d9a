"""Register allocation: the allocated code computes the same, in legal packets, on the registers it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from atalla_mlir.codegen.allocate import ALLOCATABLE, AllocatedFunction, allocate
from atalla_mlir.codegen.coalesce import coalesce
from atalla_mlir.codegen.layout import Label, Slot, resolve_labels
from atalla_mlir.codegen.machine_ir import M0, M1, V0, X0, Block, Function, Inst, Register, SpillArea, physical
from atalla_mlir.codegen.schedule import schedule
from atalla_mlir.codegen.spill import Spiller
from atalla_mlir.errors import LimitError
from atalla_mlir.target.encoding import BRANCH_OFFSET, PACKET_BYTES
from atalla_mlir.target.isa import BY_MNEMONIC, HALT
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.packets import lane_unit_conflict, packet_violations
from atalla_mlir.target.registers import FIRMWARE_CLOBBERS, RegisterFile
from atalla_mlir.testing.machine_code import RandomFunction, run_function, run_packets

FEW: Mapping[RegisterFile, Sequence[int]] = {
    **ALLOCATABLE,
    RegisterFile.VECTOR: ALLOCATABLE[RegisterFile.VECTOR][:8],
    RegisterFile.MASK: ALLOCATABLE[RegisterFile.MASK][:4],
}


def inst(mnemonic: str, *operands: Register | int | str, merges: bool = False) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands, merges)


def packets(code: AllocatedFunction) -> list[tuple[Slot, ...]]:
    return [item for item in code.items if not isinstance(item, Label)]


def assert_legal(code: AllocatedFunction) -> None:
    for packet in packets(code):
        slots = [(slot.op, tuple(0 if isinstance(value, str) else value for value in slot.operands)) for slot in packet]
        assert packet_violations(slots) == ()
        assert not lane_unit_conflict(slots)


@pytest.mark.parametrize("available", [ALLOCATABLE, FEW], ids=["all", "few"])
@pytest.mark.parametrize("seed", range(16))
def test_random_functions_compute_the_same(seed: int, available: Mapping[RegisterFile, Sequence[int]]):
    function = RandomFunction(seed, num_values=5 + seed % 9).build(30, loops=seed % 3)
    expected = run_function(function).observable()
    coalesce(function)
    code = allocate(schedule(function, AX01), AX01, available)
    assert_legal(code)
    assert run_packets(code.items).observable() == expected
    used = {file: set[int]() for file in RegisterFile}
    for slot in (slot for packet in packets(code) for slot in packet):
        for operand, value in zip(slot.op.operands, slot.operands, strict=True):
            if operand.file is not None and isinstance(value, int):
                used[operand.file].add(value)
    assert used[RegisterFile.VECTOR] <= {0, *available[RegisterFile.VECTOR]}
    assert used[RegisterFile.MASK] <= {0, 1, *available[RegisterFile.MASK]}


def test_the_comparison_notices_a_wrong_register():
    function = RandomFunction(3).build(30, loops=1)
    code = allocate(schedule(function, AX01), AX01)
    items = list(code.items)
    at = next(i for i, item in enumerate(items) if not isinstance(item, Label) and item[0].op.mnemonic == "vreg.st")
    packet = items[at]
    assert not isinstance(packet, Label)
    wrong = Slot(packet[0].op, (200, *packet[0].operands[1:]))
    items[at] = (wrong, *packet[1:])
    assert run_packets(items).observable() != run_function(function).observable()


def _many_vectors(count: int) -> Function:
    """`count` vectors that are all needed at the end."""
    vectors = [Register(RegisterFile.VECTOR, index) for index in range(count)]
    insts = [inst("add.vs", vector, V0, X0, M0) for vector in vectors]
    total = Register(RegisterFile.VECTOR, count)
    insts.append(inst("add.vs", total, V0, X0, M0))
    insts += [inst("add.vv", total, total, vector, M0) for vector in (*vectors, *reversed(vectors), *vectors)]
    return Function("wide", [Block("entry", [*insts, Inst(HALT, ())])])


def test_without_a_spill_area_too_many_vectors_are_an_error():
    scheduled = schedule(_many_vectors(12), AX01)
    available = {**ALLOCATABLE, RegisterFile.VECTOR: range(1, 5)}
    with pytest.raises(LimitError, match=r"^function wide needs more vector registers than there are and has no spill"):
        allocate(scheduled, AX01, available)


def test_constants_are_recomputed_before_anything_is_spilled():
    constants = [Register(RegisterFile.SCALAR, index) for index in range(12)]
    total = Register(RegisterFile.SCALAR, 12)
    insts = [inst("addi.s", constant, X0, index) for index, constant in enumerate(constants)]
    insts += [inst("lui.s", total, 1)]
    insts += [inst("add.s", total, total, constant) for constant in (*constants, *reversed(constants), *constants)]
    insts += [inst("vreg.st", V0, X0, total, 31, 0)]
    function = Function("f", [Block("entry", [*insts, Inst(HALT, ())])])
    code = allocate(schedule(function, AX01), AX01, {**ALLOCATABLE, RegisterFile.SCALAR: range(4, 8)})
    assert code.statistics.spills.rematerialised > 0
    assert run_packets(code.items).observable() == run_function(function).observable()


def test_values_that_live_across_a_call_avoid_what_it_overwrites():
    link = physical(RegisterFile.SCALAR, 1)
    kept = Register(RegisterFile.SCALAR, 1)
    clobbers = frozenset((RegisterFile.SCALAR, number) for number in (1, *FIRMWARE_CLOBBERS))
    call = Inst(BY_MNEMONIC["jal"], (link, "spad_alloc"), clobbers=clobbers)
    after = [inst("vreg.st", V0, kept, X0, 31, 0), Inst(HALT, ())]
    argument = physical(RegisterFile.SCALAR, 12)
    function = Function("f", [Block("entry", [inst("addi.s", kept, argument, 5), call]), Block("after", after)])
    available = {**ALLOCATABLE, RegisterFile.SCALAR: range(10, 20)}
    code = allocate(schedule(function, AX01), AX01, available)
    number = packets(code)[0][0].operands[0]
    assert number not in FIRMWARE_CLOBBERS
    assert packets(code)[-2][0].operands[1] == number


def test_arguments_of_calls_stay_in_their_registers():
    argument, link = physical(RegisterFile.SCALAR, 12), physical(RegisterFile.SCALAR, 1)
    others = [Register(RegisterFile.SCALAR, index) for index in range(4)]
    insts = [inst("addi.s", argument, X0, 7), *(inst("addi.s", other, X0, 1) for other in others)]
    insts += [inst("vreg.st", V0, other, X0, 31, 0) for other in others]
    call = Inst(BY_MNEMONIC["jal"], (link, "spad_alloc"))
    function = Function("f", [Block("entry", [*insts, call]), Block("end", [Inst(HALT, ())])])
    code = allocate(schedule(function, AX01), AX01, {**ALLOCATABLE, RegisterFile.SCALAR: range(10, 20)})
    writes = [slot.operands[0] for packet in packets(code) for slot in packet if slot.op.mnemonic == "addi.s"]
    assert writes.count(12) == 1


def test_two_all_ones_masks_use_both_banks():
    a, b = (Register(RegisterFile.VECTOR, index) for index in range(2))
    insts = [inst("expi.vi", a, V0, 0, M0), inst("mul.vs", b, V0, X0, M0)]
    insts += [inst("vreg.st", row, X0, X0, 31, 0) for row in (a, b)]
    code = allocate(schedule(Function("f", [Block("e", [*insts, Inst(HALT, ())])]), AX01), AX01)
    assert {slot.operands[-1] for slot in packets(code)[0]} == {0, 1}


def test_a_copy_between_registers_that_do_not_interfere_disappears():
    a, b = (Register(RegisterFile.VECTOR, index) for index in range(2))
    insts = [
        inst("vreg.ld", a, X0, X0, 31, 0),
        inst("sub.vs", b, a, X0, M1),
        inst("vreg.st", b, X0, X0, 31, 0),
        Inst(HALT, ()),
    ]
    function = Function("f", [Block("e", insts)])
    assert coalesce(function) == 1
    assert [one.op.mnemonic for one in function.instructions()] == ["vreg.ld", "vreg.st", "halt.s"]


def test_a_copy_whose_source_is_needed_later_stays():
    a, b = (Register(RegisterFile.VECTOR, index) for index in range(2))
    insts = [
        inst("vreg.ld", a, X0, X0, 31, 0),
        inst("sub.vs", b, a, X0, M1),
        inst("add.vv", b, b, b, M0),
        inst("vreg.st", a, X0, X0, 31, 0),
        inst("vreg.st", b, X0, X0, 31, 1),
        Inst(HALT, ()),
    ]
    assert coalesce(Function("f", [Block("e", insts)])) == 0


def test_the_base_of_the_spill_area_keeps_its_own_register():
    address, base = (Register(RegisterFile.SCALAR, index) for index in range(2))
    blocks = [
        Block("entry", [inst("lui.s", address, 5), inst("addi.s", base, address, 0)]),
        Block("end", [Inst(HALT, ())]),
    ]
    function = Function("f", blocks, SpillArea(0, base, 4))
    assert coalesce(function) == 0


def test_the_base_of_the_spill_area_is_not_spilled_itself():
    base = Register(RegisterFile.SCALAR, 0)
    spiller = Spiller("f", SpillArea(0, base, 4), AX01, next_index=1)
    assert spiller.temporaries == {base}
    vector = Register(RegisterFile.VECTOR, 0)
    made, doubled = inst("add.vs", vector, V0, X0, M0), inst("add.vv", vector, vector, V0, M0)
    before: list[Sequence[Inst]] = [(inst("lui.s", base, 3),), (made,), (doubled,)]
    (spilled,) = spiller.spill([before], [vector])
    bases = [use for packet in spilled for each in packet if each.op.mnemonic.startswith("vreg") for use in each.uses]
    assert base in bases
    assert spilled[0] == before[0]


@pytest.mark.parametrize("length", [90, 102, 103, 150])
def test_branches_reach_their_targets_at_any_distance(length: int):
    counter, limit = (Register(RegisterFile.SCALAR, index) for index in range(2))
    body = [inst("xor.s", limit, limit, X0) for _ in range(length)]
    blocks = [
        Block("entry", [inst("addi.s", counter, X0, 1), inst("addi.s", limit, X0, 3)]),
        Block("loop", [*body, inst("blt.s", counter, limit, "loop", 1)], 1),
        Block("end", [inst("vreg.st", V0, X0, counter, 31, 0), Inst(HALT, ())]),
    ]
    function = Function("f", blocks)
    code = allocate(schedule(function, AX01), AX01)
    assert run_packets(code.items).observable() == run_function(function).observable()
    resolved = resolve_labels(code.items)
    distances = [slot.operands[2] for packet in resolved for slot in packet if slot.op.is_branch]
    assert len(distances) == 1
    distance = distances[0]
    assert isinstance(distance, int)
    assert distance % PACKET_BYTES == 0
    assert BRANCH_OFFSET.fits(distance)
    jumps = [slot for packet in resolved for slot in packet if slot.op.mnemonic == "jal"]
    assert len(jumps) == (length > 102)
