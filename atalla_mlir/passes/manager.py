"""Running pipelines that mix our passes and upstream's at any nesting.

Upstream's pass manager cannot name passes written in Python, so the nesting is done here: each upstream pass becomes a
pass manager of its own for the operation that it is nested in, and both kinds are run, observed and verified alike.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from atalla_mlir._mlir import PassManager, ir
from atalla_mlir.errors import AtallaError, BadInputError, InternalError
from atalla_mlir.passes import find_pass, is_pass, plugin_arguments
from atalla_mlir.passes.base import Pass, PassFailure, with_options
from atalla_mlir.passes.diagnostics import Diagnostic, of_mlir_error
from atalla_mlir.passes.instrumentation import Instrumentation
from atalla_mlir.passes.pipeline_text import Element, PipelineError, parse, parse_options

__all__ = ["PipelineError", "PipelineFailure", "check_pipeline", "run_pipeline"]

ANY = "any"


class PipelineFailure(AtallaError):  # noqa: N818 (as PassFailure)
    """A pass failed.

    `diagnostics` say why; `command` is the shell command that shows the failure again, or None when no reproducer was
    asked for. The cause (`__cause__`) is the exception that the pass raised, if it did.
    """

    def __init__(
        self, pass_name: str, diagnostics: Sequence[Diagnostic], category: str, command: str | None = None
    ) -> None:
        self.pass_name = pass_name
        self.diagnostics = tuple(diagnostics)
        self.category = category
        self.command = command
        lines = [f"pass '{pass_name}' failed", *map(str, self.diagnostics)]
        if command is not None:
            lines.append(f"reproduce with: {command}")
        super().__init__("\n".join(lines))


def run_pipeline(
    module: ir.Module | ir.Operation | ir.OpView, text: str, instrumentation: Instrumentation | None = None
) -> None:
    """Run the pipeline `text` on `module`, in place.

    `text` is `builtin.module(...)`, or the part between the parentheses. PipelineError: the text is wrong (nothing was
    run); PipelineFailure: a pass failed (the IR is in whatever state it left).
    """
    root = module.operation
    with root.context:
        steps = _compile(text, root.name)
        _Run(root, instrumentation or Instrumentation()).top_level(steps)


def check_pipeline(text: str, anchor: str = "builtin.module") -> None:
    """Raise PipelineError if `text` is not a pipeline for operations called `anchor`. Needs a current context."""
    _compile(text, anchor)


# A compiled pipeline: a tree of nests with passes as leaves


@dataclass(frozen=True)
class _PythonPass:
    element: Element
    instance: Pass


@dataclass(frozen=True)
class _UpstreamPass:
    element: Element
    manager: PassManager


@dataclass(frozen=True)
class _Nest:
    element: Element
    steps: tuple[_Step, ...]


_Step = _PythonPass | _UpstreamPass | _Nest


def _compile(text: str, anchor: str) -> tuple[_Step, ...]:
    elements = parse(text)
    if len(elements) == 1 and elements[0].name == anchor and elements[0].nested is not None:
        elements = elements[0].nested
    return tuple(_compile_element(text, element, anchor) for element in elements)


def _compile_element(text: str, element: Element, anchor: str) -> _Step:
    if element.nested is not None:
        steps = (_compile_element(text, inner, element.name) for inner in element.nested)
        return _Nest(element, tuple(steps))
    if is_pass(element.name):
        return _PythonPass(element, _compile_python_pass(text, element, anchor))
    manager = PassManager(anchor)
    try:
        manager.add(str(element))
    except ValueError as error:
        raise PipelineError(text, element.position, _upstream_message(element, anchor, str(error))) from None
    # verification is done and timed by `_Run`, for both kinds of passes
    manager.enable_verifier(False)
    return _UpstreamPass(element, manager)


def _compile_python_pass(text: str, element: Element, anchor: str) -> Pass:
    try:
        instance = with_options(find_pass(element.name), parse_options(element.options or ""))
    except (BadInputError, ValueError) as error:
        raise PipelineError(text, element.position, str(error)) from None
    if instance.anchor not in (ANY, anchor):
        message = f"pass '{element.name}' runs on {instance.anchor}, not on {anchor}"
        hint = f"; write {instance.anchor}({element.name})" if anchor == "builtin.module" else ""
        raise PipelineError(text, element.position, message + hint)
    return instance


def _upstream_message(element: Element, anchor: str, report: str) -> str:
    """Upstream's report, which quotes the pipeline again, in one line of our words."""
    if "does not refer to a registered pass" in report:
        try:
            find_pass(element.name)
        except BadInputError as error:
            return str(error)
    if "restricted to" in report:
        return f"pass '{element.name}' does not run on {anchor}"
    first_line = report.strip().splitlines()[0]
    return f"pass '{element.name}': {first_line.removeprefix('<Pass-Options-Parser>: ')}"


class _Run:
    """One execution of a compiled pipeline on `root`."""

    def __init__(self, root: ir.Operation, instrumentation: Instrumentation) -> None:
        self._root = root
        self._instrumentation = instrumentation
        self._reported: list[Diagnostic] = []
        self._snapshot: ir.Operation | None = None
        """What the pipeline got."""
        self._begun: list[_Step] = []
        """Its elements, up to the one that runs."""

    def top_level(self, steps: tuple[_Step, ...]) -> None:
        # a copy costs 0.3 us per operation, so there is one; what else a reproducer needs waits until something fails
        self._snapshot = self._root.clone() if self._instrumentation.reproducer else None
        with self._diagnostics():
            for step in steps:
                self._begun.append(step)
                self._step(step, self._root)
            if self._instrumentation.verify and not self._instrumentation.verify_each and steps:
                with self._instrumentation.around_verifier():
                    self._verify(f"a pass up to {steps[-1].element.name}", self._root)

    def _step(self, step: _Step, op: ir.Operation) -> None:
        if not isinstance(step, _Nest):
            self._leaf(step, op)
            return
        for nested in _nested_operations(op, step.element.name):
            for inner in step.steps:
                self._step(inner, nested)

    def _leaf(self, step: _PythonPass | _UpstreamPass, op: ir.Operation) -> None:
        with self._instrumentation.around(step.element.name, op, self._root):
            self._execute(step, op)
        if self._instrumentation.verify and self._instrumentation.verify_each:
            with self._instrumentation.around_verifier():
                self._verify(step.element.name, op)

    def _execute(self, step: _PythonPass | _UpstreamPass, op: ir.Operation) -> None:
        name = step.element.name
        try:
            if isinstance(step, _PythonPass):
                with op.location:
                    step.instance.run(op)
            else:
                step.manager.run(op)
        except PassFailure as failure:
            notes = tuple(Diagnostic.at(place, "note", message) for place, message in failure.notes)
            diagnostic = Diagnostic.at(failure.location, "error", failure.message, notes)
            raise self._failure(name, [diagnostic], failure.category) from failure
        except ir.MLIRError as error:
            raise self._failure(name, of_mlir_error(error), PassFailure.category) from error
        except AtallaError as error:
            diagnostic = Diagnostic.at(op.location, "error", str(error))
            raise self._failure(name, [diagnostic], error.category) from error
        except Exception as error:  # a bug in the pass; told like a failure so that it can be reproduced
            diagnostic = Diagnostic.at(op.location, "error", f"{type(error).__name__}: {error}")
            raise self._failure(name, [diagnostic], InternalError.category) from error
        if any(diagnostic.severity == "error" for diagnostic in self._reported):
            raise self._failure(name, [], PassFailure.category)

    def _verify(self, name: str, op: ir.Operation) -> None:
        try:
            op.verify()
        except ir.MLIRError as error:
            name = f"{name} (verification after it)"
            raise self._failure(name, of_mlir_error(error), InternalError.category) from error

    def _failure(self, name: str, diagnostics: Sequence[Diagnostic], category: str) -> PipelineFailure:
        everything = [*self._reported, *diagnostics]
        return PipelineFailure(name, everything, category, self._reproducer())

    def _reproducer(self) -> str | None:
        """Write the input of the failing top-level element to a file of its own; the command that runs it again."""
        if self._snapshot is None:
            return None
        *done, failing = self._begun
        silent = Instrumentation(verify=False, reproducer=False, on_diagnostic=lambda _: None)
        _Run(self._snapshot, silent).top_level(tuple(done))
        descriptor, path = tempfile.mkstemp(prefix="atalla-reproducer-", suffix=".mlir")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(str(self._snapshot.get_asm(enable_debug_info=True)))
        flags = ["--allow-unregistered-dialect"] if self._root.context.allow_unregistered_dialects else []
        pipeline = f"--pass-pipeline={self._root.name}({failing.element})"
        return shlex.join(["atalla-opt", *plugin_arguments(), *flags, pipeline, path])

    @contextmanager
    def _diagnostics(self) -> Iterator[None]:
        """Collect the errors that passes report without raising; pass on warnings and remarks as they come."""

        def handle(diagnostic: ir.Diagnostic) -> bool:
            copy = Diagnostic.from_mlir(diagnostic)
            if copy.severity == "error":
                self._reported.append(copy)
            else:
                self._instrumentation.report(copy)
            return True

        handler = self._root.context.attach_diagnostic_handler(handle)
        try:
            yield
        finally:
            handler.detach()


def _nested_operations(op: ir.Operation, name: str) -> list[ir.Operation]:
    """The operations directly inside `op` that are called `name`."""
    blocks = (block for region in op.regions for block in region.blocks)
    children = (child.operation for block in blocks for child in block.operations)
    return [child for child in children if name in (ANY, child.name)]
