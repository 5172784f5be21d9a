"""atalla-run: run a model or a loadable on the simulator, and verify it.

Exit status: 0 success, 1 failed, 2 wrong usage, 3 verification found a wrong result.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from atalla_mlir.tools import atalla_compile, command_line, model_argument
from atalla_mlir.tools.array_files import read_inputs, write_outputs

if TYPE_CHECKING:
    from torch import Tensor

    from atalla_mlir.host.program import TorchProgram
    from atalla_mlir.host.report import Report

PROGRAM = "atalla-run"

_EXAMPLES = f"""\
examples:
  atalla-run zoo:basic --verify --json out.json
  atalla-run my_model.py:build --arg width=96 --input x.npy --output y.npy
  atalla-run mlp.atalla --input x.npy --engine reference

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
    return command_line.run(PROGRAM, lambda: _main(argv), argv, stdout, stderr)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(PROGRAM, "Run a model or a loadable on the simulator.", _EXAMPLES)
    parser.add_argument("model", nargs="?", help=f"{model_argument.HELP}, or FILE.atalla")
    parser.add_argument("--input", action="append", default=[], metavar="[NAME=]FILE.npy", help="an input, in order")
    parser.add_argument("--output", metavar="FILE", help="write the outputs, .npy for one or .npz for several")
    parser.add_argument("--engine", default="auto", help="simulator: auto, reference, native (default auto)")
    parser.add_argument("--verify", action="store_true", help="compare every operation with its reference")
    parser.add_argument(
        "--json", metavar="FILE", help="write the report as JSON, - is stdout; docs/metrics.md defines it"
    )
    atalla_compile.add_model_options(parser)
    return parser


def _main(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    if options.version:
        from atalla_mlir.tools.versions import versions

        print(versions(PROGRAM))
        return command_line.SUCCESS
    if options.model is None:
        raise command_line.UsageError("a model is missing")
    if options.json is not None and not options.verify:
        raise command_line.UsageError("--json writes the report of --verify, which is missing")
    if not options.model.endswith(".atalla"):
        return _run_model(options)
    if options.verify or options.arg or options.strict or options.no_fuse or options.seed is not None:
        raise command_line.UsageError("a loadable has no model to verify or to compile; name the model instead")
    return _run_loadable(options)


def _run_loadable(options: argparse.Namespace) -> int:
    from atalla_mlir.host.program import load
    from atalla_mlir.target.machine import machine

    target = machine(options.machine) if options.machine else None
    with command_line.progress() as say:
        say("loading")
        program = load(options.model, engine=options.engine, machine=target)
        args, kwargs = program.nested_arguments(read_inputs(options.input, program.inputs))
        say("running")
        outputs = _outputs(program, args, kwargs)
    _show_outputs(options, outputs)
    _show_counters(program)
    return command_line.SUCCESS


def _run_model(options: argparse.Namespace) -> int:
    from atalla_mlir.compiler import compile_plan
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
        plan = plan_model(loaded.model, loaded.args, loaded.kwargs, strict=options.strict)
        program = TorchProgram(
            compile_plan(plan, machine=target, fuse=not options.no_fuse), engine=options.engine, machine=target
        )
        args, kwargs = loaded.args, loaded.kwargs
        if options.input:
            args, kwargs = program.nested_arguments(read_inputs(options.input, program.inputs))
        say(f"running {loaded.name}")
        report = None
        if options.verify:
            report = verify_program(program, plan, loaded.model, args, kwargs, name=loaded.name)
        outputs = _outputs(program, args, kwargs) if report is None or options.output else {}
    _show_outputs(options, outputs)
    if report is None:
        _show_counters(program)
        return command_line.SUCCESS
    return _show_report(options, report)


def _outputs(program: TorchProgram, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
    values = program.run(program.initial_values(args, kwargs))
    return {name: values[name] for name in program.outputs}


def _show_outputs(options: argparse.Namespace, outputs: Mapping[str, Tensor]) -> None:
    """Write the outputs to a file, or print a line about each."""
    if options.output is not None:
        write_outputs(options.output, outputs)
        return
    for name, tensor in outputs.items():
        dtype, shape = str(tensor.dtype).removeprefix("torch."), list(tensor.shape)
        values = tensor.double()
        numbers = (
            f"sum {values.sum():.6g}, least {values.min():.6g}, greatest {values.max():.6g}" if tensor.numel() else ""
        )
        print(f"{name}: {dtype}{shape} {numbers}".rstrip())


def _show_counters(program: TorchProgram) -> None:
    counters = program.counters.values()
    print(program.coverage.summary())
    print(
        f"executed {sum(c.packets for c in counters)} packets, {sum(c.instructions for c in counters)} instructions; "
        f"DRAM {sum(c.dram_bytes_loaded for c in counters)} bytes loaded, "
        f"{sum(c.dram_bytes_stored for c in counters)} bytes stored"
    )


def _show_report(options: argparse.Namespace, report: Report) -> int:
    if options.json is not None:
        atalla_compile.write_text(options.json, json.dumps(report.to_json(), indent=2, allow_nan=False))
    if options.json != "-":
        _print_report(report)
    return command_line.SUCCESS if report.ok else command_line.DIFFERENT


def _print_report(report: Report) -> None:
    if not sys.stdout.isatty():
        print(report)
        return
    from rich.console import Console

    Console().print(report)


if __name__ == "__main__":
    sys.exit(main())
