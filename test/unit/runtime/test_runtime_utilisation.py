"""Busy shares of the units."""

from __future__ import annotations

import pytest

from atalla_mlir.runtime.utilisation import utilisation
from atalla_mlir.sim import create_engine
from atalla_mlir.sim.engine import Counters
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import AX01


def test_without_cycles_there_is_nothing_to_divide_by() -> None:
    assert utilisation(Counters(), AX01) == {}


def test_each_unit_counts_its_intervals() -> None:
    counted = Counters(cycles=100, gemm_rows=40, dram_bytes_loaded=320, dram_bytes_stored=320)
    counted.units = {Unit.GSAU: 72, Unit.LANE_ALU: 10, Unit.REDUCTION: 5, Unit.LANE_MUL: 20, Unit.VLSU: 16, Unit.EX4: 3}
    busy = utilisation(counted, AX01)
    assert (busy["array"], busy["gsau"]) == (0.40, 0.72)
    assert (busy["lane_alu"], busy["lane_mul"]) == (0.30, 0.40)
    assert busy["pad_ports"] == pytest.approx(16 * 3 / 8 / 100)
    assert (busy["ex4"], busy["dram"]) == (0.12, 0.20)


def test_shared_and_unpipelined_lanes() -> None:
    counted = Counters(cycles=100)
    counted.units = {Unit.LANE_ALU: 10, Unit.LANE_MUL: 10}
    shared = utilisation(counted, AX01.with_options(mul_shares_alu=True))
    assert (shared["lane_alu"], shared["lane_mul"]) == (0.40, 0.0)
    assert utilisation(counted, AX01.with_options(lanes_pipelined=False))["lane_mul"] == 0.30


def test_a_run_of_the_engine_stays_below_one() -> None:
    from atalla_mlir.mc.parse import assemble

    engine = create_engine("reference", AX01)
    body = "\n".join(f"{{ add.vv v{1 + i % 100}, v0, v0, m0 ; addi.s x1, x0, 1 }}" for i in range(200))
    engine.load_code(0, assemble(body + "\nhalt.s").code)
    engine.run(timing=True)
    busy = utilisation(engine.counters, AX01)
    assert 0.2 < busy["lane_alu"] <= 1
    assert all(0 <= share <= 1 for share in busy.values())
