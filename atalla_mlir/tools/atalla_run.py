"""atalla-run: run a model or a loadable on the simulator, verify it, and measure its cycles.

Exit status: 0 success, 1 failed, 2 wrong usage, 3 verification found a wrong result.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from atalla_mlir.tools import atalla_compile, command_line, entry_run, model_argument
from atalla_mlir.tools.array_files import read_inputs, write_outputs, write_results

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from atalla_mlir.host.program import TorchProgram
    from atalla_mlir.host.report import Report
    from atalla_mlir.loadable.format import Loadable
    from atalla_mlir.sim.engine import Counters
    from atalla_mlir.target.machine import Machine

PROGRAM = "atalla-run"
_WIDTH = 160
"""Columns of tables that do not go to a terminal."""

_EXAMPLES = f"""\
examples:
  atalla-run zoo:basic --verify --json out.json
  atalla-run my_model.py:build --arg width=96 --input x.npy --output y.npy
  atalla-run zoo:mlp --profile --trace mlp.json
  atalla-run mlp.atalla --input x.npy --engine reference
  atalla-translate --asm-to-blob program.s | atalla-run -

Inputs are those of the model's factory unless --input gives others.
{command_line.EXIT_STATUS_HELP}, 3 verification found a wrong result
"""


def main(
    argv: Sequence[str] | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run the tool on the given streams; the exit status."""
    return command_line.run(PROGRAM, lambda: _main(argv, stdin or sys.stdin), argv, stdout, stderr)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(PROGRAM, "Run a model or a loadable on the simulator.", _EXAMPLES)
    parser.add_argument("model", nargs="?", help=f"{model_argument.HELP}, or FILE.atalla, - is a loadable on stdin")
    parser.add_argument("--input", action="append", default=[], metavar="[NAME=]FILE.npy", help="an input, in order")
    parser.add_argument("--output", metavar="FILE", help="write the outputs, .npy for one or .npz for several")
    parser.add_argument("--engine", default="auto", help="simulator or device: auto, native, .. (default auto)")
    parser.add_argument("--verify", action="store_true", help="compare every operation with its reference")
    parser.add_argument("--timing", action="store_true", help="count cycles; a line says what they were spent on")
    parser.add_argument("--profile", action="store_true", help="count cycles, by kernel and by cause")
    parser.add_argument("--memory", metavar="FILE.svg", help="write a picture of what lies where in DRAM, and when")
    parser.add_argument("--trace", metavar="FILE", help="write a trace of the cycles for ui.perfetto.dev")
    parser.add_argument("--trace-window", metavar="START:END", help="cycles that the trace shows (default all)")
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write the report of --verify or --profile as JSON, - is stdout; docs/metrics.md defines it",
    )
    parser.add_argument("--entry", metavar="NAME", help="the entry point to run of a program that has several")
    atalla_compile.add_model_options(parser)
    return parser


def _main(argv: Sequence[str] | None, stdin: TextIO) -> int:
    options = _parser().parse_args(argv)
    if options.version:
        from atalla_mlir.tools.versions import versions

        print(versions(PROGRAM))
        return command_line.SUCCESS
    if options.model is None:
        raise command_line.UsageError("a model is missing")
    if options.json is not None and not (options.verify or options.profile):
        raise command_line.UsageError("--json writes the report of --verify or --profile, which is missing")
    _check_trace(options)
    if options.model != "-" and not options.model.endswith(".atalla"):
        return _run_model(options)
    if (
        options.verify
        or options.arg
        or options.strict
        or options.no_fuse
        or options.no_chains
        or options.no_ahead
        or options.images != "worth"
        or options.no_cache
        or options.fix_decisions is not None
        or options.seed is not None
    ):
        raise command_line.UsageError("a loadable has no model to verify or to compile; name the model instead")
    return _run_loadable(options, stdin)


def _check_trace(options: argparse.Namespace) -> None:
    """The window of a trace, and what does not go with one."""
    from atalla_mlir.runtime.perfetto import Window

    if options.trace is None:
        if options.trace_window is not None:
            raise command_line.UsageError("--trace-window is about --trace, which is missing")
        return
    if options.verify:
        raise command_line.UsageError("--trace and --verify are two runs; start them one after the other")
    options.trace_window = Window.parse(options.trace_window or ":")


def _run_loadable(options: argparse.Namespace, stdin: TextIO) -> int:
    from atalla_mlir.host.program import TorchProgram
    from atalla_mlir.target.machine import machine

    target = machine(options.machine) if options.machine else None
    with command_line.progress() as say:
        say("loading")
        loadable = entry_run.read(options.model, stdin)
        if not entry_run.describes_model(loadable):
            if options.profile or options.decisions or options.trace is not None or options.memory is not None:
                raise command_line.UsageError(
                    "--profile, --decisions, --trace and --memory are about kernels, of which this program has none"
                )
            return _run_entry(options, loadable, target)
        program = TorchProgram(loadable, engine=options.engine, machine=target)
        if options.entry is not None or len(program.entry_points) > 1:
            program = program.entry(_chosen(options, list(program.entry_points)))
        args, kwargs = program.nested_arguments(read_inputs(options.input, program.inputs))
        say("running")
        name = Path(options.model).stem
        report, outputs = _run(options, program, program.initial_values(args, kwargs), name)
    return _show(options, program, report, outputs)


def _chosen(options: argparse.Namespace, names: Sequence[str]) -> str:
    """The entry point of a loadable that is to run."""
    if options.entry is None:
        raise command_line.UsageError(
            f"the program has several entry points; choose one with --entry: {', '.join(names)}"
        )
    return options.entry


def _run(
    options: argparse.Namespace, program: TorchProgram, values: Mapping[str, Tensor], name: str
) -> tuple[Report | None, dict[str, Tensor]]:
    """The outputs, and with --profile the report."""
    if not options.profile and options.trace is None:
        program.device.timing = options.timing
        known = program.run(values)
        return None, {value: known[value] for value in program.outputs}
    from atalla_mlir.host.profile import profile_program

    if options.trace is None:
        profile = profile_program(program, values, name=name)
    else:
        from atalla_mlir.runtime.perfetto import TraceWriter

        program.device.engine.observe(None)  # a device that cannot be observed says so before there is a file
        with Path(options.trace).open("w", encoding="utf-8") as file:
            trace = TraceWriter(file, program.device.machine, options.trace_window)
            profile = profile_program(program, values, name=name, trace=trace)
    outputs = {value: profile.values[value] for value in program.outputs}
    return (profile.report if options.profile else None), outputs


def _run_entry(options: argparse.Namespace, loadable: Loadable, target: Machine | None) -> int:
    arrays, counters = entry_run.run_only_entry(
        loadable, options.input, engine=options.engine, machine=target, timing=options.timing
    )
    if options.output is not None:
        write_results(options.output, arrays)
    for name, array in arrays.items() if options.output is None else ():
        _show_output(name, str(array.dtype), array)
    _show_counters([counters])
    return command_line.SUCCESS


def _run_model(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from atalla_mlir.compiler import Timing, compile_plan
    from atalla_mlir.frontend.partition import plan_model
    from atalla_mlir.host.program import TorchProgram
    from atalla_mlir.host.verify import verify_program
    from atalla_mlir.target.machine import AX01, machine

    target = machine(options.machine or AX01.name)
    with command_line.progress() as say:
        say("loading")
        factory_arguments = model_argument.parse_factory_arguments(options.arg)
        loaded = model_argument.load_model(options.model, factory_arguments, seed=options.seed or 0)
        say(f"compiling {loaded.name}")
        point = loaded.entry_point(options.entry)
        plan = plan_model(loaded.model, point.args, point.kwargs, strict=options.strict, method=point.method)
        passes = Timing()
        loadable = compile_plan(
            plan,
            machine=target,
            fuse=not options.no_fuse,
            chains=not options.no_chains,
            ahead=not options.no_ahead,
            images=options.images,
            cache=not options.no_cache,
            decisions=atalla_compile.fixed_decisions(options),
            timing=passes,
        )
        program = TorchProgram(loadable, engine=options.engine, machine=target)
        args, kwargs = point.args, dict(point.kwargs)
        if options.input:
            args, kwargs = program.nested_arguments(read_inputs(options.input, program.inputs))
        say(f"running {loaded.name}")
        values = program.initial_values(args, kwargs)
        if options.verify:
            program.device.timing = options.profile
            report = verify_program(program, plan, loaded.model, args, kwargs, name=loaded.name)
            outputs = _run_again(program, values) if options.output else {}
        else:
            report, outputs = _run(options, program, values, loaded.name)
        if report is not None:
            report = replace(report, compile_seconds=passes.seconds())
    return _show(options, program, report, outputs)


def _run_again(program: TorchProgram, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs after verification, which keeps none; without cycles."""
    program.device.timing = False
    known = program.run(values)
    return {name: known[name] for name in program.outputs}


def _show(
    options: argparse.Namespace, program: TorchProgram, report: Report | None, outputs: Mapping[str, Tensor]
) -> int:
    """Print or write what was asked for; the exit status."""
    if options.memory is not None:
        _write_memory(options, program)
    if options.decisions and options.json != "-":
        atalla_compile.print_decisions(program.loadable)
    if options.json != "-" or options.output is not None:
        _show_outputs(options, outputs)
    if report is not None:
        return _show_report(options, report)
    print(program.coverage.summary())
    _show_counters(program.counters.values())
    return command_line.SUCCESS


def _write_memory(options: argparse.Namespace, program: TorchProgram) -> None:
    from atalla_mlir.runtime.memory_map import memory_map
    from atalla_mlir.runtime.memory_picture import svg

    memory = memory_map(program.loadable, rows_per_pad=program.device.machine.pad_rows)
    atalla_compile.write_text(options.memory, svg(memory, Path(options.model.rpartition(":")[2]).stem))


def _show_outputs(options: argparse.Namespace, outputs: Mapping[str, Tensor]) -> None:
    """Write the outputs to a file, or print a line about each."""
    if options.output is not None:
        write_outputs(options.output, outputs)
        return
    for name, tensor in outputs.items():
        _show_output(name, str(tensor.dtype).removeprefix("torch."), tensor.double().numpy())


def _show_output(name: str, dtype: str, array: NDArray[Any]) -> None:
    values = array.astype(float)
    numbers = f"sum {values.sum():.6g}, least {values.min():.6g}, greatest {values.max():.6g}" if values.size else ""
    print(f"{name}: {dtype}{list(array.shape)} {numbers}".rstrip())


def _show_counters(counters: Collection[Counters]) -> None:
    if not any(c.packets for c in counters) and counters:
        print("the device does not count")
        return
    print(
        f"executed {sum(c.packets for c in counters)} packets, {sum(c.instructions for c in counters)} instructions; "
        f"DRAM {sum(c.dram_bytes_loaded for c in counters)} bytes loaded, "
        f"{sum(c.dram_bytes_stored for c in counters)} bytes stored"
    )
    cycles = sum(c.cycles for c in counters)
    if cycles:
        stalls = {cause: sum(c.stalls.get(cause, 0) for c in counters) for cause in next(iter(counters)).stalls}
        print(f"{cycles} cycles:{''.join(f' {cause} {count}' for cause, count in stalls.items() if count)}")


def _show_report(options: argparse.Namespace, report: Report) -> int:
    if options.json is not None:
        atalla_compile.write_text(options.json, json.dumps(report.to_json(), indent=2, allow_nan=False))
    if options.json != "-":
        _print_report(report)
    return command_line.SUCCESS if report.ok else command_line.DIFFERENT


def _print_report(report: Report) -> None:
    from rich.console import Console

    from atalla_mlir.host.profile_table import profile_summary, profile_tables
    from atalla_mlir.host.report import memory_text

    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=sys.stdout.isatty())
    if report.verified:
        console.print(report)
    elif report.memory is not None:
        console.print(memory_text(report.memory))
    if report.totals.timing.cycles is not None:
        for table in profile_tables(report):
            console.print(table)
            console.print()
        console.print(profile_summary(report))


if __name__ == "__main__":
    sys.exit(main())
