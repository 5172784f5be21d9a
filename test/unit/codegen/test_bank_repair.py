"""Banks are chosen once more for what the packets of a loop read together."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

import pytest

from atalla_mlir.codegen.bank_repair import repair_banks
from atalla_mlir.codegen.machine_ir import M0, V0, Inst, Register
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import FILES, RegisterFile

NUM_BANKS = FILES[RegisterFile.VECTOR].banks
INTERVAL = 64


def vector(index: int) -> Register:
    return Register(RegisterFile.VECTOR, index)


def scalar(index: int) -> Register:
    return Register(RegisterFile.SCALAR, index)


def sum_of(first: Register, second: Register) -> Inst:
    return Inst(BY_MNEMONIC["add.vv"], (vector(10_000), first, second, M0))


def shared(
    insts: Sequence[Inst], cycles: Sequence[int], banks: Mapping[Register, int], interval: int = INTERVAL
) -> int:
    """Registers that are read beside another one of their bank, over all cycles."""
    rows: dict[int, set[Register]] = defaultdict(set)
    for inst, cycle in zip(insts, cycles, strict=True):
        rows[cycle % interval] |= {register for register in inst.port_reads if register in banks}
    return sum(len(row) - len({(register.file, banks[register]) for register in row}) for row in rows.values())


def test_a_row_is_read_with_its_maximum_in_another_bank():
    """Both got bank 1 from other readers, which leave them no other bank alone: those have to go as well."""
    score, highest, others = vector(0), vector(1), [vector(number) for number in range(2, 8)]
    insts = [sum_of(score, highest)]
    insts += [sum_of(score, other) for other in others[:3]] + [sum_of(highest, other) for other in others[3:]]
    banks = {score: 1, highest: 1} | dict(zip(others, [0, 2, 3, 0, 2, 3], strict=True))
    cycles = [0, *range(INTERVAL + 1, INTERVAL + 7)]
    assert shared(insts, cycles, banks) == 1
    found = repair_banks(insts, cycles, INTERVAL, banks, {}, AX01)
    assert found.keys() == banks.keys()
    assert shared(insts, cycles, found) == 0


@pytest.mark.parametrize("seed", range(20))
def test_packets_of_a_hidden_solution_lose_all_shared_banks(seed: int):
    """Each packet reads registers of three banks, as the search does not get to see them."""
    choice = random.Random(seed)
    hidden = {vector(number): number % NUM_BANKS for number in range(240)}
    by_bank = [[register for register, bank in hidden.items() if bank == number] for number in range(NUM_BANKS)]
    insts: list[Inst] = []
    cycles: list[int] = []
    for cycle in range(INTERVAL):
        first, second, third = (choice.choice(registers) for registers in choice.sample(by_bank, 3))
        insts += [sum_of(first, second), sum_of(third, third)]
        cycles += [cycle, cycle + INTERVAL]
    assert shared(insts, cycles, hidden) == 0
    given = {register: choice.randrange(NUM_BANKS) for register in hidden}
    found = repair_banks(insts, cycles, INTERVAL, given, {}, AX01)
    assert shared(insts, cycles, given) > 10
    assert shared(insts, cycles, found) == 0


def test_registers_of_other_loops_keep_their_banks():
    own, other = vector(0), vector(1)
    assert repair_banks([sum_of(own, other)], [3], INTERVAL, {own: 2}, {other: 2}, AX01)[own] != 2
    assert repair_banks([sum_of(own, V0)], [3], INTERVAL, {own: 0}, {}, AX01)[own] != 0


def test_banks_that_are_kept_apart_stay_as_they_are():
    banks = {vector(number): number % NUM_BANKS for number in range(8)}
    insts = [sum_of(vector(number), vector(number + 1)) for number in range(7)]
    assert repair_banks(insts, list(range(7)), INTERVAL, banks, {}, AX01) == banks


def test_files_have_banks_of_their_own():
    first, second, row = scalar(0), scalar(1), vector(0)
    insts = [Inst(BY_MNEMONIC["add.s"], (scalar(2), first, second)), sum_of(row, V0)]
    found = repair_banks(insts, [0, 0], INTERVAL, {first: 1, row: 1}, {second: 1}, AX01)
    assert found[first] != 1
    assert found[row] == 1
