"""atalla-compile: a PyTorch model becomes a loadable.

Exit status: 0 success, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from atalla_mlir.errors import BadInputError
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.tools import command_line, model_argument
from atalla_mlir.tools.array_files import write_arrays

if TYPE_CHECKING:
    from atalla_mlir.frontend.entry_points import NamedPlan
    from atalla_mlir.frontend.partition import Plan
    from atalla_mlir.loadable.format import Loadable

PROGRAM = "atalla-compile"

_STAGE_NAMES = ("capture", "partition", "import", "legalize", "fuse", "tile", "place", "lower", "schedule")

_EXAMPLES = f"""\
examples:
  atalla-compile zoo:mlp -o mlp.atalla
  atalla-compile zoo:mlp --arg hidden=256 --stop-after=import
  atalla-compile zoo:mlp --stop-after=schedule -o packets.mlir --parameters weights.npz
  atalla-compile zoo:mlp --entry one:batch=1 --entry many:batch=8 -o mlp.atalla
  atalla-compile my_model.py:build --strict --json -
  atalla-compile --list-models

{command_line.EXIT_STATUS_HELP}
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
    parser = command_line.Parser(PROGRAM, "Compile a PyTorch model for the Ax01.", _EXAMPLES)
    parser.add_argument("model", nargs="?", help=model_argument.HELP)
    parser.add_argument("-o", dest="output", metavar="FILE", help="the loadable (default NAME.atalla), - is stdout")
    add_model_options(parser)
    parser.add_argument(
        "--entry",
        action="append",
        default=[],
        metavar="NAME[:ARG=VALUE,...]",
        help="an entry point for the inputs that the model's factory makes with these arguments; repeat for more",
    )
    stages = f"print what a stage leaves: {', '.join(_STAGE_NAMES)}"
    parser.add_argument("--stop-after", metavar="STAGE", help=stages)
    parser.add_argument(
        "--parameters", metavar="FILE.npz", help="with --stop-after: write the parameters, for atalla-translate"
    )
    parser.add_argument("--mlir-print-debuginfo", action="store_true", help="print locations with --stop-after")
    parser.add_argument("--coverage", action="store_true", help="print every operation and where it runs")
    parser.add_argument("--json", metavar="FILE", help="write the summary and the coverage as JSON, - is stdout")
    parser.add_argument("--list-models", action="store_true", help="the models of the zoo")
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options of every tool that compiles a model."""
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE", help="an argument of the model")
    parser.add_argument("--seed", type=int, help="seed of weights and example inputs (default 0)")
    parser.add_argument("--strict", action="store_true", help="fail when an operation would run on the host")
    parser.add_argument("--no-fuse", action="store_true", help="make every operation a kernel of its own")
    parser.add_argument("--decisions", action="store_true", help="print what was chosen for each kernel")
    parser.add_argument("--fix-decisions", metavar="FILE.json", help="rules that fix choices; see docs/decisions.md")
    parser.add_argument("--no-chains", action="store_true", help="make no two products one kernel")
    parser.add_argument("--no-ahead", action="store_true", help="let no kernel fetch parameters for the next one")
    parser.add_argument(
        "--images",
        choices=("worth", "always", "never"),
        default="worth",
        help="values between kernels that stay in the pads where they fit (default: those that are worth it)",
    )
    parser.add_argument("--no-cache", action="store_true", help="neither use nor keep compiled kernels on disk")
    parser.add_argument("--machine", metavar="SET", help="machine parameter set (default ax01)")
    parser.add_argument("--debug", action="store_true", help="show Python tracebacks of errors")
    parser.add_argument("--version", action="store_true", help="the versions that matter")


def _main(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    if options.version:
        from atalla_mlir.tools.versions import versions

        print(versions(PROGRAM))
        return command_line.SUCCESS
    if options.list_models:
        from atalla_mlir import zoo

        print("\n".join(zoo.describe(name) for name in zoo.names()))
        return command_line.SUCCESS
    if options.model is None:
        raise command_line.UsageError("a model is missing")
    if options.output == "-" and options.json == "-":
        raise command_line.UsageError("-o - and --json - both want stdout")
    if options.decisions and options.stop_after is not None:
        raise command_line.UsageError("--decisions is about a loadable, which --stop-after does not make")
    if options.stop_after is not None and options.stop_after not in _STAGE_NAMES:
        stages = ", ".join(_STAGE_NAMES)
        raise command_line.UsageError(f"no stage '{options.stop_after}'; the stages are {stages}")
    if options.parameters is not None and options.stop_after is None:
        raise command_line.UsageError("--parameters goes with --stop-after: a loadable holds its parameters")
    return _compile(options)


def _compile(options: argparse.Namespace) -> int:
    from atalla_mlir.frontend.entry_points import plan_entries
    from atalla_mlir.target.machine import AX01, machine

    target = machine(options.machine or AX01.name)
    with command_line.progress() as say:
        say("loading")
        arguments = model_argument.parse_factory_arguments(options.arg)
        seed = options.seed or 0
        if options.entry:
            loaded = model_argument.load_entries(options.model, arguments, options.entry, seed=seed)
        else:
            loaded = model_argument.load_model(options.model, arguments, seed=seed)
        say(f"capturing {loaded.name}")
        plans = plan_entries(loaded.model, loaded.entry_points(), strict=options.strict)
        if options.stop_after is None:
            from atalla_mlir import compiler

            say(f"compiling {loaded.name}")
            passes = compiler.Timing()
            loadable = compiler.compile_plans(
                plans,
                machine=target,
                fuse=not options.no_fuse,
                chains=not options.no_chains,
                ahead=not options.no_ahead,
                images=options.images,
                cache=not options.no_cache,
                decisions=fixed_decisions(options),
                timing=passes,
            )
    if options.stop_after is not None:
        write_text(options.output or "-", _stage(plans, target, options))
        if options.parameters is not None:
            from atalla_mlir.frontend.metadata import device_parameters

            read = {name: value for named in plans for name, value in device_parameters(named.plan).items()}
            write_arrays(options.parameters, read)
        return command_line.SUCCESS
    return _finish(options, loaded.name, loadable, passes.seconds())


def _stage(plans: Sequence[NamedPlan], target: Any, options: argparse.Namespace) -> str:
    """What `--stop-after` prints."""
    if options.stop_after == "capture":
        return _by_entry_point(plans, lambda plan: str(plan.captured.graph))
    if options.stop_after == "partition":
        return _by_entry_point(plans, plan_text)
    from atalla_mlir import pipeline
    from atalla_mlir.frontend.lower import import_plans

    module = import_plans([named.plan for named in plans])
    rules = json.dumps(fixed_decisions(options)) if options.fix_decisions is not None else ""
    chosen = pipeline.Options(
        machine=target,
        fuse=not options.no_fuse,
        chains=not options.no_chains,
        ahead=not options.no_ahead,
        images=options.images,
        decisions=rules,
    )
    pipeline.lower_module(module, chosen, stop_after=options.stop_after)
    return module.operation.get_asm(enable_debug_info=options.mlir_print_debuginfo)


def _by_entry_point(plans: Sequence[NamedPlan], text: Callable[[Plan], str]) -> str:
    """The text of the only plan, or those of all under the names of their entry points."""
    if len(plans) == 1:
        return text(plans[0].plan)
    return "\n\n".join(f"{named.name}:\n{text(named.plan)}" for named in plans)


def plan_text(plan: Plan) -> str:
    """The steps of a plan, one to a line, and below them the coverage table."""
    from atalla_mlir.frontend.coverage import coverage
    from atalla_mlir.frontend.partition import DeviceStep

    lines: list[str] = []
    for step in plan.steps:
        if isinstance(step, DeviceStep):
            nodes = " ".join(node.name for node in step.nodes)
            lines.append(f"device {step.entry}({', '.join(step.inputs)}) -> {', '.join(step.outputs)}: {nodes}")
        else:
            lines.append(f"host {step.node.name} = {step.node.target}: {step.reason}")
    return "\n".join([*lines, "", str(coverage(plan))])


def _finish(options: argparse.Namespace, name: str, loadable: Loadable, seconds: Mapping[str, float]) -> int:
    from atalla_mlir.frontend.coverage import Coverage
    from atalla_mlir.loadable.writer import write_loadable
    from atalla_mlir.runtime.entry_points import entry_points

    data = write_loadable(loadable)
    output = options.output or f"{name}.atalla"
    if output == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    else:
        Path(output).write_bytes(data)
    points = entry_points(loadable.meta).values()
    coverage = Coverage.from_json([row for point in points for row in point.part("coverage")])
    if options.json is not None:
        described = {**_summary(loadable, data), "compile_seconds": dict(seconds), "coverage": coverage.to_json()}
        write_text(options.json, json.dumps(described, indent=2))
    if options.decisions and output != "-" and options.json != "-":
        print_decisions(loadable)
    if output != "-" and options.json != "-":
        print(_report(output, loadable, data, str(coverage) if options.coverage else coverage.summary()))
    return command_line.SUCCESS


def _summary(loadable: Loadable, data: bytes) -> dict[str, Any]:
    code = sum(segment.size for segment in loadable.code_segments)
    constants = sum(len(segment.data) for segment in loadable.data_segments)
    return {
        "machine": loadable.machine_name,
        "entries": [entry.name for entry in loadable.entries],
        "kernels": len(loadable.meta["kernels"]),
        "packets": code // PACKET_BYTES,
        "code_bytes": code,
        "constant_bytes": constants,
        "file_bytes": len(data),
        "dram_bytes": loadable.dram_size,
    }


def _report(output: str, loadable: Loadable, data: bytes, coverage: str) -> str:
    numbers = _summary(loadable, data)
    return (
        f"{coverage}\n"
        f"{output}: {numbers['file_bytes']} bytes for {numbers['machine']}, {numbers['kernels']} kernels in "
        f"{len(numbers['entries'])} entry points, {numbers['packets']} packets, "
        f"{numbers['constant_bytes']} bytes of constants"
    )


def fixed_decisions(options: argparse.Namespace) -> list[Any]:
    """The rules of `--fix-decisions`."""
    if options.fix_decisions is None:
        return []
    try:
        rules = json.loads(Path(options.fix_decisions).read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInputError(f"cannot read {options.fix_decisions}: {reason}") from error
    except ValueError as error:
        raise BadInputError(f"{options.fix_decisions} is no JSON: {error}") from error
    if not isinstance(rules, list):
        raise BadInputError(f"{options.fix_decisions}: decisions are a list of rules, not a {type(rules).__name__}")
    return cast("list[Any]", rules)


def print_decisions(loadable: Loadable) -> None:
    """What was chosen for each kernel launch, a paragraph for each."""
    from atalla_mlir.runtime.decisions import decisions_text

    print(decisions_text(loadable))


def write_text(path: str, text: str) -> None:
    """Write `text` to a file, or to stdout for `-`."""
    if path == "-":
        print(text)
        return
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


if __name__ == "__main__":
    sys.exit(main())
