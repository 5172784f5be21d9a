"""What the packets of a kernel wait for: results, units, banks, pads, and the write ports of the vector registers."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir.codegen.issue_waits import pass_waits
from atalla_mlir.codegen.machine_ir import M1, V0, X0, Inst, Register
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile

ADD, GEMM = (AX01.distance(BY_MNEMONIC[mnemonic]) for mnemonic in ("add.vv", "gemm.vv"))


def _inst(mnemonic: str, *operands: Register | int) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands)


def _vectors(count: int) -> list[Register]:
    return [Register(RegisterFile.VECTOR, index) for index in range(count)]


def _idle(count: int) -> list[list[Inst]]:
    """Packets that wait for nothing."""
    return [[_inst("addi.s", Register(RegisterFile.SCALAR, index), X0, 0)] for index in range(count)]


def _cycles(packets: Sequence[Sequence[Inst]], banks: dict[Register, int] | None = None) -> int:
    return pass_waits(packets, banks or {}, AX01).cycles


def test_packets_that_wait_for_nothing_issue_in_every_cycle() -> None:
    assert _cycles(_idle(20)) == 20


def test_a_result_is_waited_for() -> None:
    first, second = _vectors(2)
    packets = [[_inst("add.vv", first, V0, V0, M1)], [_inst("mul.vv", second, first, V0, M1)]]
    assert _cycles(packets) == ADD + 1
    assert _cycles([packets[0], *_idle(ADD - 1), packets[1]]) == ADD + 1


def test_a_unit_takes_its_interval() -> None:
    packets = [[_inst("add.vv", register, V0, V0, M1)] for register in _vectors(10)]
    assert _cycles(packets) == 10 * AX01.lane_interval_cycles


def test_two_reads_of_a_bank_cost_two_cycles() -> None:
    left, right, product = _vectors(3)
    packet = [_inst("mul.vv", product, left, right, M1)]
    assert _cycles([packet, *_idle(19)], {left: 0, right: 1}) == 20
    assert _cycles([packet, *_idle(19)], {left: 2, right: 2}) == 22


def test_rows_from_the_array_are_written_before_those_of_lanes() -> None:
    """Both are there in the same cycle: in one bank the sum comes a cycle later, and so does what needs it."""
    row, total, product = _vectors(3)
    packets = [
        [_inst("gemm.vv", row, V0, V0, M1)],
        *_idle(GEMM - ADD - 1),
        [_inst("add.vv", total, V0, V0, M1)],
        [_inst("mul.vv", product, total, V0, M1)],
    ]
    assert _cycles(packets, {row: 0, total: 1}) == GEMM + 1
    assert _cycles(packets, {row: 0, total: 0}) == GEMM + 2


def test_weights_wait_until_the_array_has_drained() -> None:
    (row,) = _vectors(1)
    packets = [[_inst("gemm.vv", row, V0, V0, M1)], [_inst("lw.vi", V0, 0, 0, M1)], *_idle(40)]
    assert _cycles(packets) == AX01.array_drain_cycles + 41


def test_a_pad_takes_its_time_for_each_row() -> None:
    rows = _vectors(12)
    assert _cycles([[_inst("vreg.ld", row, X0, X0, 0)] for row in rows]) == 12 * AX01.pad_row_interval
    # neighbours in different pads
    assert _cycles([[_inst("vreg.ld", row, X0, X0, at % 4)] for at, row in enumerate(rows)]) == 12
