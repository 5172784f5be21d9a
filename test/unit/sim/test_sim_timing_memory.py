"""The cycle model's memory side: transfers on the shared channel, pad ports, row interlocks, scalar memory, drain."""

from __future__ import annotations

import pytest

from atalla_mlir.sim import TrapKind
from atalla_mlir.sim.reference import ReferenceEngine
from atalla_mlir.target.encoding import DmaShape
from atalla_mlir.target.machine import AX01, ArrayInterlock, Machine, machine
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.programs import Slot, program

WARM = AX01.with_options(icache_bytes=0)
HALT: list[Slot] = [("halt.s",)]
X = RegisterFile.SCALAR
BASES = (4, 9, 14, 19)
"""Address registers of pads 0 to 3, which a transfer holds; no packet of a transfer reads a bank twice."""
DRAM, META = 21, 26


def engine_for(*packets: list[Slot], parameters: Machine = WARM, rows: int = 32, cols: int = 32) -> ReferenceEngine:
    engine = ReferenceEngine(parameters)
    engine.load_code(0, program(*packets))
    for pad in range(4):
        engine.write_register(X, DRAM + pad, 0x10000 * (pad + 1))
        engine.write_register(X, META + pad, DmaShape(pad, rows, cols, cols).encode())
    return engine


def move(mnemonic: str, pad: int) -> list[Slot]:
    return [(mnemonic, BASES[pad], DRAM + pad, META + pad)]


def wait_for(*pads: int) -> list[list[Slot]]:
    return [[("addi.s", 40 + pad, BASES[pad], 0)] for pad in pads]


def issues(engine: ReferenceEngine) -> list[int]:
    cycles: list[int] = []
    while (result := engine.run(max_packets=1, timing=True)).reason == "limit":
        cycles.append(engine.counters.cycles - 1)
    assert result.reason == "halt", result.trap
    counters = engine.counters
    cycles.append(counters.cycles - counters.stalls["drain"] - 1)
    assert sum(counters.stalls.values()) == counters.cycles
    return cycles


STARTUP, LANDING, RELEASE = 2, 2, 2


def transfer_cycles(mnemonic: str, *pads: int, parameters: Machine = WARM, rows: int = 32, cols: int = 32) -> int:
    packets = [*[move(mnemonic, pad) for pad in pads], *wait_for(*pads), HALT]
    cycles = issues(engine_for(*packets, parameters=parameters, rows=rows, cols=cols))
    return cycles[-2] - cycles[0]


def test_a_row_serial_load_takes_seven_cycles_a_row():
    assert transfer_cycles("scpad.ld", 0) == STARTUP + 32 * 7 + LANDING + RELEASE


def test_a_short_row_takes_one_burst():
    assert transfer_cycles("scpad.ld", 0, rows=8, cols=16) == STARTUP + 8 * 6 + LANDING + RELEASE


def test_four_loading_pads_reach_80_percent_of_the_channel():
    # 8 bursts in 10 cycles: round robin by burst delays the second burst of every row
    assert transfer_cycles("scpad.ld", 0, 1, 2, 3) == pytest.approx(320, abs=12)


def test_loads_without_row_serialisation_stream():
    streaming = WARM.with_options(sdma_row_serial=False)
    assert transfer_cycles("scpad.ld", 0, parameters=streaming) == pytest.approx(96, abs=12)


def test_a_store_is_limited_by_the_pad_read_port():
    # the last row is read 93 cycles after the first; seven cycles to the data, two bursts, six to DRAM
    assert transfer_cycles("scpad.st", 0) == STARTUP + 93 + 7 + 1 + 6 + RELEASE


def test_sustained_bandwidth_below_one_burst_per_cycle():
    full = transfer_cycles("scpad.ld", 0, 1, 2, 3, parameters=WARM.with_options(sdma_row_serial=False))
    part = transfer_cycles(
        "scpad.ld", 0, 1, 2, 3, parameters=WARM.with_options(sdma_row_serial=False, dram_bursts_per_cycle=0.5)
    )
    assert part - full == pytest.approx(256, abs=4)


def test_a_pad_with_a_transfer_in_flight_stalls_the_next_one():
    engine = engine_for(move("scpad.ld", 0), [("scpad.ld", 7, DRAM, META)], HALT)
    engine.write_register(X, 7, 64 * 64)
    cycles = issues(engine)
    assert cycles[1] - cycles[0] == STARTUP + 224 + LANDING + RELEASE
    assert engine.counters.stalls["dma_wait"] == cycles[1] - cycles[0] - 1


def test_row_loads_of_one_pad_come_every_three_cycles():
    loads: list[list[Slot]] = [[("vreg.ld", 4 + r, 0, 30 + r % 2, 31, 0)] for r in range(8)]
    cycles = issues(engine_for(*loads, [("add.vv", 1, 11, 6, 0)], HALT))
    assert cycles[:8] == list(range(2, 10))
    assert cycles[8] == 2 + 7 * 3 + 10


def test_the_wait_for_a_busy_pad_is_charged_to_the_pad_port():
    loads: list[list[Slot]] = [[("vreg.ld", 4 + r, 0, 30 + r % 2, 31, 0)] for r in range(8)]
    engine = engine_for(*loads, [("add.vv", 1, 11, 6, 0)], HALT)
    issues(engine)
    assert engine.counters.stalls["pad_port"] == 7 * 3 - 7
    assert engine.counters.stalls["raw_vector"] == 9


def test_a_full_queue_stalls_issue():
    loads: list[list[Slot]] = [[("vreg.ld", 4 + r, 0, 30 + r % 2, 31, 0)] for r in range(80)]
    cycles = issues(engine_for(*loads, HALT))
    assert cycles[47] - cycles[0] == 47
    assert cycles[79] - cycles[78] == 3


def test_a_store_holds_off_row_loads_of_its_pad_only():
    packets = [move("scpad.st", 0), [("vreg.ld", 1, 0, 1, 31, 0)], [("add.vv", 2, 1, 6, 0)], HALT]
    cycles = issues(engine_for(*packets))
    assert cycles[2] - cycles[1] == STARTUP + 96 - 2 + 10
    packets[1] = [("vreg.ld", 1, 0, 1, 31, 1)]
    cycles = issues(engine_for(*packets))
    assert cycles[2] - cycles[1] == 10


def test_a_row_load_waits_for_an_older_store_of_its_row():
    packets: list[list[Slot]] = [[("vreg.st", 1, 0, 9, 31, 0)], [("vreg.ld", 2, 0, 9, 31, 0)], [("add.vv", 3, 2, 4, 0)]]
    engine = engine_for(*packets, HALT)
    cycles = issues(engine)
    assert cycles[2] - cycles[1] == 10 + 1
    other: list[Slot] = [("vreg.ld", 2, 0, 1, 31, 0)]
    engine = engine_for(packets[0], other, packets[2], HALT)
    engine.write_register(X, 9, 1)
    assert issues(engine)[2] - issues_after_reset(engine)[1] == 10


def issues_after_reset(engine: ReferenceEngine) -> list[int]:
    values = [engine.read_scalar(index) for index in range(256)]
    engine.reset()
    for index, value in enumerate(values):
        engine.write_register(X, index, value)
    return issues(engine)


def test_a_row_load_through_another_register_waits_for_the_row_and_is_reported():
    engine = engine_for(move("scpad.ld", 0), [("vreg.ld", 1, 0, 1, 31, 0)], HALT)
    cycles = issues(engine)
    assert cycles[1] - cycles[0] == STARTUP + 1 + 6 + LANDING
    assert [lint.kind for lint in engine.lints] == ["pad row order"]


def test_reading_the_address_register_waits_and_is_not_reported():
    engine = engine_for(move("scpad.ld", 0), [("vreg.ld", 1, 4, 1, 31, 0)], HALT)
    cycles = issues(engine)
    assert cycles[1] - cycles[0] == STARTUP + 224 + LANDING + RELEASE
    assert engine.lints == ()
    assert engine.counters.stalls["dma_wait"] == cycles[1] - cycles[0] - 1


def test_a_transfer_starts_when_the_row_stores_before_it_have_landed():
    stores: list[list[Slot]] = [[("vreg.st", 1, 0, 1, 31, 0)]] * 8
    engine = engine_for(*stores, move("scpad.st", 0), *wait_for(0), HALT, rows=1)
    cycles = issues(engine)
    last_write_done = cycles[0] + 1 + 8 * 3
    assert cycles[-2] == last_write_done + 7 + 1 + 6 + RELEASE
    assert [lint.kind for lint in engine.lints] == ["pad row order"]


@pytest.mark.parametrize("mode", list(ArrayInterlock))
def test_array_interlock_modes(mode):
    engine = engine_for(
        [("gemm.vv", 1, 4, 0, 0)], [("lw.vi", 0, 4, 0, 1)], HALT, parameters=WARM.with_options(array_interlock=mode)
    )
    result = engine.run(timing=True)
    if mode is ArrayInterlock.ERROR:
        assert result.trap is not None
        assert result.trap.kind is TrapKind.ARRAY_INTERLOCK
        assert result.trap.message == "weights shift 31 cycles too early under an activation in flight"
        return
    assert result.reason == "halt"
    assert engine.counters.stalls["array_interlock"] == (31 if mode is ArrayInterlock.STALL else 0)
    assert [lint.kind for lint in engine.lints] == ["array order"]


def test_credits_limit_the_rows_in_flight():
    rows: list[list[Slot]] = [[("gemm.vv", 4 + r, 1, 0, 0)] for r in range(60)]
    limited = issues(engine_for(*rows, HALT, parameters=WARM.with_options(gsau_credits=44)))
    assert limited[43] - limited[0] == 43
    assert limited[44] - limited[0] == 46
    assert issues(engine_for(*rows, HALT))[59] == 61


def test_at_most_four_reductions_are_in_flight():
    sums: list[list[Slot]] = [[("rsum.vi", 4 + r, 1, 64, 0)] for r in range(6)]
    cycles = issues(engine_for(*sums, HALT))
    assert [b - cycles[0] for b in cycles[:6]] == [0, 2, 4, 6, 19, 21]


def test_two_additions_of_a_packet_take_turns():
    both: list[Slot] = [("add.vv", 8, 4, 5, 0), ("add.vv", 9, 6, 7, 1)]
    cycles = issues(engine_for(both, [("sub.vv", 10, 9, 4, 0)], HALT))
    assert cycles[1] - cycles[0] == 8


def test_lane_options_change_the_intervals():
    adds: list[list[Slot]] = [[("add.vv", 8 + r, 4, 5, 0)] for r in range(3)]
    whole = issues(engine_for(*adds, HALT, parameters=WARM.with_options(physical_lanes=32)))
    assert whole[2] - whole[0] == 2
    unpipelined = issues(engine_for(*adds, HALT, parameters=WARM.with_options(lanes_pipelined=False, alu_latency=4)))
    assert unpipelined[2] - unpipelined[0] == 10
    mixed: list[list[Slot]] = [[("add.vv", 8, 4, 5, 0)], [("mul.vv", 9, 6, 7, 0)]]
    shared = issues(engine_for(*mixed, HALT, parameters=WARM.with_options(mul_shares_alu=True)))
    assert shared[1] - shared[0] == 2


def test_drain_lets_everything_end():
    engine = engine_for(move("scpad.ld", 0), HALT)
    issues(engine)
    assert engine.counters.stalls["drain"] == STARTUP + 224 + LANDING + RELEASE - 2


def test_dirty_lines_are_written_back_at_halt():
    clean = engine_for([("lw.s", 1, 0, 0)], [("lw.s", 2, 64, 0)], HALT)
    dirty = engine_for([("sw.s", 1, 0, 0)], [("sw.s", 2, 64, 0)], HALT)
    issues(clean)
    issues(dirty)
    difference = dirty.counters.stalls["drain"] - clean.counters.stalls["drain"]
    assert difference == pytest.approx(2 * 8 + 6, abs=6)


def test_the_wait_for_a_cache_miss_is_charged_to_the_data_cache():
    engine = engine_for([("lw.s", 1, 0, 0)], [("addi.s", 2, 1, 0)], HALT)
    issues(engine)
    stalls = engine.counters.stalls
    assert stalls["raw_scalar"] == 6
    assert stalls["data_cache"] == 28 + 6


def test_a_second_launch_starts_cold_and_adds_its_cycles():
    engine = engine_for([("addi.s", 1, 0, 1)], [("lw.s", 2, 0, 0)], HALT, parameters=AX01)
    engine.run(timing=True)
    once = engine.counters
    engine.set_pc(0)
    engine.run(timing=True)
    twice = engine.counters
    assert twice.cycles == 2 * once.cycles
    assert {cause: 2 * cycles for cause, cycles in once.stalls.items()} == twice.stalls


def test_slow_memory_makes_row_serial_loads_slow():
    cycles = transfer_cycles("scpad.ld", 0, parameters=machine("ax01-slow").with_options(icache_bytes=0))
    assert cycles == STARTUP + 32 * 49 + LANDING + RELEASE
