from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest

from atalla_mlir import _mlir, passes
from atalla_mlir._mlir import ir
from atalla_mlir.passes.base import PassFailure
from atalla_mlir.passes.diagnostics import Diagnostic
from atalla_mlir.passes.instrumentation import Instrumentation, Timing
from atalla_mlir.passes.manager import PipelineError, PipelineFailure, check_pipeline, run_pipeline
from atalla_mlir.tools import atalla_opt

SOURCE = """\
func.func @f(%a: i32) -> i32 {
  %0 = arith.addi %a, %a : i32
  %1 = arith.addi %a, %a : i32
  return %1 : i32
}
"""


@pytest.fixture(autouse=True)
def test_passes() -> None:
    passes.load_plugin("atalla_mlir.testing.passes")


@pytest.fixture
def module() -> ir.Module:
    return ir.Module.parse(SOURCE, _mlir.context())


def test_runs_in_place_with_or_without_anchor(module: ir.Module) -> None:
    run_pipeline(module, "builtin.module(test-mark{count=1})")
    run_pipeline(module.operation, "func.func(test-mark{count=2}),cse")
    text = str(module)
    assert "module attributes {test.count = 1" in text
    assert "attributes {test.count = 2" in text
    assert text.count("arith.addi") == 1


def test_nothing_runs_when_the_text_is_wrong(module: ir.Module) -> None:
    with pytest.raises(PipelineError) as caught:
        run_pipeline(module, "test-mark,no-such-pass")
    assert str(caught.value) == ("pass pipeline: no pass 'no-such-pass'\n  test-mark,no-such-pass\n            ^")
    assert caught.value.position == 10
    assert "test.count" not in str(module)


def test_check_needs_no_ir() -> None:
    with _mlir.context():
        check_pipeline("builtin.module(cse,func.func(test-function))")
        with pytest.raises(PipelineError, match=r"runs on func\.func, not on builtin\.module"):
            check_pipeline("builtin.module(test-function)")


def test_failure_tells_everything(module: ir.Module) -> None:
    with pytest.raises(PipelineFailure) as caught:
        run_pipeline(module, "func.func(test-fail)", Instrumentation(reproducer=False))
    failure = caught.value
    assert failure.pass_name == "test-fail"
    assert failure.category == "pass failed"
    note = Diagnostic("note", "in here", "-", 1, 1)
    assert failure.diagnostics == (Diagnostic("error", "addition is not supported", "-", 2, 8, (note,)),)
    assert str(failure) == ("pass 'test-fail' failed\n-:2:8: error: addition is not supported\n-:1:1: note: in here")
    assert isinstance(failure.__cause__, PassFailure)


def test_reproducer_repeats_the_failure(module: ir.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(PipelineFailure) as caught:
        run_pipeline(module, "cse,func.func(canonicalize,test-fail)")
    program, *arguments = shlex.split(caught.value.command or "")
    file = Path(arguments[-1])
    assert program == "atalla-opt"
    # the input of the failing element: cse has run already
    assert file.read_text().count("arith.addi") == 1
    errors = io.StringIO()
    assert atalla_opt.main(arguments, io.StringIO(), io.StringIO(), errors) == 1
    assert "error: addition is not supported" in errors.getvalue()


@pytest.mark.parametrize(
    ("how", "category", "message"),
    [
        ("failure", "pass failed", "addition is not supported"),
        ("emit", "pass failed", "addition is not supported"),
        ("limit", "limit exceeded", "12 KiB do not fit in 8 KiB"),
        ("bug", "internal error", "KeyError: 'lost'"),
        ("break", "internal error", "'func.func' op requires attribute 'function_type'"),
    ],
)
def test_kinds_of_failure(module: ir.Module, how: str, category: str, message: str) -> None:
    with pytest.raises(PipelineFailure) as caught:
        run_pipeline(module, f"func.func(test-fail{{how={how}}})", Instrumentation(reproducer=False))
    assert caught.value.category == category
    assert caught.value.diagnostics[0].message == message
    assert caught.value.command is None


def test_every_emitted_error_is_kept(module: ir.Module) -> None:
    with pytest.raises(PipelineFailure) as caught:
        run_pipeline(module, "func.func(test-fail{how=emit})", Instrumentation(reproducer=False))
    assert [diagnostic.line for diagnostic in caught.value.diagnostics] == [2, 3]


def test_upstream_failure_is_located() -> None:
    with _mlir.context() as context:
        module = ir.Module.parse(SOURCE, context)
        with pytest.raises(PipelineFailure, match="does not define a symbol table") as caught:
            run_pipeline(module, "func.func(inline)", Instrumentation(reproducer=False))
    assert caught.value.diagnostics[0].line == 1


def test_timing_counts_runs(module: ir.Module) -> None:
    timing = Timing()
    run_pipeline(module, "cse,func.func(cse,test-function)", Instrumentation(timing=timing))
    assert {name: runs for name, (_, runs) in timing.rows.items()} == {"cse": 2, "test-function": 1, "(verify)": 3}
    assert timing.table().splitlines()[-1].endswith("total")


def test_verification_once_for_a_pipeline(module: ir.Module) -> None:
    timing = Timing()
    once = Instrumentation(timing=timing, verify_each=False, reproducer=False)
    run_pipeline(module, "cse,func.func(cse,test-function)", once)
    assert timing.rows["(verify)"][1] == 1
    with pytest.raises(PipelineFailure) as caught:
        run_pipeline(module, "func.func(test-fail{how=break}),test-mark", once)
    assert caught.value.pass_name == "a pass up to test-mark (verification after it)"


def test_verification_can_be_left_out(module: ir.Module) -> None:
    run_pipeline(module, "func.func(test-fail{how=break})", Instrumentation(verify=False))
    with pytest.raises(ir.MLIRError):
        module.operation.verify()
