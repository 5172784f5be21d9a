"""Banks with which the packets of a kernel wait for less."""

from __future__ import annotations

import random

import pytest

from atalla_mlir.codegen import bank_search
from atalla_mlir.codegen.bank_search import CAPACITY, search_banks
from atalla_mlir.codegen.issue_waits import scheduled_pass_waits
from atalla_mlir.codegen.kernel import Kernel
from atalla_mlir.codegen.loop_graph import build_loop_graph
from atalla_mlir.codegen.machine_ir import M1, V0, X0, Inst, Register
from atalla_mlir.codegen.modulo import ModuloSchedule
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile

ADD, GEMM, LOAD = (AX01.distance(BY_MNEMONIC[mnemonic]) for mnemonic in ("add.vv", "gemm.vv", "vreg.ld"))


def _vectors(count: int) -> list[Register]:
    return [Register(RegisterFile.VECTOR, index) for index in range(count)]


def _inst(mnemonic: str, *operands: Register | int) -> Inst:
    return Inst(BY_MNEMONIC[mnemonic], operands)


def _schedule(insts: dict[int, Inst], interval: int, banks: dict[Register, int]) -> ModuloSchedule:
    """Instructions by their cycles, as a schedule; no cycle of the kernel is empty."""
    idle = set(range(interval)) - {cycle % interval for cycle in insts}
    fillers = {cycle: _inst("addi.s", Register(RegisterFile.SCALAR, cycle), X0, 0) for cycle in idle}
    timed = dict(sorted((insts | fillers).items()))
    return ModuloSchedule(build_loop_graph(list(timed.values()), AX01), interval, tuple(timed), {}, 1, banks)


def _pass_cycles(schedule: ModuloSchedule) -> int:
    return scheduled_pass_waits(schedule.graph, schedule.cycles, schedule.interval, schedule.banks, AX01).cycles


def _searched(schedule: ModuloSchedule) -> ModuloSchedule:
    found = Kernel(schedule, {}, 1000).banks_with_fewer_waits(AX01)
    return ModuloSchedule(schedule.graph, schedule.interval, schedule.cycles, {}, 1, found)


def _sum_beside_a_row(banks: tuple[int, int]) -> ModuloSchedule:
    """A row from the array and a sum that are there in the same cycle; a product needs the sum at once."""
    row, total, product = _vectors(3)
    insts = {
        0: _inst("gemm.vv", row, V0, V0, M1),
        GEMM - ADD: _inst("add.vv", total, V0, V0, M1),
        GEMM: _inst("mul.vv", product, total, V0, M1),
    }
    return _schedule(insts, GEMM + 8, {row: banks[0], total: banks[1], product: 3})


def test_what_is_written_in_one_cycle_gets_two_banks():
    schedule = _sum_beside_a_row((1, 1))
    assert _pass_cycles(schedule) == schedule.interval + 1
    found = _searched(schedule)
    assert found.banks.keys() == schedule.banks.keys()
    assert _pass_cycles(found) == schedule.interval


def test_banks_stay_where_packets_wait_for_nothing():
    schedule = _sum_beside_a_row((1, 2))
    assert _searched(schedule).banks == schedule.banks


def test_no_bank_takes_more_values_than_it_has_registers(monkeypatch: pytest.MonkeyPatch):
    """With room for one value in each bank, three that live at once cannot all leave."""
    monkeypatch.setattr(bank_search, "CAPACITY", 1)
    schedule = _sum_beside_a_row((1, 1))
    everywhere = dict.fromkeys(schedule.banks, (0, schedule.interval - 1))
    others = {Register(RegisterFile.VECTOR, 10 + bank): bank for bank in range(4)}
    lifetimes = everywhere | dict.fromkeys(others, (0, schedule.interval - 1))
    found = search_banks(schedule, {**schedule.banks, **others}, lifetimes, AX01)
    assert found == schedule.banks
    monkeypatch.setattr(bank_search, "CAPACITY", CAPACITY)
    assert search_banks(schedule, {**schedule.banks, **others}, lifetimes, AX01) != schedule.banks


@pytest.mark.parametrize("seed", range(12))
def test_a_kernel_never_gets_slower(seed: int):
    """Rows are loaded, meet the array, and their sums are stored; all banks are random."""
    choose = random.Random(seed)
    insts: dict[int, Inst] = {}
    registers = _vectors(64)
    for number in range(16):
        loaded, row, total, other = registers[4 * number : 4 * number + 4]
        at = 8 * number + choose.randrange(3)
        insts[at] = _inst("vreg.ld", loaded, X0, X0, number % 4)
        insts[at + LOAD + 200] = _inst("gemm.vv", row, loaded, V0, M1)
        insts[at + LOAD + 201 + GEMM + choose.randrange(3)] = _inst("add.vv", total, row, row, M1)
        insts[at + LOAD + 600] = _inst("mul.vv", other, total, row, M1)
    schedule = _schedule(insts, 131, {register: choose.randrange(4) for register in registers})
    before, after = _pass_cycles(schedule), _pass_cycles(_searched(schedule))
    assert after <= before
    # two registers of one bank in a packet cost two cycles, which other banks avoid
    assert after < before or before == schedule.interval
