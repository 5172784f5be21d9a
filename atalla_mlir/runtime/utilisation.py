"""How busy the units were: cycles that their instructions occupy them over all cycles."""

from __future__ import annotations

from atalla_mlir.sim.engine import Counters
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import Machine

_PORTS_PER_PAD = 2


def utilisation(counters: Counters, machine: Machine) -> dict[str, float]:
    """Unit -> busy share, 0 to 1; empty without cycles. `docs/metrics.md` defines each."""
    if not counters.cycles:
        return {}
    busy = _busy_cycles(counters, machine)
    return {unit: cycles / counters.cycles for unit, cycles in busy.items()}


def _busy_cycles(counters: Counters, machine: Machine) -> dict[str, float]:
    def count(*units: Unit) -> int:
        return sum(counters.units.get(unit, 0) for unit in units)

    lane = machine.lane_interval_cycles
    pipelined = machine.lanes_pipelined
    mul = count(Unit.LANE_MUL) * (lane if pipelined else lane + machine.mul_latency - 1)
    alu = count(Unit.LANE_ALU) * (lane if pipelined else lane + machine.alu_latency - 1)
    alu += count(Unit.REDUCTION) * lane + (mul if machine.mul_shares_alu else 0)
    dram_bytes = counters.dram_bytes_loaded + counters.dram_bytes_stored
    return {
        "array": counters.gemm_rows,
        "gsau": count(Unit.GSAU),
        "lane_alu": alu,
        "lane_mul": 0 if machine.mul_shares_alu else mul,
        "lane_exp": count(Unit.LANE_EXP) * (lane if pipelined else lane + machine.exp_latency - 1),
        "ex1": count(Unit.EX1) * machine.ex1_interval,
        "ex2": count(Unit.EX2) * machine.ex2_short_interval,
        "ex3": count(Unit.EX3) * machine.ex3_interval,
        "ex4": count(Unit.EX4) * machine.ex4_interval,
        "ex5": count(Unit.EX5),
        "mts": count(Unit.MTS),
        "pad_ports": count(Unit.VLSU) * machine.pad_row_interval / (_PORTS_PER_PAD * machine.pads),
        "transpose": count(Unit.TRANSPOSE) * machine.transpose_pop_interval,
        "dram": dram_bytes / (machine.dram_burst_bytes * machine.dram_bursts_per_cycle),
    }
