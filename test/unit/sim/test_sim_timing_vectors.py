"""The exact unit-timing vectors of machine reference 6.5 and the dependence distances of 6.1, on the reference engine.

Issue cycles are observed from outside: after each single packet, `cycles` is one more than the cycle of its issue.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from atalla_mlir.sim.reference import ReferenceEngine
from atalla_mlir.target.machine import AX01, Machine
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.programs import Slot, program

WARM = AX01.with_options(icache_bytes=0)
HALT: list[Slot] = [("halt.s",)]
A, B, C = 4, 5, 6  # vector registers in banks 0, 1, 2


def loaded(*packets: list[Slot], machine: Machine = WARM, masks: bool = True) -> ReferenceEngine:
    engine = ReferenceEngine(machine)
    engine.load_code(0, program(*packets))
    for mask in range(1, 16) if masks else ():
        engine.write_register(RegisterFile.MASK, mask, 0xFFFFFFFF)
    return engine


def issue_cycles(engine: ReferenceEngine) -> list[int]:
    """Run to the end; the issue cycle of every packet but the halting one, whose drain follows at once."""
    cycles: list[int] = []
    while (result := engine.run(max_packets=1, timing=True)).reason == "limit":
        cycles.append(engine.counters.cycles - 1)
    assert result.reason == "halt", result.trap
    counters = engine.counters
    cycles.append(counters.cycles - counters.stalls["drain"] - 1)
    assert sum(counters.stalls.values()) == counters.cycles
    return cycles


def issues(*packets: list[Slot], machine: Machine = WARM) -> list[int]:
    return issue_cycles(loaded(*packets, machine=machine))


def distance(producer: Slot, consumer: Slot, machine: Machine = WARM) -> int:
    first, second, _ = issues([producer], [consumer], HALT, machine=machine)
    return second - first


def test_dependent_alu_instructions_issue_three_cycles_apart():
    assert issues([("addi.s", 1, 0, 5)], [("addi.s", 2, 1, 1)], HALT) == [2, 5, 6]


def test_independent_packets_issue_every_cycle():
    assert issues(*[[("addi.s", r, 0, r)] for r in range(1, 7)], HALT) == [2, 3, 4, 5, 6, 7, 8]


def test_multiplications_keep_their_interval():
    first, second, reader, _ = issues([("mul.s", 1, 5, 6)], [("mul.s", 2, 5, 6)], [("addi.s", 3, 1, 0)], HALT)
    assert (first, second) == (2, 6)
    assert reader == 7, "x1 is written in cycle 6 and readable in the next"


def test_scalar_bf16_additions_keep_their_interval():
    assert issues([("add.bf", 1, 5, 6)], [("add.bf", 2, 5, 6)], HALT)[:2] == [2, 5]


def test_a_quotient_is_written_68_cycles_after_the_divide():
    _, divide, reader, _ = issues([("addi.s", 2, 0, 9)], [("divi.s", 1, 2, 7)], [("addi.s", 3, 1, 0)], HALT)
    assert reader - divide == 68 + 1


def test_a_load_hit_is_written_after_six_cycles():
    engine = loaded([("lw.s", 1, 0, 0)], [("addi.s", 2, 1, 0)], [("lw.s", 3, 4, 0)], [("addi.s", 4, 3, 0)], HALT)
    _, _, load, reader, _ = issue_cycles(engine)
    assert reader - load == 6 + 1


def test_a_load_miss_with_zero_latency_memory_is_written_after_34_cycles():
    machine = WARM.with_options(dram_latency_cycles=0)
    assert distance(("lw.s", 1, 0, 0), ("addi.s", 2, 1, 0), machine) == 34 + 1


def test_fills_are_28_cycles_apart_with_zero_latency_memory():
    machine = WARM.with_options(dram_latency_cycles=0)
    loads: list[list[Slot]] = [[("lw.s", 1, 0, 0)], [("lw.s", 2, 64, 0)]]
    one = issues(*loads, [("addi.s", 3, 1, 0)], HALT, machine=machine)[2]
    two = issues(*loads, [("addi.s", 3, 2, 0)], HALT, machine=machine)[2]
    assert two - one == 28


def test_bank_conflicts_of_vector_reads():
    assert issues([("add.vv", 1, 16, 17, 0)], HALT)[0] == 2
    assert issues([("add.vv", 1, 16, 20, 0)], HALT)[0] == 4


def test_bank_conflicts_of_mask_reads():
    def pair(first: int, second: int) -> list[Slot]:
        return [("add.vv", 1, A, B, first), ("mul.vv", 2, 6, 7, second)]

    assert issues(pair(2, 3), HALT)[0] == 2
    assert issues(pair(2, 4), HALT)[0] == 4


def test_a_tile_takes_nine_cycles_a_row_in_and_eight_a_column_out():
    pushes: list[list[Slot]] = [[("tpus.vi", 1)]] * 32
    pops: list[list[Slot]] = [[("tpop.vi", 64 + r)] for r in range(32)]
    cycles = issues(*pushes, *pops, [("add.vv", 1, 64 + 31, B, 0)], HALT)
    assert cycles[-2] - cycles[0] == 1 + 32 * 9 + 257 + 2


@pytest.mark.parametrize(
    ("producer", "consumer", "expected"),
    [
        (("addi.s", 1, 0, 1), ("addi.s", 2, 1, 0), 3),
        (("lui.s", 1, 1), ("addi.s", 2, 1, 0), 3),
        (("bne.s", 1, 0, 20, 1), ("addi.s", 2, 1, 0), 3),
        (("add.bf", 1, 0, 0), ("addi.s", 2, 1, 0), 4),
        (("mul.s", 1, 0, 0), ("addi.s", 2, 1, 0), 5),
        (("stbf.s", 1, 0, 0), ("addi.s", 2, 1, 0), 4),
        (("rcp.bf", 1, 0, 0), ("addi.s", 2, 1, 0), 14),
        (("div.s", 1, 0, 0), ("addi.s", 2, 1, 0), 69),
        (("mv.stm", 1, 0), ("mv.mts", 2, 1), 4),
        (("vmov.vts", 1, A, 0), ("addi.s", 2, 1, 0), 3),
        (("add.vv", 1, A, B, 0), ("sub.vv", 2, 1, A, 0), 6),
        (("mul.vs", 1, A, 0, 0), ("sub.vv", 2, 1, A, 0), 6),
        (("expi.vi", 1, A, 0, 0), ("sub.vv", 2, 1, A, 0), 18),
        (("mgt.mvv", 1, A, B, 0), ("add.vv", 2, A, B, 1), 6),
        (("rsum.vi", 1, A, 64, 0), ("sub.vv", 2, 1, A, 0), 21),
        (("gemm.vv", 1, A, 0, 0), ("sub.vv", 2, 1, A, 0), 49),
        (("vreg.ld", 1, 0, 1, 31, 0), ("sub.vv", 2, 1, A, 0), 10),
        (("lw.vi", 0, A, 0, 1), ("gemm.vv", 2, A, 0, 0), 1),
        (("gemm.vv", 1, A, 0, 0), ("lw.vi", 0, A, 0, 1), 32),
        (("tpus.vi", A), ("tpus.vi", A), 1),
        (("add.vv", 1, A, B, 0), ("add.vv", 2, A, B, 0), 2),
        (("rsum.vi", 1, A, 64, 0), ("add.vv", 2, A, B, 0), 2),
        (("expi.vi", 1, A, 0, 0), ("add.vv", 2, A, B, 0), 1),
        (("rcp.bf", 1, 0, 0), ("sqrt.bf", 2, 0, 0), 13),
        (("div.s", 1, 0, 0), ("rcp.bf", 2, 0, 0), 68),
    ],
)
def test_distances_of_the_reference_table(producer, consumer, expected):
    assert distance(producer, consumer) == expected


def test_write_after_write_waits_for_the_first_write():
    cycles = issues([("mul.s", 1, 5, 6)], [("addi.s", 1, 0, 1)], HALT)
    assert cycles[1] - cycles[0] == 5


def test_a_higher_priority_write_displaces_an_older_one_of_the_same_bank():
    # mul.s issues in 2 and is written in 6, addi.s issues in 4 and is written in 6, both in bank 1; EX1 goes first
    packets = [[("mul.s", 1, 8, 9)], [("nop.s",)], [("addi.s", 5, 0, 1)]]
    assert issues(*packets, [("addi.s", 2, 5, 0)], HALT)[3] == 7
    assert issues(*packets, [("addi.s", 2, 1, 0)], HALT)[3] == 8


def loop(body_packets: int, trips: int) -> tuple[list[Slot], ...]:
    body: list[list[Slot]] = [[("addi.s", 10 + i, 0, 1)] for i in range(body_packets - 1)]
    return (
        [("addi.s", 2, 0, trips)],
        [("nop.s",)],
        [("nop.s",)],
        *body,
        [("blt.s", 1, 2, -20 * (body_packets - 1), 1)],
        HALT,
    )


def test_a_loop_pays_the_penalty_on_its_first_back_edge_and_at_its_exit():
    # bodies of eight packets: the wait for the loop counter never shows
    engine = loaded(*loop(8, 5))
    issue_cycles(engine)
    counters = engine.counters
    assert counters.stalls["mispredict"] == 2 * 3
    assert counters.stalls["raw_scalar"] == 0
    assert counters.packets == 3 + 8 * 6 + 1


def test_a_loop_of_one_packet_runs_every_three_cycles():
    cycles = issues(*loop(1, 20))
    steady = cycles[8:18]
    assert {b - a for a, b in itertools.pairwise(steady)} == {3}


def test_forward_jumps_always_cost_three_cycles():
    engine = loaded([("jal", 0, 40)], HALT, [("jal", 0, 40)], HALT, HALT)
    assert issue_cycles(engine) == [2, 6, 10]
    assert engine.counters.stalls["mispredict"] == 6


def test_straight_line_code_costs_four_to_five_cycles_per_packet_when_cold():
    engine = loaded(*[[("addi.s", 1 + i % 200, 0, 1)] for i in range(400)], HALT, machine=AX01)
    cycles = issue_cycles(engine)
    assert 4.0 <= cycles[-2] / 400 <= 5.0
    assert engine.counters.stalls["fetch"] > 0


def test_a_loop_in_the_instruction_cache_misses_only_once():
    once, many = loaded(*loop(40, 1), machine=AX01), loaded(*loop(40, 20), machine=AX01)
    issue_cycles(once)
    issue_cycles(many)
    assert once.counters.stalls["fetch"] == many.counters.stalls["fetch"]


@pytest.mark.parametrize("name", ["ax01", "ax01-ddr4", "ax01-hbm3", "ax01-slow", "as-compat", "fs-static"])
def test_every_parameter_set_runs_and_charges_every_cycle(name):
    from atalla_mlir.target.machine import machine

    engine = loaded(
        *[[("lw.vi", 0, 1 + i, 0, 1)] for i in range(32)],
        [("gemm.vv", 40, 1, 0, 0), ("add.vv", 41, 2, 3, 1)],
        [("vreg.ld", 42, 0, 1, 31, 0), ("mul.vv", 43, 40, 41, 0)],
        HALT,
        machine=machine(name),
    )
    issue_cycles(engine)


def test_pausing_and_restoring_change_neither_values_nor_cycles():
    packets = loop(20, 30)
    straight, stepped = loaded(*packets, machine=AX01), loaded(*packets, machine=AX01)
    assert straight.run(timing=True).reason == "halt"
    for _ in range(100):
        stepped.run(max_packets=1, timing=True)
    saved = stepped.snapshot()
    stepped.run(timing=True)
    first = stepped.counters
    stepped.restore(saved)
    stepped.run(timing=True, breakpoints=frozenset({60, 100}))
    while stepped.run(timing=True, breakpoints=frozenset({60, 100})).reason == "breakpoint":
        pass
    assert straight.counters == first == stepped.counters
    assert np.array_equal(straight.read_vector(1), stepped.read_vector(1))
