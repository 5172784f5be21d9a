from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from atalla_mlir.passes.diagnostics import Diagnostic
from atalla_mlir.tools import atalla_opt
from atalla_mlir.tools.expected_diagnostics import Expectation, differences, expectations

SOURCE = "func.func @f(%a: i32) -> i32 {\n  %0 = arith.addi %a, %a : i32\n  return %0 : i32\n}\n"


def _run(*arguments: str, source: str = SOURCE) -> tuple[int, str, str]:
    output, errors = io.StringIO(), io.StringIO()
    status = atalla_opt.main(arguments, io.StringIO(source), output, errors)
    return status, output.getvalue(), errors.getvalue()


def test_command_in_a_process_of_its_own() -> None:
    """The real tool with real pipes; PyTorch stays out."""
    program = (
        "import sys; from atalla_mlir.tools.atalla_opt import main; status = main();"
        "sys.stderr.write(str('torch' in sys.modules)); sys.exit(status)"
    )
    command = [sys.executable, "-c", program, "--cse", "-"]
    finished = subprocess.run(command, input=SOURCE, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "False")
    assert "arith.addi" in finished.stdout


def test_exit_status() -> None:
    assert _run()[0] == 0
    assert _run(source="nonsense")[0] == 1
    assert _run("--no-such-option")[0] == 2


def test_failed_input_writes_nothing() -> None:
    status, output, errors = _run(source="func.func @f() -> i32 { return }")
    assert (status, output) == (1, "")
    assert errors == "-:1:25: error: 'func.return' op has 0 operands, but enclosing function (@f) returns 1\n"


def test_output_file_is_written_only_on_success(tmp_path: Path) -> None:
    file = tmp_path / "out.mlir"
    assert _run("-o", str(file), source="nonsense")[0] == 1
    assert not file.exists()
    assert _run("-o", str(file))[0] == 0
    assert "arith.addi" in file.read_text()


def test_binary_that_is_no_bytecode(tmp_path: Path) -> None:
    file = tmp_path / "damaged.mlir"
    file.write_bytes(b"\xff\xfe\x00")
    status, _, errors = _run(str(file))
    assert status == 1
    assert errors.startswith(f"atalla-opt: error: '{file}' is neither text nor bytecode: ")


def test_debug_shows_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    arguments = ("--load-pass-plugin=atalla_mlir.testing.passes", "--test-fail=how=bug")
    assert "Traceback" not in _run(*arguments)[2]
    assert "KeyError: 'lost'" in _run(*arguments, "--debug")[2]
    assert "Traceback" in _run(*arguments, "--debug")[2]


def test_passes_as_options_run_in_order() -> None:
    status, _, errors = _run("--symbol-dce", "--canonicalize", "--cse", "--mlir-print-ir-after-all")
    titles = [line.split()[5] for line in errors.splitlines() if "IR Dump" in line]
    assert (status, titles) == (0, ["symbol-dce", "canonicalize", "cse"])


def test_function_pass_as_option_is_nested() -> None:
    status, _, errors = _run(
        "--load-pass-plugin=atalla_mlir.testing.passes", "--test-function", "--mlir-print-ir-after-all"
    )
    assert status == 0
    assert "IR Dump After test-function ('func.func' operation: @f)" in errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a // expected-error {{m}}", Expectation("error", 1, "m", False)),
        ("\n// expected-error@-1 {{m}}", Expectation("error", 1, "m", False)),
        ("// expected-warning@+2{{m}}", Expectation("warning", 3, "m", False)),
        ("// expected-note @below {{m}}", Expectation("note", 2, "m", False)),
        ("\n// expected-remark-re@above {{m.*}}", Expectation("remark", 1, "m.*", True)),
        ("// expected-error@unknown {{m}}", Expectation("error", None, "m", False)),
    ],
)
def test_expectations(text: str, expected: Expectation) -> None:
    assert expectations(text) == [expected]


def test_each_expectation_is_met_once() -> None:
    diagnostic = Diagnostic("error", "a message", "-", 1, 2)
    text = "// expected-error {{message}}"
    assert differences(text, [diagnostic]) == []
    assert differences(text, [diagnostic, diagnostic]) == [
        Diagnostic("error", "unexpected error: a message", "-", 1, 2)
    ]
    assert differences(text, []) == [Diagnostic("error", 'expected error "message" was not produced', "-", 1, 1)]


def test_notes_need_no_expectation_but_can_have_one() -> None:
    note = Diagnostic("note", "here", "-", 1, 1)
    diagnostic = Diagnostic("error", "m", "-", 2, 1, (note,))
    assert differences("\n// expected-error {{m}}", [diagnostic]) == []
    assert differences("// expected-note {{here}}\n// expected-error {{m}}", [diagnostic]) == []
