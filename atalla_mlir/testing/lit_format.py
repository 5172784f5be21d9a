"""A lit format that runs our tools and filecheck inside the lit worker.

Starting Python and loading MLIR for each stage of each RUN line costs 0.4 s of CPU a test, running them as functions
0.025 s. What it understands: pipes between the tools of `TOOLS` and filecheck, `not` before a stage, `2>&1`, `2> FILE`,
`> FILE` and `< FILE` with quoted arguments. A test with anything else is left to lit's own shell, so that every test
also runs unchanged under plain `ShTest`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lit.formats
import lit.Test
import lit.TestRunner

TOOLS = {
    "atalla-compile": "atalla_mlir.tools.atalla_compile",
    "atalla-opt": "atalla_mlir.tools.atalla_opt",
    "atalla-run": "atalla_mlir.tools.atalla_run",
    "atalla-translate": "atalla_mlir.tools.atalla_translate",
}
"""Modules whose `main(argv, stdin, stdout, stderr)` is the tool."""

_LINE_MARK = re.compile(r"%dbg\([^)]*\)\s*")
_PUNCTUATION = "|&;<>"


class NotSupportedError(Exception):
    """A RUN line needs a real shell."""


@dataclass
class Stage:
    """One program of a pipeline."""

    argv: list[str]
    expect_failure: bool = False
    errors_to_output: bool = False
    input_file: str | None = None
    output_file: str | None = None
    errors_file: str | None = None


class InProcessTest(lit.formats.ShTest):
    """`ShTest` that runs what it can in this process."""

    def __init__(self) -> None:
        super().__init__(execute_external=False)

    def execute(self, test: Any, litConfig: Any) -> Any:  # noqa: N803 (lit's name)
        script: Any = lit.TestRunner.parseIntegratedTestScript(test)
        if isinstance(script, lit.Test.Result):
            return script
        try:
            pipelines = [parse_pipeline(line) for line in _expand(test, script)]
        except NotSupportedError:
            return super().execute(test, litConfig)
        log = io.StringIO()
        with _temporary_files_in(lit.TestRunner.getTempPaths(test)[0]):
            passed = all(run_pipeline(pipeline, log) for pipeline in pipelines)
        return lit.Test.Result(lit.Test.PASS if passed else lit.Test.FAIL, log.getvalue())


@contextlib.contextmanager
def _temporary_files_in(directory: str) -> Iterator[None]:
    """Reproducers of failures that a test provokes belong to its output."""
    outer, tempfile.tempdir = tempfile.tempdir, directory
    try:
        yield
    finally:
        tempfile.tempdir = outer


def _expand(test: Any, script: Sequence[Any]) -> list[str]:
    """The command lines with %s, %t and so on replaced, as lit does it."""
    directory, base = lit.TestRunner.getTempPaths(test)
    Path(directory).mkdir(parents=True, exist_ok=True)
    substitutions = lit.TestRunner.getDefaultSubstitutions(test, directory, base)
    lines = [_LINE_MARK.sub("", getattr(line, "command", line)) for line in script]
    return lit.TestRunner.applySubstitutions(lines, substitutions)


def parse_pipeline(line: str) -> list[Stage]:
    """The stages of a command line; NotSupportedError when it holds something that is not understood here."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=_PUNCTUATION)
    lexer.whitespace_split = True
    lexer.commenters = ""
    tokens = list(lexer)
    stages = [Stage([])]
    while tokens:
        token = tokens.pop(0)
        if token == "|":
            stages.append(Stage([]))
        elif token == "2" and tokens[:2] == [">&", "1"]:
            del tokens[:2]
            stages[-1].errors_to_output = True
        elif token == "2" and tokens[:1] == [">"]:
            stages[-1].errors_file = _take_file(tokens[1:])
            del tokens[:2]
        elif token == "<":
            stages[-1].input_file = _take_file(tokens)
            del tokens[:1]
        elif token == ">":
            stages[-1].output_file = _take_file(tokens)
            del tokens[:1]
        elif not token.strip(_PUNCTUATION):
            raise NotSupportedError(token)
        elif token == "not" and not stages[-1].argv:
            stages[-1].expect_failure = True
        else:
            stages[-1].argv.append(token)
    for stage in stages:
        if not stage.argv or stage.argv[0] not in (*TOOLS, "filecheck"):
            raise NotSupportedError(line)
    return stages


def _take_file(tokens: Sequence[str]) -> str:
    if not tokens or not tokens[0].strip(_PUNCTUATION):
        raise NotSupportedError("redirection without a file")
    return tokens[0]


def run_pipeline(stages: Sequence[Stage], log: io.StringIO) -> bool:
    """Run the stages, each on the output of the one before; whether all did what they should."""
    data, passed = b"", True
    for stage in stages:
        if stage.input_file is not None:
            data = Path(stage.input_file).read_bytes()
        status, data, errors = _run_stage(stage, data)
        if stage.output_file is not None:
            Path(stage.output_file).write_bytes(data)
            data = b""
        if stage.errors_file is not None:
            Path(stage.errors_file).write_text(errors)
        passed &= (status != 0) == stage.expect_failure
        log.write(f"$ {'not ' * stage.expect_failure}{shlex.join(stage.argv)}\n{errors}[exit status {status}]\n")
    return passed


def _run_stage(stage: Stage, data: bytes) -> tuple[int, bytes, str]:
    """Exit status, output and error text of one program."""
    output = io.BytesIO()
    out = io.TextIOWrapper(output, encoding="utf-8", write_through=True)
    err = out if stage.errors_to_output else io.StringIO()
    stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
    program, *arguments = stage.argv
    run = _filecheck if program == "filecheck" else _tool(TOOLS[program])
    # what the stage prints past its streams, for example a warning, belongs to it as well
    with contextlib.redirect_stderr(err):
        try:
            status = run(arguments, stdin, out, err)
        except SystemExit as exit_request:
            status = exit_request.code if isinstance(exit_request.code, int) else 1
    out.flush()
    return status, output.getvalue(), err.getvalue() if isinstance(err, io.StringIO) else ""


def _tool(module: str) -> Callable[..., int]:
    return importlib.import_module(module).main


def _filecheck(arguments: Sequence[str], stdin: Any, stdout: Any, stderr: Any) -> int:
    from filecheck.matcher import Matcher
    from filecheck.options import parse_argv_options

    options = parse_argv_options(["filecheck", *arguments])
    outer, sys.stdin = sys.stdin, stdin
    try:
        matcher = Matcher.from_opts(options)
    finally:
        sys.stdin = outer
    matcher.stderr = stderr
    return matcher.run()
