"""Exact cycles of models of the zoo, and the time that compiling and simulating them takes.

    python -m bench.models [MODEL ...] [--engine NAME] [--json FILE]

Cycles, packets and bytes are exact and the same on every machine. Seconds are of this machine in this run and only good
for ratios within it. A model is a name of the zoo with arguments: `mlp` or `mlp:hidden=256,batch=32`.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from atalla_mlir import zoo
from atalla_mlir.compiler import compile_plan
from atalla_mlir.frontend.flops import macs
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.sim.engine import Counters

MODELS = ("basic", "basic:dim=256,depth=4,batch=64", "mlp", "mlp:hidden=512,batch=64", "attention", "trace")


@dataclass(frozen=True)
class Measurement:
    """One run of one model."""

    model: str
    engine: str
    macs: int
    cycles: int
    macs_per_cycle: float
    packets: int
    instructions: int
    dram_bytes: int
    stall_cycles: dict[str, int]
    compile_seconds: float
    simulate_seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.models", description="Exact cycles of models of the zoo.")
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help="NAME or NAME:ARG=VALUE,...")
    parser.add_argument("--engine", default="auto", help="simulator engine (default auto)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the measurements")
    options = parser.parse_args(argv)
    measurements = [measure(model, options.engine) for model in options.models]
    Console(width=None if sys.stdout.isatty() else 160).print(_table(measurements))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in measurements], indent=2), encoding="utf-8")
    return 0


def measure(model: str, engine: str) -> Measurement:
    """Compile and run one model with cycle counting."""
    name, _, text = model.partition(":")
    arguments = dict(item.split("=", 1) for item in text.split(",") if item)
    module, inputs = zoo.build(name, **{key: ast.literal_eval(value) for key, value in arguments.items()})
    start = time.perf_counter()
    plan = plan_model(module, inputs, strict=True)
    program = TorchProgram(compile_plan(plan, cache=False), engine=engine)
    compiled = time.perf_counter()
    program.device.timing = True
    program(*inputs)
    done = time.perf_counter()
    counters: Counters = program.device.counters
    work = sum(macs(node) for step in plan.device_steps for node in step.nodes)
    return Measurement(
        model=model,
        engine=program.device.engine.name,
        macs=work,
        cycles=counters.cycles,
        macs_per_cycle=work / counters.cycles,
        packets=counters.packets,
        instructions=counters.instructions,
        dram_bytes=counters.dram_bytes_loaded + counters.dram_bytes_stored,
        stall_cycles=dict(sorted(counters.stalls.items(), key=lambda item: -item[1])),
        compile_seconds=compiled - start,
        simulate_seconds=done - compiled,
    )


def _table(measurements: Sequence[Measurement]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    for heading in ("cycles", "MAC/cycle", "packets", "fill", "DRAM bytes", "compile s", "simulate s"):
        table.add_column(heading, justify="right")
    table.add_column("most cycles")
    for row in measurements:
        causes = ", ".join(f"{cause} {count / row.cycles:.0%}" for cause, count in list(row.stall_cycles.items())[:3])
        fill = row.instructions / (4 * row.packets)
        table.add_row(
            row.model,
            f"{row.cycles:,}",
            f"{row.macs_per_cycle:.2f}",
            f"{row.packets:,}",
            f"{fill:.0%}",
            f"{row.dram_bytes:,}",
            f"{row.compile_seconds:.2f}",
            f"{row.simulate_seconds:.2f}",
            causes,
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
