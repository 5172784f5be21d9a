"""Banks of registers that are read together, or whose results would wait for a write port (machine reference 5.3)."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.allocate import ALLOCATABLE
from atalla_mlir.codegen.banks import FAR_FEWER, BankGraph, late_writes, loop_weight, prefer_banks
from atalla_mlir.codegen.liveness import Packet
from atalla_mlir.codegen.machine_ir import X0, Inst, Register
from atalla_mlir.codegen.register_core import RegisterCore
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import FILES, RegisterFile

PRODUCT = Register(RegisterFile.SCALAR, 100)
SUMS = [Register(RegisterFile.SCALAR, number) for number in range(12)]
NUM_BANKS = FILES[RegisterFile.SCALAR].banks


def packet(mnemonic: str, *operands: Register | int) -> Packet:
    return (Inst(BY_MNEMONIC[mnemonic], operands),)


def code(wait: int) -> list[Packet]:
    """A product, sums one by one, and a reader of the product `wait` packets after it; then all sums are read."""
    packets = [packet("mul.s", PRODUCT, X0, X0)]
    packets += [packet("addi.s", total, X0, 1) for total in SUMS]
    packets.insert(wait, packet("add.s", X0, PRODUCT, X0))
    return [*packets, *(packet("add.s", X0, total, X0) for total in SUMS)]


def test_a_product_meets_the_sum_that_is_written_in_its_cycle():
    # offered two cycles later than a sum would be
    assert late_writes([code(5)], [2], AX01) == [(PRODUCT, SUMS[1], loop_weight(2))]


@pytest.mark.parametrize("wait", [3, 8])
def test_a_result_that_is_not_read_soon_may_wait(wait: int):
    assert late_writes([code(wait)], [2], AX01) == []


def test_results_that_meet_get_different_banks():
    blocks = [code(5)]
    costs = dict.fromkeys([PRODUCT, *SUMS], 1.0)
    available = {**ALLOCATABLE, RegisterFile.SCALAR: range(4, 24)}

    def banks(late: bool) -> tuple[int, int]:
        core = RegisterCore(blocks, [2], [[]], late_writes(blocks, [2], AX01) if late else ())
        numbers, spilled = core.colour(available, {PRODUCT: 0, SUMS[1]: 0}, lambda _: costs)
        assert not spilled
        return numbers[PRODUCT] % NUM_BANKS, numbers[SUMS[1]] % NUM_BANKS

    assert len(set(banks(late=False))) == 1
    assert len(set(banks(late=True))) == 2


@pytest.mark.parametrize("weight", [1, FAR_FEWER])
def test_addresses_and_offsets_are_told_apart_by_their_pairs(weight: int):
    """Two bases, each with an offset of its own, and an offset that both share; the first choice is wrong for one."""
    left, right, last, near, far, shared = (Register(RegisterFile.SCALAR, number) for number in range(6))
    graph = BankGraph(2)
    pairs = [(left, near, 8), (right, far, 8), (last, far, 2), (left, shared, 1), (right, shared, 1)]
    for base, offset, times in pairs:
        graph.add_packet([[base, offset]], times * weight)
    banks = prefer_banks(dict.fromkeys((left, right, last, near, far, shared), 1), graph)
    conflicts = sum(times for base, offset, times in pairs if banks[base] == banks[offset])
    assert conflicts == (1 if weight < FAR_FEWER else 0)


def test_a_register_stays_in_the_bank_that_a_kernel_counts_on():
    """Two registers are read together in code that runs once: the one that a kernel writes keeps its bank, the other
    one goes."""
    kept, other = PRODUCT, SUMS[0]
    blocks = [[packet("addi.s", kept, X0, 1), packet("addi.s", other, X0, 1), packet("add.s", X0, kept, other)]]

    def banks(weight: int) -> dict[Register, int]:
        core = RegisterCore(blocks, [0], [[]], (), [(kept, 2, weight)] if weight else ())
        return core.colour(ALLOCATABLE, {kept: 2, other: 2}, lambda _: {})[0]

    found = banks(loop_weight(1) // 2)
    assert found[kept] % NUM_BANKS == 2
    assert found[other] % NUM_BANKS != 2
    # without that, the first one gives way
    assert banks(0)[kept] % NUM_BANKS != 2
