from __future__ import annotations

import io
from pathlib import Path

import pytest

from atalla_mlir.testing.lit_format import NotSupportedError, Stage, parse_pipeline, run_pipeline


def test_stages_and_redirections() -> None:
    line = "not atalla-opt 'a b' --x=\"c|d\" < in 2>&1 | filecheck f > out"
    assert parse_pipeline(line) == [
        Stage(["atalla-opt", "a b", "--x=c|d"], expect_failure=True, errors_to_output=True, input_file="in"),
        Stage(["filecheck", "f"], output_file="out"),
    ]
    assert parse_pipeline("atalla-opt 2> err") == [Stage(["atalla-opt"], errors_file="err")]


@pytest.mark.parametrize(
    "line", ["cat x | filecheck y", "atalla-opt a && atalla-opt b", "atalla-opt a ; filecheck b", "atalla-opt >", "| x"]
)
def test_what_needs_a_shell(line: str) -> None:
    with pytest.raises(NotSupportedError):
        parse_pipeline(line)


def test_status_decides(tmp_path: Path) -> None:
    source, checks = tmp_path / "a.mlir", tmp_path / "checks"
    source.write_text("func.func @f() { return }")
    checks.write_text("// CHECK: func.func @f\n")
    log = io.StringIO()
    assert run_pipeline(parse_pipeline(f"atalla-opt {source} | filecheck {checks}"), log)
    assert not run_pipeline(parse_pipeline(f"not atalla-opt {source}"), log)
    checks.write_text("// CHECK: func.func @g\n")
    assert not run_pipeline(parse_pipeline(f"atalla-opt {source} | filecheck {checks}"), log)
    assert "Couldn't match" in log.getvalue()
    assert run_pipeline(parse_pipeline(f"atalla-opt {source} | not filecheck {checks}"), log)


def test_a_failing_tool_fails_the_pipeline(tmp_path: Path) -> None:
    checks = tmp_path / "checks"
    checks.write_text("// CHECK: error\n")
    line = f"atalla-opt {tmp_path / 'nothing'} 2>&1 | filecheck {checks}"
    assert not run_pipeline(parse_pipeline(line), io.StringIO())
    assert run_pipeline(parse_pipeline(f"not {line}"), io.StringIO())
