"""List scheduling: golden issue cycles, legality of every packet, pressure."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.banks import bank_bits
from atalla_mlir.codegen.machine_ir import M0, M1, V0, X0, Block, Function, Inst, Register
from atalla_mlir.codegen.resources import Room, demand_of
from atalla_mlir.codegen.schedule import ScheduledFunction, schedule
from atalla_mlir.target.isa import BY_MNEMONIC, HALT
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.machine_code import RandomFunction


def registers(file: RegisterFile, count: int) -> list[Register]:
    return [Register(file, index) for index in range(count)]


def scheduled(*insts: Inst, loop_depth: int = 1) -> ScheduledFunction:
    """The schedule of one block that ends with `halt.s`; a loop depth above 0 makes packets cost one cycle."""
    return schedule(Function("f", [Block("entry", [*insts, Inst(HALT, ())], loop_depth)]), AX01)


def inst(mnemonic: str, *operands: Register | int | str, merges: bool = False) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands, merges)


def test_dependent_addition_issues_three_cycles_later():
    a, b = registers(RegisterFile.SCALAR, 2)
    code = scheduled(inst("addi.s", a, X0, 1), inst("addi.s", b, a, 1))
    assert code.blocks[0].cycles == 5  # issue in cycles 0, 3 and, for the halt, 4
    assert code.num_packets == 3


def test_independent_additions_issue_every_cycle():
    code = scheduled(*(inst("addi.s", register, X0, 1) for register in registers(RegisterFile.SCALAR, 6)))
    assert code.blocks[0].cycles == 7


@pytest.mark.parametrize(
    ("mnemonic", "interval"), [("mul.s", 4), ("add.bf", 3), ("rcp.bf", 13), ("div.s", 68), ("stbf.s", 3)]
)
def test_units_that_are_not_pipelined_space_their_instructions(mnemonic: str, interval: int):
    a, b = registers(RegisterFile.SCALAR, 2)
    unary = mnemonic in ("rcp.bf", "stbf.s")
    code = scheduled(*(inst(mnemonic, register, X0, 0 if unary else X0) for register in (a, b)))
    assert code.blocks[0].cycles == interval + 2


def test_lane_units_take_a_vector_every_two_cycles_and_share_packets_with_each_other():
    a, b, c = registers(RegisterFile.VECTOR, 3)
    one_unit = scheduled(inst("add.vv", a, V0, V0, M0), inst("sub.vv", b, V0, V0, M0))
    assert one_unit.blocks[0].cycles == 4
    two_units = scheduled(inst("expi.vi", a, V0, 0, M0), inst("mul.vs", c, b, X0, M0))
    assert two_units.blocks[0].cycles == 2


def test_weights_wait_for_the_array():
    a, b = registers(RegisterFile.VECTOR, 2)
    code = scheduled(inst("gemm.vv", a, V0, 0, 0), inst("lw.vi", 0, b, 0, M0))
    assert code.blocks[0].cycles == 34


def test_loads_of_one_pad_are_served_every_three_cycles():
    offsets, rows = registers(RegisterFile.SCALAR, 4), registers(RegisterFile.VECTOR, 4)
    loads = [inst("vreg.ld", row, X0, offset, 31, 0) for row, offset in zip(rows, offsets, strict=True)]
    uses = [inst("add.vs", Register(RegisterFile.VECTOR, 9 + at), row, X0, M0) for at, row in enumerate(rows)]
    code = scheduled(*loads, *uses)
    assert code.blocks[0].cycles == 9 + 10 + 2  # the fourth is served in cycle 9, ready in 19; halt follows


def test_two_loads_share_a_packet_and_a_third_does_not_fit_its_ports():
    offsets, rows = registers(RegisterFile.SCALAR, 3), registers(RegisterFile.VECTOR, 3)
    bases = [Register(RegisterFile.SCALAR, 10 + pad) for pad in range(3)]
    code = scheduled(*(inst("vreg.ld", rows[pad], bases[pad], offsets[pad], 31, pad) for pad in range(3)))
    assert [len(packet) for packet in code.blocks[0].packets] == [2, 1, 1]


def test_the_branch_shares_the_last_packet():
    counter, row = Register(RegisterFile.SCALAR, 1), Register(RegisterFile.VECTOR, 1)
    base, offset = Register(RegisterFile.SCALAR, 2), Register(RegisterFile.SCALAR, 3)
    body = Block("loop", [inst("vreg.ld", row, base, offset, 31, 0), inst("bne.s", counter, X0, "loop", 1)], 1)
    code = schedule(Function("f", [body, Block("end", [Inst(HALT, ())])]), AX01)
    assert [len(packet) for packet in code.blocks[0].packets] == [2]
    assert code.blocks[0].packets[0][-1].op.is_branch


def test_readers_sit_below_the_writer_of_their_register():
    a, b = registers(RegisterFile.SCALAR, 2)
    use = inst("mul.s", b, a, X0)
    code = scheduled(use, inst("addi.s", a, X0, 7))
    assert code.blocks[0].packets[0][0] is use


def test_straight_line_code_that_runs_once_is_packed_densely():
    a, b, c = registers(RegisterFile.SCALAR, 3)
    insts = [inst("addi.s", a, X0, 1), inst("stbf.s", b, X0, 0), inst("addi.s", c, a, 1), inst("add.bf", b, b, X0)]
    assert scheduled(*insts, loop_depth=0).num_packets == 3


@pytest.mark.parametrize(("trips", "num_packets"), [(2, 112), (100, 127)])
def test_what_repeats_a_few_times_is_packed_densely_in_a_loop_that_exceeds_the_cache(trips: int, num_packets: int):
    """Two lane units start every second cycle and a scalar one every third, in packets of its own unless those count.

    The loop has 300 additions that depend on each other besides.
    """
    counter, limit, base, step = registers(RegisterFile.SCALAR, 4)
    left, right = registers(RegisterFile.VECTOR, 2)
    inner = [inst("add.s", base, base, step)]
    for at in range(95):
        total, product = Register(RegisterFile.VECTOR, 2 + at), Register(RegisterFile.VECTOR, 102 + at)
        inner += [inst("add.vs", total, left, limit, M0), inst("mul.vs", product, right, step, M1)]
    inner += [inst("add.bf", Register(RegisterFile.SCALAR, 10 + at), X0, base) for at in range(60)]
    rows = [inst("mul.vs", row, V0, X0, M0) for row in (left, right)]
    blocks = [
        Block("entry", [inst("addi.s", counter, X0, 1), inst("addi.s", limit, X0, trips), *rows]),
        Block("outer", [inst("add.s", base, base, step)] * 300, 1),
        Block("inner", [inst("add.s", base, base, step)], 2),
        Block("repeated", [inst("mul.s", base, base, step), inst("bne.s", base, X0, "repeated", 1)], 3),
        Block("inner.end", [*inner, inst("blt.s", counter, limit, "inner", 1)], 2),
        Block("outer.end", [inst("bne.s", step, X0, "outer", 1)], 1),
        Block("end", [Inst(HALT, ())]),
    ]
    code = schedule(Function("f", blocks), AX01)
    assert [len(block.packets) for block in code.blocks if block.label == "inner.end"] == [num_packets]


def test_loads_wait_until_registers_are_free():
    """400 rows that are loaded, used once and stored must not all be in registers at once."""
    base, offset = registers(RegisterFile.SCALAR, 2)
    insts: list[Inst] = []
    for row in range(400):
        loaded, result = Register(RegisterFile.VECTOR, 2 * row), Register(RegisterFile.VECTOR, 2 * row + 1)
        insts.append(inst("vreg.ld", loaded, base, offset, 31, row % 2))
        insts.append(inst("expi.vi", result, loaded, 0, M0))
        insts.append(inst("vreg.st", result, base, offset, 31, 2 + row % 2))
    code = scheduled(*insts)
    assert _peak_vectors(code) < 200


def _peak_vectors(code: ScheduledFunction) -> int:
    """Most vector values between their definition and their last use, over the packets of a one-block function."""
    first: dict[Register, int] = {}
    last: dict[Register, int] = {}
    for position, packet in enumerate(code.blocks[0].packets):
        for one in packet:
            for register in one.registers:
                if register.file is RegisterFile.VECTOR and register.pinned is None:
                    first.setdefault(register, position)
                    last[register] = position
    return max(sum(first[key] <= at < last[key] for key in first) for at in range(len(code.blocks[0].packets)))


@pytest.mark.parametrize("seed", range(12))
def test_every_packet_fits_the_machine(seed: int):
    function = RandomFunction(seed).build(60, loops=2)
    code = schedule(function, AX01, pipeline=False)
    assert sum(len(block.insts) for block in function.blocks) == sum(
        len(packet) for block in code.blocks for packet in block.packets
    )
    for block in code.blocks:
        for packet in block.packets:
            assert packet, "there are no empty packets"
            room = Room()
            for one in packet:
                assert room.fits(demand_of(one)), packet
                room.take(demand_of(one))


@pytest.mark.parametrize("seed", range(6))
def test_packets_of_loops_read_each_chosen_bank_once(seed: int):
    code = schedule(RandomFunction(seed).build(40, loops=2), AX01)
    for block in code.blocks:
        for packet in block.packets if block.loop_depth else ():
            taken = 0
            for one in packet:
                assert not taken & bank_bits(one, code.banks), packet
                taken |= bank_bits(one, code.banks)
