"""atalla-compile in process: what it prints and what it returns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atalla_mlir import zoo
from atalla_mlir.loadable.reader import load_loadable
from atalla_mlir.tools.atalla_compile import main


def test_stop_after_import_prints_linalg(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo:trace", "--stop-after=import"]) == 0
    out, err = capsys.readouterr()
    assert 'func.func @main(%arg0: tensor<32x64xf32> {atalla.kind = "input", atalla.name = "x"}' in out
    assert "linalg.matmul" in out
    assert err == ""


def test_stop_after_partition_lists_steps_and_coverage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo:trace", "--stop-after=partition"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("device main(x, y) -> div: relu permute mm amax sub exp sum_1 div\n")
    assert out.endswith("on ax01: 8 of 8 operations, 100 % of the FLOPs\n")


def test_stop_after_capture_prints_the_graph(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo:trace", "--stop-after=capture"]) == 0
    assert "%mm : [num_users=2] = call_function[target=torch.ops.aten.mm.default]" in capsys.readouterr().out


def test_list_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("(")[0] for line in lines] == sorted(zoo.names())
    assert "attention(dim=64, length=32, batch=1): Single-head attention" in "\n".join(lines)


def test_version_names_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["atalla-compile", "torch", "torch-mlir", "loadable", "parameter"]


def test_compile_writes_a_loadable_and_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.atalla"
    assert main(["zoo:trace", "-o", str(path), "--coverage"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["value", "aten", "shape"]
    assert lines[-2] == "on ax01: 8 of 8 operations, 100 % of the FLOPs"
    assert lines[-1].startswith(f"{path}: {path.stat().st_size} bytes for ax01, ")
    assert load_loadable(path).entries[0].name == "main"


def test_json_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.atalla"
    assert main(["zoo:trace", "-o", str(path), "--json", "-"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["file_bytes"] == path.stat().st_size
    assert summary["entries"] == ["main"]
    assert summary["packets"] * 20 == summary["code_bytes"]
    assert [row["device"] for row in summary["coverage"]] == ["ax01"] * 8


def test_compile_to_a_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nowhere" / "trace.atalla"
    assert main(["zoo:trace", "-o", str(path)]) == 1
    assert capsys.readouterr().err == f"atalla-compile: error: {path}: no such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "a model is missing; see atalla-compile --help"),
        (["zoo:mlp", "--optimise"], 2, "unrecognized arguments: --optimise; see atalla-compile --help"),
        (
            ["zoo:mlp", "-o", "-", "--json", "-"],
            2,
            "-o - and --json - both want stdout; see atalla-compile --help",
        ),
        (["zoo:mpl"], 1, "no model 'mpl' in the zoo; did you mean 'mlp'"),
        (["zoo:mlp", "--arg", "hidden"], 1, "--arg hidden: expected NAME=VALUE"),
        (
            ["zoo:mlp", "--machine", "ax99"],
            1,
            "no machine parameter set 'ax99'; there are ax01, ax01-ddr4, ax01-hbm3, ax01-slow, as-compat, fs-static",
        ),
        (
            ["zoo:mlp", "--stop-after=middle"],
            2,
            "no stage 'middle'; the stages are capture, partition, import, legalize, fuse, tile, place, lower, "
            "schedule; see atalla-compile --help",
        ),
        (
            ["zoo:mlp", "--parameters", "weights.npz"],
            2,
            "--parameters goes with --stop-after: a loadable holds its parameters; see atalla-compile --help",
        ),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"atalla-compile: error: {message}\n"


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo:mpl", "--debug"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err
