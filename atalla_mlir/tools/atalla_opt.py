"""atalla-opt: run passes on IR and show the result.

Exit status: 0 success, 1 the input or a pass failed (or --verify-diagnostics found a difference), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TextIO

from atalla_mlir import _mlir, passes
from atalla_mlir._mlir import PassManager, ir
from atalla_mlir.errors import AtallaError, BadInputError
from atalla_mlir.passes.diagnostics import Diagnostic, of_mlir_error
from atalla_mlir.passes.instrumentation import Instrumentation, Timing
from atalla_mlir.passes.manager import PipelineFailure, check_pipeline, run_pipeline
from atalla_mlir.tools import opt_listings
from atalla_mlir.tools.expected_diagnostics import differences

PROGRAM = "atalla-opt"
BYTECODE_MAGIC = b"ML\xefR"
_SPLIT_MARK = re.compile(r"^// -----.*\n?", re.MULTILINE)

_EXAMPLES = """\
examples:
  atalla-opt model.mlir --pass-pipeline='builtin.module(canonicalize,func.func(cse))'
  atalla-opt model.mlir --canonicalize --cse --mlir-print-ir-after-change
  atalla-opt - --list-passes

Passes, ours and upstream's, may also be given as options, which run in order: --NAME or --NAME='x=1 y=2'.
exit status: 0 success, 1 the input or a pass failed, 2 wrong usage
"""


class _UsageError(Exception):
    """The command line is wrong."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _UsageError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Run passes on IR and print the result.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("input", nargs="?", default="-", help="file with IR or bytecode, - is stdin (default)")
    parser.add_argument("-o", dest="output", default="-", metavar="FILE", help="output, - is stdout (default)")
    parser.add_argument("--pass-pipeline", metavar="TEXT", help="the passes, as builtin.module(...)")
    parser.add_argument("--load-pass-plugin", action="append", default=[], metavar="MODULE", help="import more passes")
    parser.add_argument("--split-input-file", action="store_true", help="process the parts between // ----- apart")
    parser.add_argument("--verify-diagnostics", action="store_true", help="check expected-error annotations")
    parser.add_argument("--allow-unregistered-dialect", action="store_true", help="accept unknown dialects")
    parser.add_argument("--emit-bytecode", action="store_true", help="write bytecode")
    parser.add_argument("--no-verify-each", action="store_true", help="do not verify after each pass")
    printing = parser.add_argument_group("printing (IR dumps go to stderr)")
    for when in ("before", "after"):
        option = f"--mlir-print-ir-{when}"
        printing.add_argument(option, action="append", default=[], metavar="PASS", help=f"print {when} this pass")
        printing.add_argument(f"{option}-all", action="store_true", help=f"print {when} every pass")
    printing.add_argument("--mlir-print-ir-after-change", action="store_true", help="print after passes that change it")
    printing.add_argument("--mlir-print-ir-module-scope", action="store_true", help="always print the whole module")
    printing.add_argument("--mlir-print-op-generic", action="store_true", help="print the generic form")
    printing.add_argument("--mlir-print-debuginfo", action="store_true", help="print locations")
    printing.add_argument("--mlir-elide-elementsattrs-if-larger", type=int, metavar="N", help="elide larger constants")
    printing.add_argument("--mlir-timing", action="store_true", help="print the time per pass")
    information = parser.add_argument_group("information")
    information.add_argument("-h", "--help", action="store_true", help="this text")
    information.add_argument("--version", action="store_true", help="versions")
    information.add_argument("--list-passes", action="store_true", help="our passes with their options")
    information.add_argument("--show-dialects", action="store_true", help="dialects that can be read")
    information.add_argument("--debug", action="store_true", help="show Python tracebacks of errors")
    return parser


def main(
    argv: Sequence[str] | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run the tool with `argv` (default: the process's) on the given streams; the exit status."""
    errors = stderr or sys.stderr
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments, stdin or sys.stdin, stdout or sys.stdout, errors)
    except _UsageError as error:
        print(f"{PROGRAM}: error: {error}; see {PROGRAM} --help", file=errors)
        return 2
    except BrokenPipeError:
        return 1
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc(file=errors)
        kind = "" if isinstance(error, (AtallaError, OSError)) else f"internal error: {type(error).__name__}: "
        print(f"{PROGRAM}: error: {kind}{error}", file=errors)
        return 1


def _run(arguments: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    parser = _parser()
    # upstream's tools take long options with one dash too
    normal = [re.sub(r"^-(?=[a-z][\w-]+(=|$))", "--", argument, flags=re.DOTALL) for argument in arguments]
    options, rest = parser.parse_known_args(normal)
    for module in options.load_pass_plugin:
        passes.load_plugin(module)
    information = _information(options, parser)
    if information is not None:
        print(information, file=stdout)
        return 0
    with _mlir.context(allow_unregistered_dialects=options.allow_unregistered_dialect):
        pipeline = _pipeline(options, rest, parser)
        check_pipeline(pipeline)
    job = _Job(options, pipeline, stderr)
    result = job.process(_read(options.input, stdin))
    if not options.verify_diagnostics and (not job.failed or options.split_input_file):
        _write(options.output, stdout, result)
    if job.timing is not None:
        print(job.timing.table(), file=stderr)
    return 1 if job.failed else 0


def _information(options: argparse.Namespace, parser: argparse.ArgumentParser) -> str | None:
    if options.help:
        return parser.format_help().rstrip("\n")
    if options.version:
        return opt_listings.versions(PROGRAM)
    if options.list_passes:
        return opt_listings.passes_table()
    return f"Available Dialects: {', '.join(_mlir.dialect_names())}" if options.show_dialects else None


def _pipeline(options: argparse.Namespace, rest: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """The pipeline of --pass-pipeline, or of the options that are pass names. Needs a current context."""
    if rest and options.pass_pipeline is not None:
        raise _UsageError(f"unexpected '{rest[0]}' beside --pass-pipeline")
    if options.pass_pipeline is not None:
        return options.pass_pipeline
    return f"builtin.module({','.join(_element(argument) for argument in rest)})"


def _element(argument: str) -> str:
    """The pipeline element that `--NAME` or `--NAME=OPTIONS` stands for, nested if the pass is one for functions."""
    name, has_options, text = argument.removeprefix("--").partition("=")
    element = f"{name}{{{text}}}" if has_options else name
    if not argument.startswith("--"):
        raise _UsageError(f"unexpected argument '{argument}'")
    if passes.is_pass(name):
        anchor = passes.find_pass(name).anchor
        return element if anchor in ("any", "builtin.module") else f"{anchor}({element})"
    for anchor, pattern in (("builtin.module", "{}"), ("func.func", "func.func({})")):
        try:
            PassManager(anchor).add(name)
        except ValueError:
            continue
        return pattern.format(element)
    raise _UsageError(f"no option or pass '{argument}'")


def _read(path: str, stdin: TextIO) -> str | bytes:
    if path == "-":
        raw = stdin.buffer.read() if hasattr(stdin, "buffer") else stdin.read()
    else:
        try:
            raw = Path(path).read_bytes()
        except OSError as error:
            raise BadInputError(f"cannot read '{path}': {error.strerror}") from error
    if isinstance(raw, str) or raw.startswith(BYTECODE_MAGIC):
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadInputError(f"'{path}' is neither text nor bytecode: {error}") from error


def _write(path: str, stdout: TextIO, result: str | bytes) -> None:
    raw = result.encode() if isinstance(result, str) else result
    if path != "-":
        Path(path).write_bytes(raw)
    elif hasattr(stdout, "buffer"):
        stdout.flush()
        stdout.buffer.write(raw)
        stdout.buffer.flush()
    elif isinstance(result, str):
        stdout.write(result)
    else:
        raise BadInputError("bytecode cannot be written to a text stream, use -o")


@dataclass
class _Job:
    """One invocation: the parts of the input go through `pipeline` one by one."""

    options: argparse.Namespace
    pipeline: str
    stderr: TextIO
    failed: bool = False
    timing: Timing | None = field(init=False)

    def __post_init__(self) -> None:
        self.timing = Timing() if self.options.mlir_timing else None

    def process(self, source: str | bytes) -> str | bytes:
        if isinstance(source, bytes) or not self.options.split_input_file:
            return self._part(source) or ""
        outputs: list[str] = []
        for part in _split(source):
            output = self._part(part)
            if isinstance(output, str):
                outputs.append(output)
        return "// -----\n".join(outputs)

    def _part(self, source: str | bytes) -> str | bytes | None:
        """The output for one part of the input, None when it failed."""
        found: list[Diagnostic] = []
        output = self._transform(source, found)
        if self.options.verify_diagnostics:
            text = "" if isinstance(source, bytes) else source
            wrong = differences(text, found)
            self.failed |= bool(wrong)
            found = wrong
        for diagnostic in found:
            print(self._named(str(diagnostic)), file=self.stderr)
        return output

    def _transform(self, source: str | bytes, found: list[Diagnostic]) -> str | bytes | None:
        with _mlir.context(allow_unregistered_dialects=self.options.allow_unregistered_dialect):
            try:
                module = ir.Module.parse(source)
                run_pipeline(module, self.pipeline, self._instrumentation(found))
            except ir.MLIRError as error:
                found.extend(of_mlir_error(error))
            except PipelineFailure as failure:
                self._report_failure(failure, found)
            else:
                return self._output(module)
        self.failed |= not self.options.verify_diagnostics
        return None

    def _report_failure(self, failure: PipelineFailure, found: list[Diagnostic]) -> None:
        found.extend(failure.diagnostics)
        if self.options.verify_diagnostics:
            return
        if self.options.debug and failure.__cause__ is not None:
            traceback.print_exception(failure.__cause__, file=self.stderr)
        message = f"pass '{failure.pass_name}' failed"
        found.append(Diagnostic("note", f"{message}; reproduce with: {failure.command}"))

    def _instrumentation(self, found: list[Diagnostic]) -> Instrumentation:
        options = self.options
        return Instrumentation(
            verify=not options.no_verify_each,
            reproducer=not options.verify_diagnostics,
            print_before=_names(options.mlir_print_ir_before),
            print_after=_names(options.mlir_print_ir_after),
            print_before_all=options.mlir_print_ir_before_all,
            print_after_all=options.mlir_print_ir_after_all,
            print_after_change=options.mlir_print_ir_after_change,
            print_module_scope=options.mlir_print_ir_module_scope,
            print_generic=options.mlir_print_op_generic,
            print_locations=options.mlir_print_debuginfo,
            timing=self.timing,
            stream=self.stderr,
            on_diagnostic=found.append,
        )

    def _output(self, module: ir.Module) -> str | bytes:
        if self.options.emit_bytecode:
            return _mlir.bytecode(module)
        text = module.operation.get_asm(
            enable_debug_info=self.options.mlir_print_debuginfo,
            print_generic_op_form=self.options.mlir_print_op_generic,
            large_elements_limit=self.options.mlir_elide_elementsattrs_if_larger,
        )
        return f"{str(text).rstrip()}\n"

    def _named(self, text: str) -> str:
        """MLIR calls the input "-" in locations."""
        if self.options.input == "-":
            return text
        return re.sub(r"^-:(?=\d+:\d+: )", lambda _: f"{self.options.input}:", text, flags=re.MULTILINE)


def _split(text: str) -> list[str]:
    """The parts between `// -----` lines, each after so many empty lines that its line numbers are the file's."""
    parts: list[str] = []
    start = 0
    for mark in (*_SPLIT_MARK.finditer(text), None):
        end = len(text) if mark is None else mark.start()
        parts.append("\n" * text.count("\n", 0, start) + text[start:end])
        start = end if mark is None else mark.end()
    return parts


def _names(values: Sequence[str]) -> frozenset[str]:
    return frozenset(name for value in values for name in value.split(","))


if __name__ == "__main__":
    sys.exit(main())
