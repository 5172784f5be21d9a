"""Measuring one case: compile, run with cycles, look up the bounds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from atalla_mlir.compiler import compile_plan
from atalla_mlir.errors import InternalError
from atalla_mlir.frontend.arrays import to_numpy
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.host.profile import profile_program
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.mc.decode import decode_packets
from atalla_mlir.sim.engine import Engine
from atalla_mlir.target.encoding import PACKET_BYTES
from bench.suite import Case


@dataclass(frozen=True)
class Measurement:
    """One run of one case on the parameter set `ax01`."""

    name: str
    cycles: int
    """The whole run: firmware, start-up, kernels, last drain."""
    startup_cycles: int
    """Until the first row of data has been asked for: firmware, first DMA, cold instruction cache."""
    bound_cycles: int
    bound_by: str
    slot_fill: float
    """Instructions executed / slots of the packets executed."""
    dram_bytes: int
    compulsory_bytes: int
    compile_seconds: float
    packets: int
    run_seconds: float
    kernel_cycles: int
    """Of the kernels alone."""
    predicted_cycles: int | None
    """What the compiler predicted for them; None where it has no model of one."""

    @property
    def of_bound(self) -> float:
        return self.cycles / self.bound_cycles

    @property
    def prediction_error(self) -> float | None:
        """By what part of the kernels' cycles the prediction is too large; negative where it is too small."""
        return None if self.predicted_cycles is None else self.predicted_cycles / self.kernel_cycles - 1

    @property
    def of_bound_without_startup(self) -> float:
        return (self.cycles - self.startup_cycles) / self.bound_cycles


def compiled(case: Case, engine: str) -> tuple[TorchProgram, float]:
    """The program on an engine, and the seconds that compiling took."""
    model, inputs = case.build(), case.inputs()
    start = time.perf_counter()
    loadable = compile_plan(plan_model(model, inputs, strict=True), cache=False)
    seconds = time.perf_counter() - start
    return TorchProgram(loadable, engine=engine), seconds


def measure(case: Case, engine: str) -> Measurement:
    """Compile and run one case with cycle counting."""
    program, compile_seconds = compiled(case, engine)
    values = program.initial_values(case.inputs(), {})
    startup = startup_cycles(program, values)
    start = time.perf_counter()
    report = profile_program(program, values, name=case.name).report
    totals, predicted = report.totals, [op.predicted_cycles for op in report.ops]
    run_seconds = time.perf_counter() - start
    timing = totals.timing
    if timing.cycles is None or timing.bound_cycles is None or timing.bound_by is None:
        raise InternalError(f"{case.name}: a run without cycles or bound")
    return Measurement(
        name=case.name,
        cycles=timing.cycles,
        startup_cycles=startup,
        bound_cycles=timing.bound_cycles,
        bound_by=timing.bound_by,
        slot_fill=totals.dynamic_slot_fill,
        dram_bytes=totals.dram_bytes_loaded + totals.dram_bytes_stored,
        compulsory_bytes=sum(kernel["compulsory_bytes"] for kernel in program.loadable.meta["kernels"]),
        compile_seconds=compile_seconds,
        packets=totals.packets_executed,
        run_seconds=run_seconds,
        kernel_cycles=sum(op.timing.cycles or 0 for op in report.ops),
        predicted_cycles=None if None in predicted else sum(cycles or 0 for cycles in predicted),
    )


class _FirstRowError(Exception):
    """The engine is about to load the first row of data."""


def startup_cycles(program: TorchProgram, values: Any) -> int:
    """Cycles up to and including the issue of the first `vreg.ld` of the first kernel."""
    device, step = program.device, program.loadable.meta["steps"][0]

    def stop(engine: Engine) -> None:
        raise _FirstRowError

    device.timing = True
    try:
        device.run_entry(
            step["entry"], [to_numpy(values[v]) for v in step["inputs"]], stops=_row_loads(program), on_stop=stop
        )
    except _FirstRowError:
        device.engine.run(max_packets=1, timing=True)
    return device.engine.counters.cycles


def _row_loads(program: TorchProgram) -> frozenset[int]:
    """PCs of the kernels' packets with a `vreg.ld`."""
    loadable = program.loadable
    found: set[int] = set()
    for kernel in loadable.meta["kernels"]:
        start, end = loadable.meta["functions"][kernel["function"]]
        segment = loadable.code_segment_of(start)
        if segment is None:
            raise InternalError(f"no code for kernel {kernel['name']}")
        code = bytes(segment.data[start - segment.address : end - segment.address])
        for index, packet in enumerate(decode_packets(code)):
            if any(inst is not None and inst.op.mnemonic == "vreg.ld" for inst in packet):
                found.add(start + index * PACKET_BYTES)
    return frozenset(found)
