"""Whole networks: how long compiling and simulating them takes, their cycles beside their bounds, items per second.

    python -m bench.networks [NAME ...] [--engine NAME] [--json FILE]

Each row is measured in a process of its own, and a row that fails says why and does not stop the others. The network is
compiled without the cache, then run once for values and once with cycles. `--list` shows the names.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from atalla_mlir.errors import BadInputError

OUTPUT = Path("build/networks.json")
CLOCK_HZ = 800e6
_TIMEOUT_SECONDS = 3600


@dataclass(frozen=True)
class Network:
    """A model of the zoo with arguments, and what one run of it gives: `items` images or tokens."""

    model: str
    unit: str
    items: int = 1
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    decodes: bool = False
    """Whether a run is one more word behind those whose keys and values the device keeps."""


NETWORKS = {
    "alexnet": Network("alexnet", "images"),
    "resnet18": Network("resnet18", "images"),
    "resnet50": Network("resnet50", "images"),
    "mobilenet_v2": Network("mobilenet_v2", "images"),
    "vit_b16": Network("vit_b16", "images"),
    "bert_base": Network("bert_base", "tokens", 128),
    "gpt2_small": Network("gpt2_small", "tokens", 128),
    "llama_micro_decode": Network("llama", "tokens", 1, {"shape": "micro"}, decodes=True),
    "llama_tiny_decode": Network("llama", "tokens", 1, {"shape": "tiny"}, decodes=True),
}


@dataclass(frozen=True)
class Row:
    """One network. Seconds are of the processor, in one process, on this machine in this run."""

    name: str
    kernels: int
    functions: int
    import_seconds: float
    """Capture, decomposition and import by torch-mlir."""
    compile_seconds: float
    """All from the model to the loadable, import included, nothing cached."""
    pass_seconds: dict[str, float]
    simulate_seconds: float
    """One run for values."""
    simulate_cycles_seconds: float
    """One run with cycles, kernel by kernel."""
    cycles: int
    bound_cycles: int
    bound_by: str
    dram_bytes: int
    compulsory_bytes: int
    unit: str
    items_per_second: float
    """At 800 MHz."""

    @property
    def of_import(self) -> float:
        return self.compile_seconds / self.import_seconds


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if options.list:
        print("\n".join(NETWORKS))
        return 0
    if options.row is not None:
        print(json.dumps(asdict(measure(options.row, options.engine))))
        return 0
    unknown = [name for name in options.names if name not in NETWORKS]
    if unknown:
        raise BadInputError(f"no network '{unknown[0]}'; there are {', '.join(NETWORKS)}")
    rows, failed = measure_all(options.names or NETWORKS, options.engine)
    Console(width=None if sys.stdout.isatty() else 180, highlight=False).print(table(rows))
    for line in failed:
        print(line)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.networks", description="Networks: seconds, cycles, bounds, rates.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"networks (default all): {', '.join(NETWORKS)}")
    parser.add_argument("--engine", default="auto", help="simulator engine (default auto)")
    parser.add_argument("--json", type=Path, default=OUTPUT, metavar="FILE", help=f"the rows (default {OUTPUT})")
    parser.add_argument("--list", action="store_true", help="the names of the networks")
    parser.add_argument("--row", metavar="NAME", help="measure one network in this process and print JSON")
    return parser


def measure_all(names: Sequence[str] | dict[str, Network], engine: str) -> tuple[list[Row], list[str]]:
    """The rows, and a line for each network that could not be measured."""
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        print(f"{name} ...", end="\r", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "bench.networks", "--row", name, "--engine", engine]
        try:
            finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_SECONDS)
            rows.append(Row(**json.loads(finished.stdout.splitlines()[-1])))
        except subprocess.TimeoutExpired:
            failed.append(f"{name} failed: not done after {_TIMEOUT_SECONDS} s")
        except subprocess.CalledProcessError as error:
            failed.append(f"{name} failed: {_reason(error.stderr)}")
    return rows, failed


def _reason(errors: str) -> str:
    """The line of an error's output that says what is wrong."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    stated = [line for line in lines if "error: " in line]
    return (stated or lines or ["it ended without a word"])[-1]


def measure(name: str, engine: str) -> Row:
    """Compile one network and run it twice."""
    import torch

    from atalla_mlir import zoo
    from atalla_mlir.compiler import Timing, compile_plans
    from atalla_mlir.frontend.entry_points import EntryPoint, plan_entries
    from atalla_mlir.host.profile import profile_program
    from atalla_mlir.host.program import TorchProgram
    from atalla_mlir.zoo.llama import Llama
    from atalla_mlir.zoo.llama_decoder import LlamaDecoder

    network = NETWORKS[name]
    module, inputs = zoo.build(network.model, **network.arguments)
    entries: dict[str, EntryPoint | tuple[Any, ...]] = {"main": inputs}
    if isinstance(module, Llama) and network.decodes:
        module, word = LlamaDecoder(module).eval(), torch.zeros(1, 1, dtype=torch.int64)
        entries = {"prompt": inputs, "step": EntryPoint((word,), method="step")}
        inputs = (word,)
    start = time.process_time()
    plans = plan_entries(module, entries)
    captured = time.process_time()
    timing = Timing(clock=time.process_time)
    loadable = compile_plans(plans, cache=False, timing=timing)
    compiled = time.process_time()
    program = TorchProgram(loadable, engine=engine)
    program = program.entry("step") if "step" in entries else program
    values = program.initial_values(inputs, {})
    before = time.process_time()
    program.run(values)
    ran = time.process_time()
    totals = profile_program(program, values, name=name).report.totals
    done = time.process_time()
    cycles, bound = totals.timing.cycles or 0, totals.timing.bound_cycles or 0
    return Row(
        name=name,
        kernels=len(loadable.meta["kernels"]),
        functions=len({kernel["function"] for kernel in loadable.meta["kernels"]}),
        import_seconds=captured - start + timing.seconds()["(import)"],
        compile_seconds=compiled - start,
        pass_seconds={"(capture)": captured - start, **timing.seconds()},
        simulate_seconds=ran - before,
        simulate_cycles_seconds=done - ran,
        cycles=cycles,
        bound_cycles=bound,
        bound_by=totals.timing.bound_by or "",
        dram_bytes=totals.dram_bytes_loaded + totals.dram_bytes_stored,
        compulsory_bytes=totals.compulsory_bytes or 0,
        unit=network.unit,
        items_per_second=network.items * CLOCK_HZ / cycles,
    )


def table(rows: Sequence[Row]) -> Table:
    found = Table(box=None, pad_edge=False)
    found.add_column("network")
    for heading in ("kernels", "distinct", "import s", "compile s", "of import", "values s", "cycles s"):
        found.add_column(heading, justify="right")
    for heading in ("cycles", "bound", "of bound", "DRAM bytes", "of least", "per second at 800 MHz"):
        found.add_column(heading, justify="right")
    for row in rows:
        found.add_row(
            row.name,
            str(row.kernels),
            str(row.functions),
            f"{row.import_seconds:.1f}",
            f"{row.compile_seconds:.1f}",
            f"{row.of_import:.1f}",
            f"{row.simulate_seconds:.1f}",
            f"{row.simulate_cycles_seconds:.1f}",
            f"{row.cycles:,}",
            f"{row.bound_cycles:,} {row.bound_by}",
            f"{row.cycles / row.bound_cycles:.2f}" if row.bound_cycles else "",
            f"{row.dram_bytes:,}",
            f"{row.dram_bytes / row.compulsory_bytes:.2f}" if row.compulsory_bytes else "",
            f"{row.items_per_second:,.1f} {row.unit}",
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
