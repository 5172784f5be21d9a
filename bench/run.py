"""Cycles of the suite beside their bounds, and how fast the simulators are.

    python -m bench.run [NAME ...] [--engine NAME] [--json FILE] [--all] [--no-speed] [--record]

Writes a table and build/bench.json. Cycles and bytes are exact and the same on every machine; seconds are of this
machine in this run. On the reference engine only the smaller cases run, unless --all asks for the rest. A NAME is a
case or the beginning of some: `gemm_` runs all products. --record stores the cycles of the recorded cases in
bench/cycles.json, which a test compares with what the compiler makes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from atalla_mlir.errors import AtallaError, BadInputError
from atalla_mlir.sim import create_engine
from bench.measure import Measurement, measure
from bench.record import RECORDED, write_record
from bench.speed import speed_rows
from bench.suite import Case, suite

OUTPUT = Path("build/bench.json")
_COUNTED_BOUND = 20_000
"""Rows with a smaller bound are left out of the mean: start-up dominates them."""
_WORST_SHOWN = 3


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    engine = create_engine(options.engine).name
    cases = _chosen(options.names, engine, everything=options.all, record=options.record)
    left_out = len(suite()) - len(cases)
    if left_out and not options.names and not options.record:
        console.print(f"on the {engine} engine; {left_out} large cases are left out, --all runs them")
    measured, failed = _measure_all(cases, engine)
    console.print(_table(measured))
    for line in (*_summary(measured), *failed):
        console.print(line)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in measured], indent=2) + "\n", encoding="utf-8")
    if options.record:
        write_record({row.name: row.cycles for row in measured})
    if not options.no_speed:
        for line in speed_rows(engine):
            console.print(line)
    below = [row.name for row in measured if row.cycles < row.bound_cycles]
    if below:
        console.print(f"below their bounds, which cannot be: {', '.join(below)}")
    return 1 if failed or below else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.run", description="Cycles of the suite beside their bounds.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases, or beginnings of their names")
    parser.add_argument("--engine", default="auto", help="simulator engine (default auto)")
    parser.add_argument(
        "--json", type=Path, default=OUTPUT, metavar="FILE", help=f"the measurements (default {OUTPUT})"
    )
    parser.add_argument("--all", action="store_true", help="large cases too on the reference engine")
    parser.add_argument("--no-speed", action="store_true", help="do not measure the simulators")
    parser.add_argument("--record", action="store_true", help="measure the recorded cases and store their cycles")
    return parser


def _chosen(names: Sequence[str], engine: str, *, everything: bool, record: bool) -> list[Case]:
    cases = suite()
    if record:
        return [case for case in cases if case.name in RECORDED]
    if names:
        chosen = [case for case in cases if any(case.name.startswith(name) for name in names)]
        if not chosen:
            raise BadInputError(f"no case begins with {' or '.join(names)}")
        return chosen
    return [case for case in cases if everything or engine == "native" or not case.is_large]


def _measure_all(cases: Iterable[Case], engine: str) -> tuple[list[Measurement], list[str]]:
    """The measurements, and a line for each case that did not compile or run."""
    measured: list[Measurement] = []
    failed: list[str] = []
    for case in cases:
        print(f"{case.name} ...", end="\r", file=sys.stderr, flush=True)
        try:
            measured.append(measure(case, engine))
        except AtallaError as error:
            failed.append(f"{case.name} failed: {error}")
    return measured, failed


def _table(measured: Sequence[Measurement]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("kernel")
    for heading in ("cycles", "startup", "bound"):
        table.add_column(heading, justify="right")
    table.add_column("by")
    for heading in (
        "of bound",
        "without startup",
        "predicted",
        "fill",
        "DRAM bytes",
        "of least",
        "packets",
        "compile s",
        "run s",
    ):
        table.add_column(heading, justify="right")
    for row in measured:
        table.add_row(
            row.name,
            f"{row.cycles:,}",
            f"{row.startup_cycles:,}",
            f"{row.bound_cycles:,}",
            row.bound_by,
            f"{row.of_bound:.2f}",
            f"{row.of_bound_without_startup:.2f}",
            "" if row.prediction_error is None else f"{100 * row.prediction_error:+.0f} %",
            f"{100 * row.slot_fill:.0f} %",
            f"{row.dram_bytes:,}",
            f"{row.dram_bytes / row.compulsory_bytes:.2f}",
            f"{row.packets:,}",
            f"{row.compile_seconds:.2f}",
            f"{row.run_seconds:.2f}",
        )
    return table


def _summary(measured: Sequence[Measurement]) -> Iterable[str]:
    counted = [row for row in measured if row.bound_cycles >= _COUNTED_BOUND]
    if counted:
        mean = _geometric_mean([row.of_bound for row in counted])
        worst = max(counted, key=lambda row: row.of_bound)
        yield (
            f"{len(counted)} rows with a bound of {_COUNTED_BOUND:,} cycles or more: "
            f"geometric mean {mean:.2f} of the bound, worst {worst.of_bound:.2f} ({worst.name})"
        )
    small = [row for row in measured if row.bound_cycles < _COUNTED_BOUND]
    if small:
        mean = _geometric_mean([row.of_bound for row in small])
        without = _geometric_mean([row.of_bound_without_startup for row in small])
        yield f"{len(small)} smaller rows: geometric mean {mean:.2f} of the bound, {without:.2f} without start-up"
    yield from _predictions(measured)
    yield f"compiled in {sum(row.compile_seconds for row in measured):.1f} s"


def _predictions(measured: Sequence[Measurement]) -> Iterable[str]:
    """How far predictions are from what the simulator counts: factors, whichever of the two is larger."""
    errors = {row.name: 1 + row.prediction_error for row in measured if row.prediction_error is not None}
    if not errors:
        return
    factors = {name: max(share, 1 / share) for name, share in errors.items()}
    worst = sorted(factors, key=lambda name: -factors[name])[:_WORST_SHOWN]
    listed = ", ".join(f"{name} {100 * (errors[name] - 1):+.0f} %" for name in worst)
    yield (
        f"{len(factors)} rows with a prediction: geometric mean of the factor between predicted and simulated cycles "
        f"{_geometric_mean(list(factors.values())):.2f}; worst: {listed}"
    )


def _geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


if __name__ == "__main__":
    sys.exit(main())
