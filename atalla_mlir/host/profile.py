"""Running a program for its cycles: a row per kernel launch, without judging values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from atalla_mlir.errors import InternalError
from atalla_mlir.frontend.arrays import to_numpy, to_torch
from atalla_mlir.host.fallback import run_operation
from atalla_mlir.host.op_rows import RowMaker
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.report import OpReport, Report
from atalla_mlir.runtime.memory_map import memory_map
from atalla_mlir.runtime.perfetto import TraceWriter
from atalla_mlir.sim.engine import Counters


@dataclass(frozen=True)
class Profile:
    """A profiled run: the report without the keys of verification, and the values that every step made."""

    report: Report
    values: Mapping[str, Tensor]


def profile_program(
    program: TorchProgram, values: Mapping[str, Tensor], *, name: str, trace: TraceWriter | None = None
) -> Profile:
    """Run `program` on what `TorchProgram.initial_values` gave, with cycles.

    Stops at kernels and a trace change neither values nor cycles. `name` is what the report calls the model.
    """
    if trace is not None:
        program.device.engine.observe(trace)
    make = RowMaker(program)
    known = dict(values)
    rows: list[OpReport] = []
    steps: list[Counters] = []
    program.device.timing = True
    for step in program.steps:
        if step["kind"] == "host":
            results = run_operation(step, known)
            rows.append(make.host(step, results))
            known.update(results)
            continue
        arrays, launches = program.device.profile_entry(step["entry"], [to_numpy(known[v]) for v in step["inputs"]])
        rows += [make.kernel(launch.kernel, launch.counters) for launch in launches]
        program.counters[step["entry"]] = program.device.counters
        steps.append(program.device.counters)
        if trace is not None:
            for launch in launches:
                trace.launch(launch.kernel, launch.start, launch.counters)
            trace.end_entry(steps[-1])
        known.update(zip(step["outputs"], map(to_torch, arrays), strict=True))
    if trace is not None:
        program.device.engine.observe(None)
        trace.finish()
    totals = make.totals(rows, steps, cosine=float("nan"), ok=True)
    wrong = next((f"{row.name}: {row.problem}" for row in rows if row.problem is not None), None)
    if wrong is not None or not totals.ok:
        raise InternalError(wrong or f"{name}: fewer cycles than the bound of the whole program")
    memory = memory_map(program.loadable, rows_per_pad=program.device.machine.pad_rows)
    return Profile(Report(name, tuple(rows), totals, verified=False, memory=memory), known)
